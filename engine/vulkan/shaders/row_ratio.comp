// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"
#include "dequant.glsl"

// y[o] = |w[o]| / |w[o] + alpha b[o] a|, a workgroup a row

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint THREADS = 64;
layout(constant_id = 1) const uint W_TYPE = 0;
layout(constant_id = 2) const bool BY_4 = false;

layout(push_constant) uniform Push {
    F32 y;
    InF32 a;
    InU32 w, scales, mins;
    InF32 b;
    uint rows, cols, rank;
    float alpha;
};

shared vec2 sums[THREADS];

vec4 weights(uint o, uint col)
{
    if (BY_4)
        return dequant(W_TYPE, w, scales, mins, o * cols + col);
    vec4 v = vec4(0);
    for (uint i = 0; i < 4; i++)
        if (col + i < cols)
            v[i] = weight_value(W_TYPE, w, o * cols + col + i);
    return v;
}

vec4 line_of_a(uint r, uint col)
{
    if (BY_4)
        return InVec4(a).v[(r * cols + col) >> 2];
    vec4 v = vec4(0);
    for (uint i = 0; i < 4; i++)
        if (col + i < cols)
            v[i] = a.v[r * cols + col + i];
    return v;
}

void main()
{
    uint thread = gl_LocalInvocationID.x;
    uint o = linear_group();
    vec2 sum = vec2(0); // before, after

    if (o >= rows)
        return;
    for (uint col = thread * 4; col < cols; col += THREADS * 4) {
        vec4 v = weights(o, col);
        vec4 delta = vec4(0);
        for (uint r = 0; r < rank; r++)
            delta += b.v[o * rank + r] * line_of_a(r, col);
        sum.x += dot(v, v);
        v += alpha * delta;
        sum.y += dot(v, v);
    }
    sums[thread] = sum;
    barrier();
    for (uint half_of = THREADS / 2; half_of > 0; half_of /= 2) {
        if (thread < half_of)
            sums[thread] += sums[thread + half_of];
        barrier();
    }
    if (thread == 0)
        y.v[o] = sums[0].y > 0 ? sqrt(sums[0].x / sums[0].y) : 1.0;
}
