// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"
#include "gemm.glsl"

// A product without shared memory: each thread has TM x TN sums, and reads
// what it needs of both sides, four values along k at a time.

layout(constant_id = 3) const uint TM = 4;
layout(constant_id = 4) const uint TN = 4;
layout(constant_id = 5) const uint ACROSS = 8; // threads along n

void load_a(out vec4 v[TM], uint row, uint at, uint end)
{
    if (!TRANS_A) {
        [[unroll]] for (uint i = 0; i < TM; i++)
            v[i] = a_along_k(row + i, at, end);
        return;
    }
    [[unroll]] for (uint i = 0; i < TM; i += 4) {
        mat4 t;
        [[unroll]] for (uint j = 0; j < 4; j++)
            t[j] = a_along_m(row + i, at + j, end);
        t = transpose(t);
        [[unroll]] for (uint j = 0; j < 4; j++)
            v[i + j] = t[j];
    }
}

void load_b(out vec4 v[TN], uint col, uint at, uint end)
{
    if (TRANS_B) {
        [[unroll]] for (uint i = 0; i < TN; i++)
            v[i] = b_along_k(col + i, at, end);
        return;
    }
    [[unroll]] for (uint i = 0; i < TN; i += 4) {
        mat4 t;
        [[unroll]] for (uint j = 0; j < 4; j++)
            t[j] = b_along_n(col + i, at + j, end);
        t = transpose(t);
        [[unroll]] for (uint j = 0; j < 4; j++)
            v[i + j] = t[j];
    }
}

void main()
{
    uint thread = gl_LocalInvocationID.x;
    uint row = (gl_WorkGroupID.y * (gl_WorkGroupSize.x / ACROSS) + thread / ACROSS) * TM;
    uint col = (gl_WorkGroupID.x * ACROSS + thread % ACROSS) * TN;
    uint end = last_k();
    float sum[TM * TN];
    vec4 av[TM];
    vec4 bv[TN];

    if (row >= m || col >= n)
        return;
    if (HAS_LIVE && row >= live.v[0])
        return;
    [[unroll]] for (uint i = 0; i < TM * TN; i++)
        sum[i] = 0;
    for (uint at = first_k(); at < end; at += 4) {
        load_a(av, row, at, end);
        load_b(bv, col, at, end);
        [[unroll]] for (uint i = 0; i < TM; i++)
            [[unroll]] for (uint j = 0; j < TN; j++) {
                float s = sum[i * TN + j];
                s = fma(av[i].x, bv[j].x, s);
                s = fma(av[i].y, bv[j].y, s);
                s = fma(av[i].z, bv[j].z, s);
                sum[i * TN + j] = fma(av[i].w, bv[j].w, s);
            }
    }
    [[unroll]] for (uint i = 0; i < TM; i++) {
        vec4 added[TN / 4];
        [[unroll]] for (uint j = 0; j < TN / 4; j++)
            added[j] = before_4(row + i, col + j * 4);
        [[unroll]] for (uint j = 0; j < TN / 4; j++) {
            uint s = i * TN + j * 4;
            put_4(row + i, col + j * 4, vec4(sum[s], sum[s + 1], sum[s + 2], sum[s + 3]), added[j]);
        }
    }
}
