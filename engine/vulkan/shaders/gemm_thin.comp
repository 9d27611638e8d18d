// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"
#include "gemm.glsl"

// A product of many rows with few columns: what LoRA makes of tokens, x A^T and
// dY B. Bound by memory: a is read once, in lines of eight threads; b passes
// through shared memory. a is not turned.
//
// A workgroup makes 4 * RPT rows. Thread t: K_LANES along k, ROW_LANES rows,
// SLICES of K that are summed at the end, in a fixed order.

layout(constant_id = 0) const uint THREADS = 256;
layout(constant_id = 3) const uint FEW = 8;   // columns at most: 8 or 16
layout(constant_id = 4) const uint RPT = 4;   // rows of a thread; RPT * FEW / 4 is at most 8
layout(constant_id = 5) const uint DEPTH = 1; // steps along k that are loaded together
layout(constant_id = 6) const bool AHEAD = true; // while others are multiplied

const uint K_LANES = 8;
const uint ROW_LANES = 4;
const uint SLICES = THREADS / (K_LANES * ROW_LANES);
const uint QUADS = FEW / 4;
const uint STEP = SLICES * K_LANES * 4; // along k, of all threads

// Four values along k are a line of four times FEW, and a quad more, so that
// eight threads that read theirs meet different banks.
const uint LINE = FEW + 1;
const uint LINES = STEP / 4;
const uint B_LINES = DEPTH * LINES * LINE;
// At the end it holds what each thread has.
const uint SUMS = RPT * QUADS * THREADS;
shared vec4 lds[B_LINES > SUMS ? B_LINES : SUMS];

vec4 sum[RPT * QUADS];

// Arrays of a thread are asked for by constants alone, in loops that are taken
// apart: with others a compiler keeps them in memory.
vec4 next_a[DEPTH * RPT];
// Of b, squares of four along k and four columns.
const uint SQUARES = DEPTH * LINES * QUADS;
const uint EACH = (SQUARES + THREADS - 1) / THREADS;
vec4 next_b[EACH * 4];

void fetch_a(uint row, uint line, uint at, uint end)
{
    [[unroll]] for (uint d = 0; d < DEPTH; d++)
        [[unroll]] for (uint r = 0; r < RPT; r++)
            next_a[d * RPT + r] = a_along_k(row + r * ROW_LANES, at + d * STEP + line * 4, end);
}

void fetch_b(uint at, uint end)
{
    [[unroll]] for (uint e = 0; e < EACH; e++) {
        uint u = gl_LocalInvocationID.x + e * THREADS;
        uint k0 = at + u % (DEPTH * LINES) * 4, col = u / (DEPTH * LINES) * 4;
        uint end_b = SQUARES % THREADS == 0 || u < SQUARES ? end : 0;
        [[unroll]] for (uint i = 0; i < 4; i++)
            next_b[e * 4 + i] = TRANS_B ? b_along_k(col + i, k0, end_b) : b_along_n(col, k0 + i, end_b);
    }
}

void store_b()
{
    [[unroll]] for (uint e = 0; e < EACH; e++) {
        uint u = gl_LocalInvocationID.x + e * THREADS;
        uint to = u % (DEPTH * LINES) * LINE + u / (DEPTH * LINES);
        mat4 v = mat4(next_b[e * 4], next_b[e * 4 + 1], next_b[e * 4 + 2], next_b[e * 4 + 3]);
        if (TRANS_B)
            v = transpose(v);
        if (SQUARES % THREADS == 0 || u < SQUARES)
            [[unroll]] for (uint i = 0; i < 4; i++)
                lds[to + i * QUADS] = v[i];
    }
}

// What is needed next is on its way while this is multiplied, where registers
// hold both.
void run(uint row, uint line)
{
    uint end = last_k();

    if (AHEAD) {
        fetch_a(row, line, first_k(), end);
        fetch_b(first_k(), end);
    }
    for (uint at = first_k(); at < end; at += STEP * DEPTH) {
        vec4 av[DEPTH * RPT];
        if (!AHEAD)
            fetch_b(at, end);
        barrier();
        store_b();
        barrier();
        if (!AHEAD)
            fetch_a(row, line, at, end);
        [[unroll]] for (uint i = 0; i < DEPTH * RPT; i++)
            av[i] = next_a[i];
        if (AHEAD) {
            fetch_a(row, line, at + STEP * DEPTH, end);
            fetch_b(at + STEP * DEPTH, end);
        }
        [[unroll]] for (uint d = 0; d < DEPTH; d++)
            [[unroll]] for (uint i = 0; i < 4; i++)
                [[unroll]] for (uint c = 0; c < QUADS; c++) {
                    vec4 w = lds[(d * LINES + line) * LINE + i * QUADS + c];
                    [[unroll]] for (uint r = 0; r < RPT; r++)
                        sum[r * QUADS + c] = fma(vec4(av[d * RPT + r][i]), w, sum[r * QUADS + c]);
                }
    }
}

void main()
{
    uint t = gl_LocalInvocationID.x;
    uint row_lane = t / K_LANES % ROW_LANES;
    uint slice = t / (K_LANES * ROW_LANES);
    uint row = gl_WorkGroupID.y * ROW_LANES * RPT;

    [[unroll]] for (uint i = 0; i < RPT * QUADS; i++)
        sum[i] = vec4(0);
    run(row + row_lane, slice * K_LANES + t % K_LANES);

    // Of a quad of y, thread by thread: the sum over slices, then over lanes.
    barrier();
    [[unroll]] for (uint i = 0; i < RPT * QUADS; i++)
        lds[i * THREADS + t] = sum[i];
    barrier();
    const uint GROUP = K_LANES * ROW_LANES;
    uint quad = t / GROUP;
    vec4 all = vec4(0);
    if (quad < RPT * QUADS)
        for (uint s = 0; s < SLICES; s++)
            all += lds[quad * THREADS + s * GROUP + t % GROUP];
    barrier();
    lds[t] = all;
    barrier();
    if (t % K_LANES != 0 || quad >= RPT * QUADS)
        return;
    for (uint i = 1; i < K_LANES; i++)
        all += lds[t + i];
    uint at = row + quad / QUADS * ROW_LANES + row_lane;
    put_4(at, quad % QUADS * 4, all, before_4(at, quad % QUADS * 4));
}
