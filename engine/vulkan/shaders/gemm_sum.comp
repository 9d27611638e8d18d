// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"

// y[i] = alpha * (the sum of what parts of K gave) + c[i]

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const bool HAS_C = false;

layout(push_constant) uniform Push {
    F32 y;
    InF32 parts, c;
    uint n, n_parts; // values of a part
    float alpha;
};

void main()
{
    uint i = linear_group() * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    if (i >= n)
        return;
    float sum = 0;
    for (uint p = 0; p < n_parts; p++)
        sum += parts.v[p * n + i];
    sum *= alpha;
    if (HAS_C)
        sum += c.v[i];
    y.v[i] = sum;
}
