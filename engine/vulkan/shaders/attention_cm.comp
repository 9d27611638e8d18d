// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 460
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"
#define WEIGHTS 1
#include "attention_cm.glsl"

// attention.comp by cooperative matrices (attention_cm.glsl says how). Softmax
// goes along: a row's largest score is found through shared memory, what was
// summed before is scaled down where it grew. Keys are tile 0, values tile 1;
// while one is multiplied the other is on its way into registers.
//
// Workgroup (sequence, head, tile of queries).

layout(push_constant) uniform Push {
    F32 o, lse;
    InVec4 q, k, v;
    InI32 start;
    uint len; // of a sequence
    uint n_heads;
    uint n_kv_heads;
    uint window;
    float scale;
    uint tiles_of; // a sequence
};

const uint DEPTH_N = DIM / TN;
const uint ACROSS = STEP / TN;
const uint LANES = SUBGROUP / TM; // that share a row
const float NOT_SEEN = -3e38;     // a score that counts for nothing
const float LOW = -1e30;          // below all scores

shared vec2 of_row[ROWS]; // what all threads of a subgroup want to know
shared int seen_from[ROWS];
shared int first_of[SUBGROUPS];

vec4 fetched[2 * EACH];
MAT_A query[DEPTH_K];
SUMS sums[DEPTH_N];
SUMS total; // of weights, column by column

uint place = gl_SubgroupID * TM * W_PITCH; // of weights, here a matrix of f32 too
uint row = gl_SubgroupInvocationID / LANES; // this thread's
float high = LOW;                           // its largest score

void fetch(InVec4 x, uint first, uint end, uint heads, uint h)
{
    [[unroll]] for (uint i = 0; i < EACH; i++) {
        uint u = i * WG + id;
        uint at = (min(first + u / QUADS, end - 1) * heads + h) * (DIM / 4) + u % QUADS * 2;
        if (STEP * QUADS % WG == 0 || u < STEP * QUADS) {
            fetched[2 * i] = x.v[at];
            fetched[2 * i + 1] = x.v[at + 1];
        }
    }
}

void store(uint tile)
{
    [[unroll]] for (uint i = 0; i < EACH; i++) {
        uint u = i * WG + id;
        if (STEP * QUADS % WG == 0 || u < STEP * QUADS)
            tiles[tile * TILE + u / QUADS * PITCH + u % QUADS] = half8(fetched[2 * i], fetched[2 * i + 1]);
    }
}

// ROWS is at most 2 STEP.
void load_queries(uint first, uint end, uint h)
{
    for (uint u = id; u < ROWS * QUADS; u += WG) {
        uint at = (min(first + u / QUADS, end - 1) * n_heads + h) * (DIM / 4) + u % QUADS * 2;
        tiles[u / QUADS * PITCH + u % QUADS] = half8(q.v[at], q.v[at + 1]);
    }
    barrier();
    [[unroll]] for (uint d = 0; d < DEPTH_K; d++)
        coopMatLoad(query[d], tiles, block * TM * PITCH + d * (TK / 8), PITCH, gl_CooperativeMatrixLayoutRowMajor);
    barrier();
}

// Of a matrix: the largest value of this thread's row, or the sum.
float largest_of(SUMS m)
{
    coopMatStore(m, weights, place, TN / 4 + 1, gl_CooperativeMatrixLayoutRowMajor);
    sync();
    vec4 x = vec4(NOT_SEEN);
    [[unroll]] for (uint i = 0; i < TN / 4 / LANES; i++)
        x = max(x, uintBitsToFloat(weights[place + row * (TN / 4 + 1) + gl_SubgroupInvocationID % LANES * (TN / 4 / LANES) + i]));
    float y = max(max(x.x, x.y), max(x.z, x.w));
    [[unroll]] for (uint i = 1; i < LANES; i *= 2)
        y = max(y, subgroupShuffleXor(y, i));
    return y;
}

float sum_of(SUMS m)
{
    coopMatStore(m, weights, place, TN / 4 + 1, gl_CooperativeMatrixLayoutRowMajor);
    sync();
    float y = 0.0;
    [[unroll]] for (uint i = 0; i < TN / 4; i++)
        y += dot(uintBitsToFloat(weights[place + row * (TN / 4 + 1) + i]), vec4(1.0));
    return y;
}

// What 16 queries make of a tile of keys: weights, in shared memory.
void find_weights(uint first, uint u, bool is_masked)
{
    float c = scale * LOG2_E;
    SUMS s[ACROSS];

    [[unroll]] for (uint j = 0; j < ACROSS; j++) {
        s[j] = SUMS(0.0);
        [[unroll]] for (uint d = 0; d < DEPTH_K; d++) {
            MAT_B b;
            LOAD_ROWS_AS_COLUMNS(b, 0, j * TN, d);
            s[j] = coopMatMulAdd(query[d], b, s[j]);
        }
    }
    if (is_masked)
        [[unroll]] for (uint j = 0; j < ACROSS; j++)
            [[unroll]] for (uint i = 0; i < ELEMENTS; i++) {
                uint key = u + j * TN + col_of[i];
                if (key > first + row_of[i] || int(key) < seen_from[block * TM + row_of[i]])
                    s[j][i] = NOT_SEEN;
            }
    SUMS most = s[0];
    [[unroll]] for (uint j = 1; j < ACROSS; j++)
        [[unroll]] for (uint i = 0; i < ELEMENTS; i++)
            most[i] = max(most[i], s[j][i]);
    float now = max(high, largest_of(most));
    bool grew = subgroupAny(now > high);
    of_row[block * TM + row] = vec2(now * c, exp2((high - now) * c));
    high = now;
    sync();
    float shift[ELEMENTS];
    [[unroll]] for (uint i = 0; i < ELEMENTS; i++)
        shift[i] = of_row[block * TM + row_of[i]].x;
    if (grew)
        [[unroll]] for (uint i = 0; i < ELEMENTS; i++) {
            float down = of_row[block * TM + row_of[i]].y;
            total[i] = total[i] * down;
            [[unroll]] for (uint d = 0; d < DEPTH_N; d++)
                sums[d][i] = sums[d][i] * down;
        }
    [[unroll]] for (uint j = 0; j < ACROSS; j++) {
        [[unroll]] for (uint i = 0; i < ELEMENTS; i++) {
            s[j][i] = exp2(s[j][i] * c - shift[i]);
            total[i] = total[i] + s[j][i];
        }
        coopMatStore(HALVES(s[j]), weights, block * TM * W_PITCH + j * (TN / 8), W_PITCH,
                     gl_CooperativeMatrixLayoutRowMajor);
    }
    sync();
}

void add_weighted()
{
    [[unroll]] for (uint j = 0; j < STEP / TK; j++) {
        MAT_A a;
        coopMatLoad(a, weights, block * TM * W_PITCH + j * (TK / 8), W_PITCH, gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint d = 0; d < DEPTH_N; d++) {
            MAT_B b;
            LOAD_ROWS(b, 1, j * TK, d);
            sums[d] = coopMatMulAdd(a, b, sums[d]);
        }
    }
}

void put(uint first, uint end, uint h)
{
    float all = sum_of(total);
    uint t = first + row;

    of_row[block * TM + row].x = all > 0.0 ? 1.0 / all : isnan(all) ? all : 0.0;
    if (t < end && is_some(uvec2(lse)))
        lse.v[t * n_heads + h] = all == 0.0 ? uintBitsToFloat(0xff800000u) : high * scale + log(all);
    sync();
    [[unroll]] for (uint i = 0; i < ELEMENTS; i++) {
        float factor = of_row[block * TM + row_of[i]].x;
        [[unroll]] for (uint d = 0; d < DEPTH_N; d++)
            sums[d][i] = sums[d][i] * factor;
    }
    [[unroll]] for (uint d = 0; d < DEPTH_N; d++) {
        uint at = (first * n_heads + h) * DIM + d * TN;
        if (IS_WHOLE)
            coopMatStore(sums[d], o.v, at, n_heads * DIM, gl_CooperativeMatrixLayoutRowMajor);
        else
            [[unroll]] for (uint i = 0; i < ELEMENTS; i++)
                if (first + row_of[i] < end)
                    o.v[at + row_of[i] * n_heads * DIM + col_of[i]] = sums[d][i];
    }
}

void main()
{
    // Late queries see the most: they come first.
    uint base = gl_WorkGroupID.x * len;
    uint end = base + len;
    uint tile = base + (tiles_of - 1 - gl_WorkGroupID.z) * ROWS;
    uint first = tile + block * TM;
    uint h = gl_WorkGroupID.y;
    uint g = h / (n_heads / n_kv_heads);
    uint last = min(tile + ROWS, end); // key behind the last
    int from = int(end);

    if (first + row < end) {
        from = max(start.v[first + row], int(base));
        if (window > 0)
            from = max(from, int(first + row) - int(window) + 1);
    }
    seen_from[block * TM + row] = from;
    int lowest = subgroupMin(from);
    int highest = subgroupMax(from);
    first_of[gl_SubgroupID] = lowest;
    find_places();
    load_queries(tile, end, h);
    [[unroll]] for (uint i = 0; i < SUBGROUPS; i++)
        lowest = min(lowest, first_of[i]);
    [[unroll]] for (uint d = 0; d < DEPTH_N; d++)
        sums[d] = SUMS(0.0);
    total = SUMS(0.0);

    uint u = base + uint(lowest - int(base)) / STEP * STEP;
    if (u < last) {
        fetch(k, u, end, n_kv_heads, g);
        store(0);
        fetch(v, u, end, n_kv_heads, g);
        barrier();
    }
    for (; u < last; u += STEP) {
        bool is_seen = u < first + TM;
        if (is_seen)
            find_weights(first, u, u + STEP > first + 1 || int(u) < highest);
        store(1);
        barrier();
        bool has_next = u + STEP < last;
        if (has_next)
            fetch(k, u + STEP, end, n_kv_heads, g);
        if (is_seen)
            add_weighted();
        if (has_next) {
            store(0);
            fetch(v, u + STEP, end, n_kv_heads, g);
        }
        barrier();
    }
    put(first, end, h);
}
