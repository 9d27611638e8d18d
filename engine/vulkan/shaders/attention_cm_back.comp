// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 460
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"
#ifdef OF_KEYS
#define WEIGHTS 2
#else
#define WEIGHTS 1
#endif
#include "attention_cm.glsl"

// Gradients of attention by cooperative matrices (attention_cm.glsl says how);
// attention_back.comp says of what, and attention_prep.comp what it reads.
//
// Of queries (OF_QUERIES): dq of ROWS queries of a head, over tiles of keys
// (tile 0) and values (1). Of keys (OF_KEYS): dk and dv of ROWS keys, over
// tiles of queries (0) and dout (1) of the query heads that share them, or of
// one (BY_HEAD).
//
// While a tile is multiplied the next is on its way into registers. Where
// PARTS subgroups have the same rows, each finds a part of the weights, and
// has a part of the sums' columns.
//
// Workgroup (sequence, head, tile of rows).

layout(constant_id = 9) const bool BY_HEAD = false;

layout(push_constant) uniform Push {
    F32 da, db;            // dq; dk and dv
    InUvec4 q, k, v, dout; // f16
    InUvec4 stats;         // (H,T), see attention_prep.comp
    uint rows;             // T
    uint len;
    uint n_heads;
    uint n_kv_heads;
    float scale;
    uint tiles_of; // a sequence
};

const uint ACROSS = STEP / TN / PARTS;     // tiles of weights of a subgroup
const uint DEPTH_N = DIM / TN / PARTS;     // of its sums
const uint W_BLOCK = ROWS * W_PITCH;

#ifdef OF_KEYS
shared vec4 of_column[STEP]; // lse, delta, factor by the largest, first key
shared float scratch_up[SUBGROUPS];
shared uint scratch_until[SUBGROUPS];
shared uint scratch_cuts[SUBGROUPS];
#else
shared int seen_from[ROWS];
shared int first_of[SUBGROUPS];
#endif

uvec4 fetched[2][EACH];
MAT_A own[DEPTH_K], own_other[DEPTH_K]; // q and dout, or k and v
uint part = gl_SubgroupID % PARTS;

void load_own(out MAT_A m[DEPTH_K], InUvec4 x, uint first, uint heads, uint h)
{
    [[unroll]] for (uint d = 0; d < DEPTH_K; d++)
        coopMatLoad(m[d], x.v, (first * heads + h) * QUADS + d * (TK / 8), heads * QUADS,
                    gl_CooperativeMatrixLayoutRowMajor);
}

void fetch(InUvec4 a, InUvec4 b, uint first, uint end, uint heads, uint h)
{
    [[unroll]] for (uint i = 0; i < EACH; i++) {
        uint u = i * WG + id;
        uint at = (min(first + u / QUADS, end - 1) * heads + h) * QUADS + u % QUADS;
        if (STEP * QUADS % WG == 0 || u < STEP * QUADS) {
            fetched[0][i] = a.v[at];
            fetched[1][i] = b.v[at];
        }
    }
}

void store_tiles()
{
    [[unroll]] for (uint i = 0; i < EACH; i++) {
        uint u = i * WG + id;
        uint at = u / QUADS * PITCH + u % QUADS;
        if (STEP * QUADS % WG == 0 || u < STEP * QUADS) {
            tiles[at] = fetched[0][i];
            tiles[TILE + at] = fetched[1][i];
        }
    }
}

// Products of own rows with TN rows of a tile.
SUMS multiply(MAT_A m[DEPTH_K], uint tile, uint from)
{
    SUMS s = SUMS(0.0);
    [[unroll]] for (uint d = 0; d < DEPTH_K; d++) {
        MAT_B b;
        LOAD_ROWS_AS_COLUMNS(b, tile, from, d);
        s = coopMatMulAdd(m[d], b, s);
    }
    return s;
}

void put_weights(SUMS w, uint to, uint j)
{
    coopMatStore(HALVES(w), weights, to * W_BLOCK + block * TM * W_PITCH + j * (TN / 8), W_PITCH,
                 gl_CooperativeMatrixLayoutRowMajor);
}

void add_weighted(inout SUMS sums[DEPTH_N], uint from, uint tile)
{
    [[unroll]] for (uint j = 0; j < STEP / TK; j++) {
        MAT_A a;
        coopMatLoad(a, weights, from * W_BLOCK + block * TM * W_PITCH + j * (TK / 8), W_PITCH,
                    gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint d = 0; d < DEPTH_N; d++) {
            MAT_B b;
            LOAD_ROWS(b, tile, j * TK, part * DEPTH_N + d);
            sums[d] = coopMatMulAdd(a, b, sums[d]);
        }
    }
}

void put_sums(SUMS sums[DEPTH_N], F32 to, uint first, uint end, uint heads, uint h)
{
    [[unroll]] for (uint d = 0; d < DEPTH_N; d++) {
        uint at = (first * heads + h) * DIM + (part * DEPTH_N + d) * TN;
        if (IS_WHOLE)
            coopMatStore(sums[d], to.v, at, heads * DIM, gl_CooperativeMatrixLayoutRowMajor);
        else
            [[unroll]] for (uint i = 0; i < ELEMENTS; i++)
                if (first + ROW_OF(i) < end)
                    to.v[at + ROW_OF(i) * heads * DIM + COL_OF(i)] = sums[d][i];
    }
}

// Weights are there for the subgroups that share them.
void sync_weights()
{
    if (PARTS > 1)
        barrier();
    else
        sync();
}

#ifdef OF_QUERIES
SUMS dq[DEPTH_N];
float of_row_lse[ELEMENTS], of_row_delta[ELEMENTS];

void find_weights(uint first, uint u, bool is_masked)
{
    float c = scale * LOG2_E;

    [[unroll]] for (uint a = 0; a < ACROSS; a++) {
        uint j = part * ACROSS + a;
        SUMS s = multiply(own, 0, j * TN);
        SUMS dp = multiply(own_other, 1, j * TN);
        [[unroll]] for (uint i = 0; i < ELEMENTS; i++) {
            float p = exp2(s[i] * c - of_row_lse[i]);
            if (is_masked) {
                uint key = u + j * TN + COL_OF(i);
                p = key <= first + ROW_OF(i) && int(key) >= seen_from[block * TM + ROW_OF(i)] ? p : 0.0;
            }
            s[i] = p * (dp[i] - of_row_delta[i]);
        }
        put_weights(s, 0, j);
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
    uint last = min(tile + ROWS, end);
    uint own_row = first + gl_SubgroupInvocationID % TM;
    int from = own_row < end ? int(stats.v[h * rows + own_row].w) : int(end);
    int lowest = subgroupMin(from);
    int highest = subgroupMax(from);

    first_of[gl_SubgroupID] = lowest;
    seen_from[block * TM + gl_SubgroupInvocationID % TM] = from;
    find_places();
    load_own(own, q, first, n_heads, h);
    load_own(own_other, dout, first, n_heads, h);
    [[unroll]] for (uint i = 0; i < ELEMENTS; i++) {
        uvec4 x = stats.v[h * rows + min(first + ROW_OF(i), end - 1)];
        of_row_lse[i] = uintBitsToFloat(x.x);
        of_row_delta[i] = uintBitsToFloat(x.y);
    }
    [[unroll]] for (uint d = 0; d < DEPTH_N; d++)
        dq[d] = SUMS(0.0);
    barrier();
    [[unroll]] for (uint i = 0; i < SUBGROUPS; i++)
        lowest = min(lowest, first_of[i]);
    uint u = base + uint(lowest - int(base)) / STEP * STEP;
    if (u < last)
        fetch(k, v, u, end, n_kv_heads, g);
    for (; u < last; u += STEP) {
        bool is_seen = u < first + TM;
        store_tiles();
        barrier();
        if (u + STEP < last)
            fetch(k, v, u + STEP, end, n_kv_heads, g);
        if (is_seen)
            find_weights(first, u, u + STEP > first + 1 || int(u) < highest);
        sync_weights();
        if (is_seen)
            add_weighted(dq, 0, 0);
        barrier();
    }
    [[unroll]] for (uint i = 0; i < ELEMENTS; i++) {
        float factor = scale * uintBitsToFloat(stats.v[h * rows + min(first + ROW_OF(i), end - 1)].z);
        [[unroll]] for (uint d = 0; d < DEPTH_N; d++)
            dq[d][i] = dq[d][i] * factor;
    }
    put_sums(dq, da, first, end, n_heads, h);
}
#endif

#ifdef OF_KEYS
SUMS dk[DEPTH_N], dv[DEPTH_N];
uvec4 fetched_stats;

// What queries from `t` on make of 16 keys: weights, in shared memory.
void find_weights(uint first, uint t, bool is_masked, uint end)
{
    float c = scale * LOG2_E;

    [[unroll]] for (uint a = 0; a < ACROSS; a++) {
        uint j = part * ACROSS + a;
        SUMS s = multiply(own, 0, j * TN);
        SUMS dp = multiply(own_other, 1, j * TN);
        [[unroll]] for (uint i = 0; i < ELEMENTS; i++) {
            vec4 x = of_column[j * TN + COL_OF(i)];
            float p = exp2(s[i] * c - x.x) * x.z;
            if (is_masked) {
                uint key = first + ROW_OF(i), query = t + j * TN + COL_OF(i);
                p = key <= query && query < end && int(key) >= floatBitsToInt(x.w) ? p : 0.0;
            }
            s[i] = p;
            dp[i] = p * (dp[i] - x.y);
        }
        put_weights(s, 0, j);
        put_weights(dp, 1, j);
    }
}

void fetch_queries(uint t, uint end, uint h)
{
    fetch(q, dout, t, end, n_heads, h);
    if (id < STEP)
        fetched_stats = stats.v[h * rows + min(t + id, end - 1)];
}

void store_queries(float by)
{
    store_tiles();
    if (id < STEP)
        of_column[id] = vec4(uintBitsToFloat(fetched_stats.xy), uintBitsToFloat(fetched_stats.z) * by,
                             uintBitsToFloat(fetched_stats.w));
}

void main()
{
    uint base = gl_WorkGroupID.x * len;
    uint end = base + len;
    uint tile = base + gl_WorkGroupID.z * ROWS;
    uint first = tile + block * TM;
    uint last = min(tile + ROWS, end) - 1; // key
    uint group = n_heads / n_kv_heads;
    uint g = BY_HEAD ? gl_WorkGroupID.y / group : gl_WorkGroupID.y;
    uint h0 = BY_HEAD ? gl_WorkGroupID.y : g * group;
    uint heads = BY_HEAD ? 1 : group;

    // The queries that see these keys end where; do some of them see not all of
    // these; and what is the largest factor.
    float up = 0.0;
    uint until = tile, cuts = 0;
    for (uint h = h0; h < h0 + heads; h++)
        for (uint t = tile + id; t < end; t += WG) {
            uvec4 x = stats.v[h * rows + t];
            up = max(up, uintBitsToFloat(x.z));
            if (int(x.w) <= int(last))
                until = t + 1;
            if (int(x.w) > int(tile))
                cuts = 1;
        }
    scratch_up[gl_SubgroupID] = subgroupMax(up);
    scratch_until[gl_SubgroupID] = subgroupMax(until);
    scratch_cuts[gl_SubgroupID] = subgroupMax(cuts);
    find_places();
    load_own(own, k, first, n_kv_heads, g);
    load_own(own_other, v, first, n_kv_heads, g);
    [[unroll]] for (uint d = 0; d < DEPTH_N; d++)
        dk[d] = dv[d] = SUMS(0.0);
    barrier();
    [[unroll]] for (uint i = 0; i < SUBGROUPS; i++) {
        up = max(up, scratch_up[i]);
        until = max(until, scratch_until[i]);
        cuts = max(cuts, scratch_cuts[i]);
    }

    float by = 1.0 / up;
    uint n = (until - tile + STEP - 1) / STEP; // tiles of a head
    if (n > 0)
        fetch_queries(tile, end, h0);
    for (uint i = 0; i < n * heads; i++) {
        uint t = tile + i % n * STEP;
        bool is_seen = first < t + STEP;
        store_queries(by);
        barrier();
        if (i + 1 < n * heads)
            fetch_queries(tile + (i + 1) % n * STEP, end, h0 + (i + 1) / n);
        if (is_seen)
            find_weights(first, t, cuts > 0 || t < first + TM || t + STEP > end, end);
        sync_weights();
        if (is_seen) {
            add_weighted(dv, 0, 1);
            add_weighted(dk, 1, 0);
        }
        barrier();
    }
    [[unroll]] for (uint d = 0; d < DEPTH_N; d++) {
        dk[d] *= scale * up;
        dv[d] *= up;
    }
    uint own_h = BY_HEAD ? h0 : g;
    put_sums(dk, da, first, end, BY_HEAD ? n_heads : n_kv_heads, own_h);
    put_sums(dv, db, first, end, BY_HEAD ? n_heads : n_kv_heads, own_h);
}
#endif
