// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

// The sum of the slices of a product (gemm_args.glsl; a is their address, and
// k how many there are), in their order, and what its end does to it.

#version 460
#extension GL_GOOGLE_include_directive : require
#include "gemm_args.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 256;

void main()
{
    const uint at = gl_GlobalInvocationID.x;
    const uint row = at / args.n;
    const uint col = at % args.n;
    float sum = 0.0;

    if (row >= args.m)
        return;
    for (uint i = 0; i < args.k; i++)
        sum += Floats(args.a).at[i * args.m * args.n + at];
    sum *= args.alpha * (is_null(args.scale) ? 1.0 : Floats(args.scale).at[row]);
    if (!is_null(args.c))
        sum += Floats(args.c).at[row * args.ldc + col];
    Results(args.y).at[row * args.ldy + col] = sum;
}
