// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"

// y[t] = sum[t] + T squares[t] / (all of them), sum or 0. Every workgroup adds
// all of them up, in the same order. y may be sum.

layout(local_size_x_id = 0) in;

#include "reduce.glsl"

layout(push_constant) uniform Push {
    F32 y;
    InF32 squares;
    InF32 sum;
    uint rows;
};

void main()
{
    uint t = linear_group() * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    float part = 0.0;

    for (uint i = gl_LocalInvocationID.x; i < rows; i += gl_WorkGroupSize.x)
        part += squares.v[i];
    float total = sum_of_all(part);
    if (t >= rows)
        return;
    float share = total > 0.0 ? squares.v[t] / total : 0.0;
    y.v[t] = (is_some(uvec2(sum)) ? sum.v[t] : 0.0) + float(rows) * share;
}
