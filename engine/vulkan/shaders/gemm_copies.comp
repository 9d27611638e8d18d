// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"

// Products of copies, each on its own, with a short K: LoRA's second product.
//
//     y (D,M,N) = alpha * a (D,M,K) b (D,N,K)^T + c (D,M,N)
//
// Or b is (N,K), and each copy a step along a direction away from it, which is
// made here and never stored.
//
// Workgroup (x, y, z): columns, a thread each, whose row of b it keeps; `rows`
// rows; a copy.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint K = 8;
layout(constant_id = 2) const uint FLAGS = 0;

// Bits of FLAGS, as enum copies_flag of emit_noise.c.
const bool HAS_C = (FLAGS & 1) != 0;
const bool A_BY_4 = (FLAGS & 2) != 0; // rows begin at quads
const bool B_BY_4 = (FLAGS & 4) != 0;
const bool IS_PERTURBED = (FLAGS & 8) != 0; // then K is a multiple of 4
const bool IS_RADEMACHER = (FLAGS & 16) != 0;

#include "noise.glsl"

layout(push_constant) uniform Push {
    F32 y;
    InF32 a, b, c;
    InVec4 cubics;
    InI32 draw, queries;
    InF32 sizes, limits;
    uint m, n;
    uint rows;
    uint stream;
    float alpha;
};

const uint QUADS = (K + 3) / 4;
const uint ROWS = 8; // that are on their way together

vec4 bv[QUADS];

// Four values from `at` of a row that begins at `first`.
vec4 quad_of(InF32 x, bool by_4, uint first, uint at)
{
    vec4 v = vec4(0);

    if (by_4)
        return InVec4(x).v[(first + at) / 4];
    for (uint j = 0; j < 4; j++)
        if (at + j < K)
            v[j] = x.v[first + at + j];
    return v;
}

void load_b(Noise from, uint copy, uint col)
{
    [[unroll]] for (uint q = 0; q < QUADS; q++) {
        if (!IS_PERTURBED) {
            bv[q] = quad_of(b, B_BY_4, (copy * n + col) * K, q * 4);
            continue;
        }
        vec4 x = quad_of(b, B_BY_4, col * K, q * 4);
        uint quad = col * (K / 4) + q;
        precise vec4 step_ = sizes.v[copy] * noise_of(from, IS_RADEMACHER, copy, quad, x);
        precise vec4 moved = x + step_;
        bv[q] = moved;
    }
}

// Of rows [row, end), ROWS at most. What is added is read before anything is
// stored, because c may be y.
void multiply(uint row, uint end, uint col)
{
    float added[ROWS], sum[ROWS];

    [[unroll]] for (uint i = 0; i < ROWS; i++) {
        sum[i] = 0.0;
        added[i] = HAS_C && row + i < end ? c.v[(row + i) * n + col] : 0.0;
    }
    [[unroll]] for (uint q = 0; q < QUADS; q++)
        [[unroll]] for (uint i = 0; i < ROWS; i++) {
            vec4 av = row + i < end ? quad_of(a, A_BY_4, (row + i) * K, q * 4) : vec4(0);
            [[unroll]] for (uint j = 0; j < 4; j++)
                sum[i] = fma(av[j], bv[q][j], sum[i]);
        }
    [[unroll]] for (uint i = 0; i < ROWS; i++)
        if (row + i < end)
            y.v[(row + i) * n + col] = alpha * sum[i] + added[i];
}

void main()
{
    uint col = gl_WorkGroupID.x * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    uint copy = gl_WorkGroupID.z;
    uint first = gl_WorkGroupID.y * rows;
    uint end = copy * m + min(m, first + rows);
    Noise from = Noise(cubics, draw, queries, sizes, limits, stream);

    if (IS_PERTURBED)
        prepare_noise(from);
    if (col >= n)
        return;
    load_b(from, copy, col);
    for (uint row = copy * m + first; row < end; row += ROWS)
        multiply(row, end, col);
}
