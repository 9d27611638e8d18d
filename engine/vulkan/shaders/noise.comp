// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"

// Copies of a tensor, each a step along a direction away from it; or the sum of
// directions, in their order. A thread takes four values.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint WAY = 0;
layout(constant_id = 2) const bool IS_RADEMACHER = false;

const uint COPIES = 0;
const uint SUM = 1;
const uint ADDED = 2; // y, which is c, plus the sum

#include "noise.glsl"

layout(push_constant) uniform Push {
    F32 y;   // (D,n), or (n)
    InF32 c; // (n)
    InVec4 cubics;
    InI32 draw, queries;
    InF32 sizes, limits;
    uint n;
    uint stream;
    uint n_queries; // of a sum
    uint groups;    // of a copy
};

bool is_by_4(uint first)
{
    return ((uvec2(y).x | uvec2(c).x) & 15u) == 0 && first % 4 == 0;
}

vec4 load(uint at)
{
    vec4 x = vec4(0);

    if (is_by_4(0) && at + 4 <= n)
        return InVec4(c).v[at / 4];
    for (uint j = 0; j < 4; j++)
        if (at + j < n)
            x[j] = c.v[at + j];
    return x;
}

// Values [at, at + 4) of a copy that begins at `first`.
void store(uint first, uint at, vec4 x)
{
    if (is_by_4(first) && at + 4 <= n) {
        Vec4(y).v[(first + at) / 4] = x;
        return;
    }
    for (uint j = 0; j < 4; j++)
        if (at + j < n)
            y.v[first + at + j] = x[j];
}

void main()
{
    Noise from = Noise(cubics, draw, queries, sizes, limits, stream);
    uint group = linear_group();
    uint copy = group / groups;
    uint quad = group % groups * gl_WorkGroupSize.x + gl_LocalInvocationID.x;

    prepare_noise(from);
    // The last line of workgroups may be too long.
    if (4 * quad >= n || copy >= (WAY == COPIES ? n_queries : 1))
        return;
    vec4 x = load(4 * quad);
    uint end = WAY == COPIES ? copy + 1 : n_queries;
    precise vec4 sum = WAY == COPIES ? x : vec4(0);
    for (uint q = copy; q < end; q++) {
        precise vec4 part = sizes.v[q] * noise_of(from, IS_RADEMACHER, q, quad, x);
        sum = sum + part;
    }
    if (WAY == ADDED)
        sum = x + sum;
    store(copy * n, 4 * quad, sum);
}
