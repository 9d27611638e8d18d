// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"
#include "gemm.glsl"

// A product with few rows, or columns, whose wide side is stored along y: LoRA's
// gradients, sums over tokens. A workgroup has a strip of 4 * LANES of the wide
// side and FEW of the narrow one, all of it as a rule; its threads share K, and
// the wide operand is read once then.

layout(constant_id = 0) const uint THREADS = 256;
layout(constant_id = 3) const uint FEW = 8;
layout(constant_id = 4) const uint LANES = 8;
layout(constant_id = 5) const bool IS_TALL = false; // the wide side is m
layout(constant_id = 6) const uint AT_ONCE = 4; // steps along k that are loaded together

const uint DEEP = THREADS / LANES;
const uint PIECE = 8;   // of FEW, that are summed together

shared vec4 others[PIECE * THREADS / 2];

vec4 sum[FEW];

vec4 wide_4(uint at, uint step, uint end)
{
    return IS_TALL ? a_along_m(at, step, end) : b_along_n(at, step, end);
}

vec4 few_4(uint at, uint step, uint end)
{
    if (IS_TALL)
        return b_along_n(at, step, end);
    if (TRANS_A)
        return a_along_m(at, step, end);
    vec4 v = vec4(0);
    [[unroll]] for (uint i = 0; i < 4; i++)
        if (at + i < m && step < end)
            v[i] = a.v[(at + i) * k + step];
    return v;
}

void run(uint wide, uint narrow, uint first, uint end)
{
    for (uint step = first; step < end; step += DEEP * AT_ONCE) {
        vec4 w[AT_ONCE];
        vec4 f[AT_ONCE * FEW / 4];
        [[unroll]] for (uint u = 0; u < AT_ONCE; u++) {
            w[u] = wide_4(wide, step + u * DEEP, end);
            [[unroll]] for (uint i = 0; i < FEW / 4; i++)
                f[u * (FEW / 4) + i] = few_4(narrow + i * 4, step + u * DEEP, end);
        }
        [[unroll]] for (uint u = 0; u < AT_ONCE; u++)
            [[unroll]] for (uint i = 0; i < FEW; i++)
                sum[i] = fma(vec4(f[u * (FEW / 4) + i / 4][i % 4]), w[u], sum[i]);
    }
}

// Half of the threads hand their sums to the other half, until one row of
// lanes has them all.
void gather(uint from)
{
    uint thread = gl_LocalInvocationID.x;
    for (uint left = THREADS / 2; left >= LANES; left /= 2) {
        barrier();
        if (thread >= left && thread < left * 2)
            [[unroll]] for (uint i = 0; i < PIECE; i++)
                if (from + i < FEW)
                    others[i * left + thread - left] = sum[from + i];
        barrier();
        if (thread < left)
            [[unroll]] for (uint i = 0; i < PIECE; i++)
                if (from + i < FEW)
                    sum[from + i] += others[i * left + thread];
    }
}

void main()
{
    uint thread = gl_LocalInvocationID.x;
    uint strip = IS_TALL ? gl_WorkGroupID.y : gl_WorkGroupID.x;
    uint wide = (strip * LANES + thread % LANES) * 4;
    uint narrow = (IS_TALL ? gl_WorkGroupID.x : gl_WorkGroupID.y) * FEW;

    [[unroll]] for (uint i = 0; i < FEW; i++)
        sum[i] = vec4(0);
    if (wide < (IS_TALL ? m : n))
        run(wide, narrow, first_k() + thread / LANES, last_k());
    [[unroll]] for (uint from = 0; from < FEW; from += PIECE)
        gather(from);
    if (thread >= LANES)
        return;
    [[unroll]] for (uint i = 0; i < FEW; i++) {
        if (!IS_TALL)
            put_4(narrow + i, wide, sum[i], before_4(narrow + i, wide));
        else
            [[unroll]] for (uint j = 0; j < 4; j++)
                put(wide + j, narrow + i, sum[i][j], before(wide + j, narrow + i));
    }
}
