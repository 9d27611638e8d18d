// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"
#include "math.glsl"

// o (T,H*D), lse (T,H); q (T,H*D), k and v (T,G*D), start (T): a workgroup a
// tile of queries of one head. Softmax goes along: what was summed so far is
// scaled down when a higher score is met.

layout(push_constant) uniform Push {
    F32 o, lse;
    InF32 q, k, v;
    InI32 start;
    uint n_rows; // T
    uint len;    // of a sequence
    uint n_heads;
    uint n_kv_heads;
    uint dim;
    uint window;
    float scale;
    float cap;
    uint tiles; // of a sequence
    uint zero;
};

#include "attention.glsl"

const uint PARTS = 4; // threads that share a row's softmax

shared float row_max[TILE];
shared float row_sum[TILE];
shared float row_factor[TILE]; // of what was summed before
shared float part[PARTS][TILE];

// Scores of queries t .. and keys u .., into the weights.
void find_scores(rows own, rows other)
{
    vec4 s[4];

    multiply(s, own, other);
    [[unroll]] for (uint i = 0; i < 4; i++)
        [[unroll]] for (uint j = 0; j < 4; j++) {
            int t = int(own.first + 4 * ty + i);
            int u = int(other.first + 4 * tx + j);
            float z = scale * s[i][j];
            if (cap > 0.0)
                z = cap * tanh_of(z / cap);
            s[i][j] = u <= t && u >= first_seen[4 * ty + i] ? z : NOT_SEEN;
        }
    set_weights(s);
}

// From scores to what they weigh.
void find_weights()
{
    uint row = id % TILE;
    uint from = id / TILE * (TILE / PARTS);
    float high = NOT_SEEN;
    float sum = 0.0;

    barrier();
    for (uint u = from; u < from + TILE / PARTS; u++)
        high = max(high, weights[u][row / 4][row % 4]);
    part[id / TILE][row] = high;
    barrier();
    float before = row_max[row];
    high = before;
    for (uint p = 0; p < PARTS; p++)
        high = max(high, part[p][row]);
    for (uint u = from; u < from + TILE / PARTS; u++) {
        float z = weights[u][row / 4][row % 4];
        float w = z == NOT_SEEN ? 0.0 : exp(z - high);
        weights[u][row / 4][row % 4] = w;
        sum += w;
    }
    barrier();
    part[id / TILE][row] = sum;
    barrier();
    if (id < TILE) {
        row_factor[row] = exp(before - high);
        row_sum[row] = row_sum[row] * row_factor[row] + part[0][row] +
                       part[1][row] + part[2][row] + part[3][row];
        row_max[row] = high;
    }
    barrier();
}

void main()
{
    // Late tokens see the most: they come first.
    uint tile = tiles - 1 - gl_WorkGroupID.x % tiles;
    uint begin = gl_WorkGroupID.x / tiles * len;
    uint end = begin + len;
    uint head = gl_WorkGroupID.y;
    uint kv = head / (n_heads / n_kv_heads) * dim;
    rows own = rows(q, begin + tile * TILE, end, n_heads * dim, head * dim);
    uint last = min(own.first + TILE, end);
    vec4 sums[SUMS];

    [[unroll]] for (uint c = 0; c < 4 * CHUNKS; c++)
        sums[c] = vec4(0);
    if (id < TILE) {
        row_max[id] = NOT_SEEN;
        row_sum[id] = 0.0;
    }
    find_first_seen(start, own.first, end, begin, window);
    for (uint u = uint(first_of_tile) / TILE * TILE; u < last; u += TILE) {
        find_scores(own, rows(k, u, end, n_kv_heads * dim, kv));
        find_weights();
        [[unroll]] for (uint c = 0; c < 4 * CHUNKS; c++)
            sums[c] *= row_factor[4 * ty + c % 4];
        add_weighted(sums, rows(v, u, end, n_kv_heads * dim, kv));
    }
    [[unroll]] for (uint c = 0; c < 4 * CHUNKS; c++) {
        float sum = row_sum[4 * ty + c % 4];
        sums[c] = sum == 0.0 ? vec4(0) : sums[c] / sum;
    }
    store_sums(o, own, sums, 1.0);
    if (id < TILE && own.first + id < end && is_some(uvec2(lse)) && FIRST == 0) {
        float sum = row_sum[id];
        lse.v[(own.first + id) * n_heads + head] =
            sum == 0.0 ? minus_infinity() : row_max[id] + log(sum);
    }
}
