// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"
#include "dequant.glsl"

// y[t] = w[tokens[t]], or 0 where there is no such row; a thread has four
// columns.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint W_TYPE = 0;
layout(constant_id = 2) const bool BY_4 = false;

layout(push_constant) uniform Push {
    F32 y;
    InI32 tokens;
    InU32 w, scales, mins;
    uint rows, cols, vocab;
};

void main()
{
    uint quads = (cols + 3) / 4;
    uint i = linear_group() * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    uint t = i / quads;
    uint col = i % quads * 4;
    if (t >= rows)
        return;
    uint id = uint(tokens.v[t]);
    bool is_there = id < vocab;
    if (BY_4) {
        vec4 v = vec4(0);
        if (is_there)
            v = dequant(W_TYPE, w, scales, mins, id * cols + col);
        Vec4(y).v[(t * cols + col) >> 2] = v;
        return;
    }
    for (uint j = 0; j < 4 && col + j < cols; j++)
        y.v[t * cols + col + j] = is_there ? weight_value(W_TYPE, w, id * cols + col + j) : 0.0;
}
