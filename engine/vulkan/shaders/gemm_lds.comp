// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"
#include "gemm.glsl"

// A product whose tiles lie in shared memory. The next tiles are on their way
// into registers while these are multiplied. Each thread has TM x TN sums, in
// pieces of 4 x 4 that lie apart, so that neighbours read neighbouring vec4.

layout(constant_id = 0) const uint THREADS = 256;
layout(constant_id = 3) const uint TM = 8;
layout(constant_id = 4) const uint TN = 8;
layout(constant_id = 5) const uint ACROSS = 16; // threads along n
layout(constant_id = 6) const uint BK = 16;
layout(constant_id = 7) const uint UNROLLED = 4; // of BK

const uint DOWN = THREADS / ACROSS;
const uint BM = DOWN * TM;
const uint BN = ACROSS * TN;
// In vec4; one more than needed, against conflicts of banks.
const uint A_PITCH = BM / 4 + 1;
const uint B_PITCH = BN / 4 + 1;
const uint A_LOADS = BM * BK / 4 / THREADS;
const uint B_LOADS = BN * BK / 4 / THREADS;

// [k][row], [k][column]
shared vec4 tile_a[BK * A_PITCH];
shared vec4 tile_b[BK * B_PITCH];

vec4 next_a[A_LOADS];
vec4 next_b[B_LOADS];

void fetch(uint row, uint col, uint at, uint end)
{
    uint thread = gl_LocalInvocationID.x;
    [[unroll]] for (uint l = 0; l < A_LOADS; l++) {
        uint i = thread + l * THREADS;
        if (TRANS_A)
            next_a[l] = a_along_m(row + i % (BM / 4) * 4, at + i / (BM / 4), end);
        else
            next_a[l] = a_along_k(row + i / (BK / 4), at + i % (BK / 4) * 4, end);
    }
    [[unroll]] for (uint l = 0; l < B_LOADS; l++) {
        uint i = thread + l * THREADS;
        if (TRANS_B)
            next_b[l] = b_along_k(col + i / (BK / 4), at + i % (BK / 4) * 4, end);
        else
            next_b[l] = b_along_n(col + i % (BN / 4) * 4, at + i / (BN / 4), end);
    }
}

void store()
{
    uint thread = gl_LocalInvocationID.x;
    [[unroll]] for (uint l = 0; l < A_LOADS; l++) {
        uint i = thread + l * THREADS;
        if (TRANS_A) {
            tile_a[i / (BM / 4) * A_PITCH + i % (BM / 4)] = next_a[l];
        } else {
            uint row = i / (BK / 4);
            [[unroll]] for (uint j = 0; j < 4; j++)
                tile_a[(i % (BK / 4) * 4 + j) * A_PITCH + row / 4][row % 4] = next_a[l][j];
        }
    }
    [[unroll]] for (uint l = 0; l < B_LOADS; l++) {
        uint i = thread + l * THREADS;
        if (!TRANS_B) {
            tile_b[i / (BN / 4) * B_PITCH + i % (BN / 4)] = next_b[l];
        } else {
            uint col = i / (BK / 4);
            [[unroll]] for (uint j = 0; j < 4; j++)
                tile_b[(i % (BK / 4) * 4 + j) * B_PITCH + col / 4][col % 4] = next_b[l][j];
        }
    }
}

vec4 sum[TM * TN / 4];

void multiply(uint down, uint across)
{
    [[dont_unroll]] for (uint from = 0; from < BK; from += UNROLLED)
        [[unroll]] for (uint k = from; k < from + UNROLLED; k++) {
            vec4 av[TM / 4];
            vec4 bv[TN / 4];
            [[unroll]] for (uint i = 0; i < TM / 4; i++)
                av[i] = tile_a[k * A_PITCH + i * DOWN + down];
            [[unroll]] for (uint j = 0; j < TN / 4; j++)
                bv[j] = tile_b[k * B_PITCH + j * ACROSS + across];
            [[unroll]] for (uint i = 0; i < TM; i++)
                [[unroll]] for (uint j = 0; j < TN / 4; j++)
                    sum[i * (TN / 4) + j] = fma(vec4(av[i / 4][i % 4]), bv[j], sum[i * (TN / 4) + j]);
        }
}

// Four rows of this thread's sums, from the i-th one on.
void put_rows(uint row, uint col, uint i)
{
    vec4 added[TN];
    [[unroll]] for (uint r = 0; r < 4; r++)
        [[unroll]] for (uint j = 0; j < TN / 4; j++)
            added[r * (TN / 4) + j] = before_4(row + r, col + j * ACROSS * 4);
    [[unroll]] for (uint r = 0; r < 4; r++)
        [[unroll]] for (uint j = 0; j < TN / 4; j++)
            put_4(row + r, col + j * ACROSS * 4, sum[(i + r) * (TN / 4) + j], added[r * (TN / 4) + j]);
}

void main()
{
    uint row = gl_WorkGroupID.y * BM;
    uint col = gl_WorkGroupID.x * BN;
    uint down = gl_LocalInvocationID.x / ACROSS;
    uint across = gl_LocalInvocationID.x % ACROSS;
    uint end = last_k();

    if (HAS_LIVE && row >= live.v[0])
        return;
    [[unroll]] for (uint i = 0; i < TM * TN / 4; i++)
        sum[i] = vec4(0);
    fetch(row, col, first_k(), end);
    for (uint at = first_k(); at < end; at += BK) {
        barrier();
        store();
        barrier();
        if (at + BK < end)
            fetch(row, col, at + BK, end);
        multiply(down, across);
    }
    [[unroll]] for (uint i = 0; i < TM; i += 4)
        put_rows(row + (i / 4 * DOWN + down) * 4, col + across * 4, i);
}
