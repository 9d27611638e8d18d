// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 460
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"
#define WEIGHTS 1
#include "attention_cm.glsl"

// attention.comp by cooperative matrices (attention_cm.glsl says how). Softmax
// goes along: where a row's largest score grows, what was summed before is scaled
// down. Keys are tile 0, values tile 1;
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
const float NOT_SEEN = -3e38;     // a score that counts for nothing
const float LOW = -1e30;          // below all scores

shared int seen_from[ROWS];
shared int first_of[SUBGROUPS];

vec4 fetched[2 * EACH];
MAT_A query[DEPTH_K];
SUMS sums[DEPTH_N];
SUMS high;  // of each element's row: its largest score
SUMS total; // of weights, column by column
bool has_mates, is_near;
uvec2 mates;

uint place = gl_SubgroupID * TM * W_PITCH; // of weights, here a matrix of f32 too

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

// Where four threads have two rows between them, four elements of each, these
// can be reduced without shared memory: threads whose numbers differ in the
// bits of `mates`, and elements 0, 1, and of 2 .. 5 the first (is_near) or the
// last two, of one row.
void find_mates()
{
    uint found = 0;
    has_mates = false;
    mates = uvec2(0);
    if (ELEMENTS != 8 || TN != 16)
        return;
    for (uint bit = 1; bit < SUBGROUP; bit *= 2) {
        bool is_same = true;
        [[unroll]] for (uint i = 0; i < ELEMENTS; i++)
            is_same = is_same && ROW_OF(i) == subgroupShuffleXor(ROW_OF(i), bit);
        if (subgroupAll(is_same)) {
            mates = uvec2(bit, mates.x);
            found++;
        }
    }
    is_near = subgroupAll(ROW_OF(0) == ROW_OF(ELEMENTS / 4));
    uint third = is_near ? 2 : 4;
    bool is_pair = true;
    [[unroll]] for (uint i = 0; i < ELEMENTS; i++) {
        bool is_first = i < 2 || (i < 6 && i / 2 * 2 == third);
        is_pair = is_pair && ROW_OF(i) == (is_first ? ROW_OF(0) : ROW_OF(ELEMENTS - 1));
    }
    has_mates = found == 2 && subgroupAll(is_pair);
}

float both(float x, float y, bool adds)
{
    return adds ? x + y : max(x, y);
}

float of_mates(float x, bool adds)
{
    x = both(x, subgroupShuffleXor(x, mates.x), adds);
    return both(x, subgroupShuffleXor(x, mates.y), adds);
}

// Of each element: the largest of its row, or their sum.
SUMS of_rows(SUMS m, bool adds)
{
    SUMS all = m;

    if (has_mates) {
        float c = both(m[2], m[3], adds), d = both(m[4], m[5], adds);
        float x = of_mates(both(both(m[0], m[1], adds), is_near ? c : d, adds), adds);
        float y = of_mates(both(both(m[6], m[7], adds), is_near ? d : c, adds), adds);
        all[0] = all[1] = x;
        all[2] = all[3] = is_near ? x : y;
        all[4] = all[5] = is_near ? y : x;
        all[6] = all[7] = y;
        return all;
    }
    coopMatStore(m, weights, place, TN / 4 + 1, gl_CooperativeMatrixLayoutRowMajor);
    sync();
    uint own = place + gl_SubgroupInvocationID % TM * (TN / 4 + 1);
    vec4 x = uintBitsToFloat(weights[own]);
    for (uint j = 1; j < TN / 4; j++) {
        vec4 y = uintBitsToFloat(weights[own + j]);
        x = adds ? x + y : max(x, y);
    }
    sync();
    weights[own].x = floatBitsToUint(both(both(x.x, x.y, adds), both(x.z, x.w, adds), adds));
    sync();
    [[unroll]] for (uint i = 0; i < ELEMENTS; i++)
        all[i] = uintBitsToFloat(weights[place + ROW_OF(i) * (TN / 4 + 1)].x);
    sync();
    return all;
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
                uint key = u + j * TN + COL_OF(i);
                if (key > first + ROW_OF(i) || int(key) < seen_from[block * TM + ROW_OF(i)])
                    s[j][i] = NOT_SEEN;
            }
    SUMS most = s[0];
    [[unroll]] for (uint j = 1; j < ACROSS; j++)
        [[unroll]] for (uint i = 0; i < ELEMENTS; i++)
            most[i] = max(most[i], s[j][i]);
    most = of_rows(most, false);
    bool grew = false;
    [[unroll]] for (uint i = 0; i < ELEMENTS; i++)
        grew = grew || most[i] > high[i];
    if (subgroupAny(grew))
        [[unroll]] for (uint i = 0; i < ELEMENTS; i++) {
            float now = max(high[i], most[i]);
            float down = exp2((high[i] - now) * c);
            high[i] = now;
            total[i] = total[i] * down;
            [[unroll]] for (uint d = 0; d < DEPTH_N; d++)
                sums[d][i] = sums[d][i] * down;
        }
    float shift[ELEMENTS];
    [[unroll]] for (uint i = 0; i < ELEMENTS; i++)
        shift[i] = high[i] * c;
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
    total = of_rows(total, true);
    [[unroll]] for (uint i = 0; i < ELEMENTS; i++) {
        uint t = first + ROW_OF(i);
        float factor = total[i] == 0.0 ? 0.0 : 1.0 / total[i];
        if (t < end && COL_OF(i) == 0 && is_some(uvec2(lse)))
            lse.v[t * n_heads + h] = total[i] == 0.0 ? uintBitsToFloat(0xff800000u) : high[i] * scale + log(total[i]);
        [[unroll]] for (uint d = 0; d < DEPTH_N; d++)
            sums[d][i] = sums[d][i] * factor;
    }
    [[unroll]] for (uint d = 0; d < DEPTH_N; d++) {
        uint at = (first * n_heads + h) * DIM + d * TN;
        if (IS_WHOLE)
            coopMatStore(sums[d], o.v, at, n_heads * DIM, gl_CooperativeMatrixLayoutRowMajor);
        else
            [[unroll]] for (uint i = 0; i < ELEMENTS; i++)
                if (first + ROW_OF(i) < end)
                    o.v[at + ROW_OF(i) * n_heads * DIM + COL_OF(i)] = sums[d][i];
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

    uint t = first + gl_SubgroupInvocationID % TM;
    if (t < end) {
        from = max(start.v[t], int(base));
        if (window > 0)
            from = max(from, int(t) - int(window) + 1);
    }
    seen_from[block * TM + gl_SubgroupInvocationID % TM] = from;
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
    high = SUMS(LOW);
    find_mates();

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
