// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"
#include "math.glsl"

// Gradients of attention: what each pair weighed is found again from lse.
//
//   delta_t = dout_t.o_t    ds_ts = p_ts (dout_t.v_s - delta_t) slope_ts scale
//   dq_t = sum_s ds_ts k_s  dk_s = sum_t ds_ts q_t  dv_s = sum_t p_ts dout_t
//
// Of queries (OF_KEYS not defined): a workgroup a tile of queries of one head,
// which finds delta and dq. Of keys: one a tile of keys of one key-value head,
// which walks over the query heads that share it; or, where those would be too
// few for a device, of one query head (BY_HEAD), whose sums attention_heads.comp
// adds up.

layout(push_constant) uniform Push {
    F32 da;      // dq; of keys: dk
    F32 db;      // of keys: dv
    InF32 dout, q, k, v;
    InF32 o;     // of queries
    InF32 lse;   // (T,H)
    F32 delta;   // (T,H)
    InI32 start;
    uint len;
    uint n_heads;
    uint n_kv_heads;
    uint dim;
    uint window;
    float scale;
    float cap;
    uint tiles;
    uint zero;
};

#include "attention.glsl"

layout(constant_id = 2) const bool BY_HEAD = false;

shared float row_lse[TILE]; // of queries
shared float row_delta[TILE];

// From q.k and dout.v to p and ds (without `scale`) of query t of the tile that
// begins at `first`, and key u.
void find_gradient(inout float s, inout float dp, uint first, uint t, uint u)
{
    bool is_seen = int(u) <= int(first + t) && int(u) >= first_seen[t];
    float z = scale * s;
    float slope = 1.0;

    if (cap > 0.0) {
        float bent = tanh_of(z / cap);
        slope = 1.0 - bent * bent;
        z = cap * bent;
    }
    s = is_seen ? exp(z - row_lse[t]) : 0.0;
    dp = is_seen ? s * (dp - row_delta[t]) * slope : 0.0;
}

#ifdef OF_KEYS
// What is found, for devices whose registers do not hold both.
layout(constant_id = 3) const uint WHAT = 3;
const bool FIND_K = (WHAT & 1) != 0;
const bool FIND_V = (WHAT & 2) != 0;

vec4 dk[SUMS];
vec4 dv[SUMS];

// Queries of one tile, which begins at row t of head h.
void add_tile(rows own, rows values, uint t, uint h)
{
    rows query = rows(q, t, own.end, n_heads * dim, h * dim);
    rows grad = rows(dout, t, own.end, n_heads * dim, h * dim);
    vec4 s[4];
    vec4 dp[4] = {vec4(0), vec4(0), vec4(0), vec4(0)};

    forget(t);
    multiply(s, own, query);
    if (IS_FRUGAL)
        set_weights(s);
    forget(t + 1);
    if (FIND_K)
        multiply(dp, values, grad);
    [[unroll]] for (uint j = 0; j < 4; j++) {
        forget(t + 2 + j);
        vec4 p = IS_FRUGAL ? weights[4 * tx + j][ty] : row_of(s, j);
        [[unroll]] for (uint i = 0; i < 4; i++)
            find_gradient(p[i], dp[i][j], t, 4 * tx + j,
                          own.first + 4 * ty + i);
        weights[4 * tx + j][ty] = FIND_V ? p : row_of(dp, j);
        if (IS_FRUGAL)
            memoryBarrierShared(); // one after the other
    }
    forget(t + 6);
    if (FIND_V)
        add_weighted(dv, grad);
    if (FIND_V && FIND_K) {
        barrier();
        set_weights(dp);
    }
    if (FIND_K)
        add_weighted(dk, query);
}

void main()
{
    uint tile = gl_WorkGroupID.x % tiles;
    uint begin = gl_WorkGroupID.x / tiles * len;
    uint end = begin + len;
    uint group = n_heads / n_kv_heads;
    uint head = BY_HEAD ? gl_WorkGroupID.y : gl_WorkGroupID.y * group;
    uint head_end = BY_HEAD ? head + 1 : head + group;
    uint first = begin + tile * TILE;
    uint last = min(first + TILE, end); // key behind the last
    uint until = end;
    uint kv = head / group * dim;
    rows own = rows(k, first, end, n_kv_heads * dim, kv);
    rows values = rows(v, first, end, n_kv_heads * dim, kv);

    [[unroll]] for (uint c = 0; c < 4 * CHUNKS; c++)
        dk[c] = dv[c] = vec4(0);
    if (window > 0 && window < end - last)
        until = last + window - 1;
    for (uint t = first; t < until; t += TILE) {
        find_first_seen(start, t, end, begin, window);
        if (first_of_tile >= int(last))
            continue;
        for (uint h = head; h < head_end; h++) {
            barrier();
            if (id < TILE) {
                uint at = min(t + id, end - 1) * n_heads + h;
                row_lse[id] = lse.v[at];
                row_delta[id] = delta.v[at];
            }
            add_tile(own, values, t, h);
        }
    }
    forget(first);
    if (BY_HEAD) {
        own.stride = n_heads * dim;
        own.offset = head * dim;
    }
    if (FIND_K && is_some(uvec2(da)))
        store_sums(da, own, dk, scale);
    if (FIND_V && is_some(uvec2(db)))
        store_sums(db, own, dv, 1.0);
}
#else
shared float part[4][TILE];

// Of the tile's queries.
void find_delta(rows grad, uint head)
{
    uint row = id / 4;
    rows out_ = rows(o, grad.first, grad.end, grad.stride, grad.offset);
    float sum = 0.0;

    for (uint d = id % 4 * 4; d < dim; d += 16)
        sum += dot(load(grad, grad.first + row, d),
                   load(out_, grad.first + row, d));
    part[id % 4][row] = sum;
    barrier();
    if (id < TILE) {
        uint at = (grad.first + id) * n_heads + head;
        float all = part[0][id] + part[1][id] + part[2][id] + part[3][id];
        row_delta[id] = all;
        row_lse[id] = 0.0;
        if (grad.first + id < grad.end) {
            if (FIRST == 0)
                delta.v[at] = all;
            row_lse[id] = lse.v[at];
        }
    }
}

void main()
{
    uint tile = tiles - 1 - gl_WorkGroupID.x % tiles;
    uint begin = gl_WorkGroupID.x / tiles * len;
    uint end = begin + len;
    uint head = gl_WorkGroupID.y;
    uint kv = head / (n_heads / n_kv_heads) * dim;
    rows own = rows(q, begin + tile * TILE, end, n_heads * dim, head * dim);
    rows grad = rows(dout, own.first, end, n_heads * dim, head * dim);
    uint last = min(own.first + TILE, end);
    vec4 sums[SUMS];
    vec4 s[4], dp[4];

    find_delta(grad, head);
    if (!is_some(uvec2(da)))
        return;
    [[unroll]] for (uint c = 0; c < 4 * CHUNKS; c++)
        sums[c] = vec4(0);
    find_first_seen(start, own.first, end, begin, window);
    for (uint u = uint(first_of_tile) / TILE * TILE; u < last; u += TILE) {
        rows key = rows(k, u, end, n_kv_heads * dim, kv);
        forget(u);
        multiply(s, own, key);
        if (IS_FRUGAL)
            set_weights(s);
        forget(u + 1);
        multiply(dp, grad, rows(v, u, end, n_kv_heads * dim, kv));
        forget(u + 2);
        [[unroll]] for (uint j = 0; j < 4; j++) {
            vec4 p = IS_FRUGAL ? weights[4 * tx + j][ty] : row_of(s, j);
            [[unroll]] for (uint i = 0; i < 4; i++)
                find_gradient(p[i], dp[i][j], own.first, 4 * ty + i,
                              u + 4 * tx + j);
            weights[4 * tx + j][ty] = row_of(dp, j);
        }
        forget(u + 3);
        add_weighted(sums, key);
    }
    forget(last);
    store_sums(da, own, sums, scale);
}
#endif
