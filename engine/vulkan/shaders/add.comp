// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"

// y[i] = a[i] + b[i], one thread an element.

layout(local_size_x_id = 0) in;

layout(push_constant) uniform Push {
    F32 y;
    InF32 a, b;
    uint n;
};

void main()
{
    uint i = linear_group() * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    if (i < n)
        y.v[i] = a.v[i] + b.v[i];
}
