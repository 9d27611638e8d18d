// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * What ways to compute attention have in common, for attention_*.c files
 *
 * q, o, dq, dout (T,H*D)  k, v (T,G*D)  lse (T,H)  start (T)
 */

#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/ints.h"
#include "engine/cpu/softmax.h"
#include "engine/cpu/sums.h"

enum {
    BLOCK_ROWS = CPU_ATTENTION_ROWS,
    BLOCK_VALUES = CPU_ATTENTION_VALUES,
};

struct attention {
    float *o, *lse;
    float *dq, *dk, *dv; // dk and dv: of each head, in the scratch
    const float *dout, *q, *k, *v;
    const float *o_in, *lse_in;
    const int32_t *start;
    int64_t rows, length, n_heads, n_kv_heads, dim;
    int64_t window; // of keys that a query sees; more than there are: all
    float scale, cap;
    float *kt, *vt; // packed: [sequence][kv head][panel][dim][TILE_COLS]
    float *room;    // of the workers
    int64_t room_floats;
    float *dk_out, *dv_out;
};

ALWAYS_INLINE int64_t padded_length(const struct attention *a)
{
    return round_up(a->length, TILE_COLS);
}

ALWAYS_INLINE int64_t window_of(struct cpu_scores s)
{
    return s.window > 0 ? s.window : INT64_MAX;
}

ALWAYS_INLINE int64_t first_seen(const struct attention *a, int64_t t)
{
    return max(max(a->start[t], t - t % a->length), t + 1 - a->window);
}

// Which keys of its sequence some query of t0 .. t1 - 1 sees.
struct range {
    int64_t first, last;
};

ALWAYS_INLINE struct range seen_range(const struct attention *a,
                                      int64_t sequence, int64_t t0, int64_t t1)
{
    struct range r = {t1, t0 - 1};

    for (int64_t t = t0; t < t1; t++) {
        const int64_t first = first_seen(a, t);
        if (first > t)
            continue;
        r.first = min(r.first, first);
        r.last = t;
    }
    r.first -= sequence;
    r.last -= sequence;
    return r;
}

// Of rows of D values, which are whole registers.
ALWAYS_INLINE float dot(const float *x, const float *y, int64_t dim)
{
    return sum_products(&(int64_t){0}, x, y, NULL, dim, 1);
}

// p = exp(p - shift) where the query sees the key, 0 elsewhere in the columns
// first .. last of the strip. Returns the sum.
static float __attribute__((unused))
exp_row(float *p, float shift, int64_t first, int64_t from, int64_t to,
        int64_t last)
{
    vec acc = {0};
    float sum = 0.0f;
    int64_t s = from;

    for (int64_t i = first; i < from; i++)
        p[i] = 0.0f;
    for (; s + LANES <= to + 1; s += LANES) {
        const vec e = vec_exp(vec_load(p + s) - shift);
        vec_store(p + s, e);
        acc += e;
    }
    if (s <= to) {
        float e[LANES];
        vec_store(e, vec_exp(vec_load_some(p + s, to + 1 - s) - shift));
        for (int64_t i = 0; i < to + 1 - s; i++) {
            p[s + i] = e[i];
            sum += e[i];
        }
    }
    for (int64_t i = max(to + 1, first); i <= last; i++)
        p[i] = 0.0f;
    return sum + vec_sum(acc);
}

// Packing: rows of k or v of one head become columns of panels.
static void __attribute__((unused))
pack_head(float *out, const float *x, int64_t stride, int64_t rows, int64_t dim)
{
    for (int64_t s = 0; s < rows; s += TILE_COLS, out += TILE_COLS * dim)
        for (int64_t i = 0; i < TILE_COLS; i += 8) {
            const int64_t n = max(0, min(8, rows - s - i));
            const float *xi = x + (s + i) * stride;
            int64_t d = 0;
            for (; n == 8 && d + 8 <= dim; d += 8) {
                v8 r[8];
#pragma GCC unroll 8
                for (int j = 0; j < 8; j++)
                    r[j] = v8_load(xi + j * stride + d);
                v8_transpose(r);
#pragma GCC unroll 8
                for (int j = 0; j < 8; j++)
                    v8_store(out + (d + j) * TILE_COLS + i, r[j]);
            }
            for (; d < dim; d++)
                for (int64_t j = 0; j < 8; j++)
                    out[d * TILE_COLS + i + j] =
                        j < n ? xi[j * stride + d] : 0.0f;
        }
}

// Room for dk or dv of a head: add_keys() writes whole strips.
ALWAYS_INLINE int64_t head_floats(const struct attention *a)
{
    return (a->length + TILE_ROWS) * a->dim;
}

ALWAYS_INLINE uint32_t sequences_of(const struct attention *a)
{
    return (uint32_t) ((a->rows + a->length - 1) / a->length);
}

// A task of the forward pass: BLOCK_ROWS queries t0 .. t1 of one head. Late
// blocks see more keys: they go first, so that the short ones fill up.
struct forward_block {
    int64_t sequence, head, t0, t1;
};

ALWAYS_INLINE struct forward_block forward_block(const struct attention *a,
                                                 uint32_t task)
{
    const int64_t blocks = (a->length + BLOCK_ROWS - 1) / BLOCK_ROWS;
    const int64_t heads = sequences_of(a) * a->n_heads;
    const int64_t sequence = task % heads / a->n_heads * a->length;
    const int64_t t0 = sequence + (blocks - 1 - task / heads) * BLOCK_ROWS;
    const int64_t end = min(a->rows, sequence + a->length);

    return (struct forward_block){
        .sequence = sequence,
        .head = task % heads % a->n_heads,
        .t0 = t0,
        .t1 = min(end, t0 + BLOCK_ROWS),
    };
}

// Queries that see no key.
ALWAYS_INLINE void blind_strip(const struct attention *a, int64_t head,
                               int64_t t0, int64_t t1)
{
    for (int64_t t = t0; t < t1; t++) {
        memset(a->o + (t * a->n_heads + head) * a->dim, 0,
               (size_t) a->dim * sizeof(float));
        if (a->lse)
            a->lse[t * a->n_heads + head] = -INFINITY;
    }
}

// dk and dv of a token: the sum over the heads of each group.
static void __attribute__((unused))
group_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct attention *a = ctx;
    const int64_t group = a->n_heads / a->n_kv_heads;
    const int64_t t0 = task * (int64_t) BLOCK_ROWS;
    const int64_t t1 = min(a->rows, t0 + BLOCK_ROWS);

    for (int64_t t = t0; t < t1; t++)
        for (int64_t j = 0; j < a->n_kv_heads; j++) {
            const int64_t sequence = t / a->length;
            const int64_t from =
                (sequence * a->n_heads + j * group) * head_floats(a) +
                t % a->length * a->dim;
            const int64_t to = (t * a->n_kv_heads + j) * a->dim;
            for (int64_t d = 0; d < a->dim; d += LANES) {
                vec k = {0};
                vec v = {0};
                for (int64_t h = 0; h < group; h++) {
                    k += vec_load(a->dk + from + h * head_floats(a) + d);
                    v += vec_load(a->dv + from + h * head_floats(a) + d);
                }
                if (a->dk_out)
                    vec_store(a->dk_out + to + d, k);
                if (a->dv_out)
                    vec_store(a->dv_out + to + d, v);
            }
        }
}
