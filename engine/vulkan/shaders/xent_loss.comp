// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"

// loss = sum of weights * nll, by one workgroup in an order of its own.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint THREADS = 128;

layout(push_constant) uniform Push {
    F32 loss;
    InF32 nll, weights;
    uint rows;
};

shared float sums[THREADS];

void main()
{
    uint thread = gl_LocalInvocationID.x;
    float sum = 0;

    for (uint t = thread; t < rows; t += THREADS)
        if (nll.v[t] != 0)
            sum += weights.v[t] * nll.v[t];
    sums[thread] = sum;
    barrier();
    for (uint half_of = THREADS / 2; half_of > 0; half_of /= 2) {
        if (thread < half_of)
            sums[thread] += sums[thread + half_of];
        barrier();
    }
    if (thread == 0)
        loss.v[0] = sums[0];
}
