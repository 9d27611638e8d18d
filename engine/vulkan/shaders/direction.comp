// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"

// v (S), unless it is something already: the columns of `sums` (slices,S) added
// up, of length 1; of sums of 0, equal values. One workgroup.

layout(local_size_x_id = 0) in;

#include "reduce.glsl"

layout(push_constant) uniform Push {
    F32 v;
    InF32 sums;
    uint slices;
    uint size;
};

float column(uint i)
{
    float sum = 0.0;

    for (uint s = 0; s < slices; s++)
        sum += sums.v[s * size + i];
    return sum;
}

void main()
{
    float square = 0.0;
    float n_set = 0.0;

    for (uint i = gl_LocalInvocationID.x; i < size; i += gl_WorkGroupSize.x)
        n_set += v.v[i] != 0.0 ? 1.0 : 0.0;
    if (sum_of_all(n_set) > 0.0)
        return;
    for (uint i = gl_LocalInvocationID.x; i < size; i += gl_WorkGroupSize.x) {
        float x = column(i);
        square += x * x;
    }
    square = sum_of_all(square);
    // Anything but zero, which would mean that there was no batch yet.
    for (uint i = gl_LocalInvocationID.x; i < size; i += gl_WorkGroupSize.x)
        v.v[i] = square > 0.0 ? column(i) / sqrt(square)
                              : 1.0 / sqrt(float(size));
}
