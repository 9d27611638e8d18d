// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"

// dx = 0 in rows that do not count; a workgroup a row.

layout(local_size_x_id = 0) in;

layout(push_constant) uniform Push {
    F32 dx;
    InI32 targets;
    InF32 weights;
    uint rows, cols, vocab;
};

void main()
{
    uint t = linear_group();
    if (t >= rows || (weights.v[t] != 0 && uint(targets.v[t]) < vocab))
        return;
    for (uint j = gl_LocalInvocationID.x; j < cols; j += gl_WorkGroupSize.x)
        dx.v[t * cols + j] = 0;
}
