// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/attention_vec.h"
#include "engine/cpu/tile.h"

/*
 * Attention against the cache
 *
 * Queries that share a key-value head are taken together, whatever their token:
 * query i of a head is token i / group, head i % group of its group. A task
 * packs a panel of keys at a time and multiplies it with all its queries; then
 * a softmax for each, and one product with the values. A prompt has tasks of
 * many queries, which pay for the packing; a token has tasks of two, which meet
 * keys as they are, so that there are tasks for everybody.
 */

struct cached {
    float *o;
    const float *q, *k, *v;
    const int32_t *pos;
    int64_t rows, length, n_heads, n_kv_heads, dim;
    int64_t group; // heads of a key-value head
    int64_t window;
    float scale, cap;
    struct cpu_cached_plan plan;
    float *room;
};

// Rows of queries in the room of a worker; then their scores, a panel of keys
// and what comes out.
struct room {
    float *q, *p, *panel, *o;
};

static struct room room_of(const struct cached *c, uint32_t worker)
{
    float *at = c->room + worker * c->plan.floats;
    float *p = at + c->plan.queries * c->dim;
    float *panel = p + c->plan.queries * c->plan.ld;

    return (struct room){at, p, panel, panel + TILE_COLS * c->dim};
}

// Query i of key-value head `kv`, as a row of (T*H,D).
ALWAYS_INLINE int64_t row_of(const struct cached *c, int64_t kv, int64_t i)
{
    return i / c->group * c->n_heads + kv * c->group + i % c->group;
}

// Which keys it sees.
ALWAYS_INLINE struct range seen_by(const struct cached *c, int64_t i)
{
    const int64_t last = min(c->pos[i / c->group], c->length - 1);

    return (struct range){max(0, last + 1 - c->window), last};
}

// y (rows, vecs * LANES) of every strip of n rows.
ALWAYS_INLINE void strips(float *y, int64_t ldy, const float *a, int64_t lda,
                          const float *b, int64_t ldb, int64_t depth, int64_t n,
                          int vecs)
{
    int64_t i = 0;

    for (; i + TILE_ROWS <= n; i += TILE_ROWS)
        tile(y + i * ldy, ldy, NULL, 0, (struct strip){a + i * lda, lda, 1}, b,
             ldb, depth, 1.0f, TILE_ROWS, vecs);
    for (; i + 2 <= n; i += 2)
        tile(y + i * ldy, ldy, NULL, 0, (struct strip){a + i * lda, lda, 1}, b,
             ldb, depth, 1.0f, 2, vecs);
    if (i < n)
        tile(y + i * ldy, ldy, NULL, 0, (struct strip){a + i * lda, lda, 1}, b,
             ldb, depth, 1.0f, 1, vecs);
}

// Scores of one query: products with eight keys at a time, where they are.
static void score_alone(float *p, const struct cached *c, const float *q,
                        int64_t kv, struct range seen)
{
    const int64_t stride = c->n_kv_heads * c->dim;

    for (int64_t s = seen.first; s <= seen.last; s += 8) {
        const int64_t n = min(8, seen.last + 1 - s);
        const float *k = c->k + s * stride + kv * c->dim;
        vec acc[8] = {{0}};
        int64_t at[8];
        for (int64_t j = 0; j < 8; j++) // the last one again
            at[j] = min(j, n - 1) * stride;
        for (int64_t d = 0; d < c->dim; d += LANES) {
            const vec x = vec_load(q + d);
#pragma GCC unroll 8
            for (int j = 0; j < 8; j++)
                acc[j] += x * vec_load(k + at[j] + d);
        }
        const v8 sums = vec_sums(acc);
        memcpy(p + s, &sums, (size_t) n * sizeof(*p));
    }
}

static void score_keys(const struct cached *c, const struct room *r, int64_t kv,
                       int64_t n, struct range seen)
{
    const int64_t stride = c->n_kv_heads * c->dim;

    // Two products with a key cost less than its packing.
    for (int64_t i = 0; n <= 2 && i < n; i++)
        score_alone(r->p + i * c->plan.ld, c, r->q + i * c->dim, kv, seen);
    if (n <= 2)
        return;
    for (int64_t s = seen.first / TILE_COLS * TILE_COLS; s <= seen.last;
         s += TILE_COLS) {
        pack_head(r->panel, c->k + s * stride + kv * c->dim, stride,
                  min(TILE_COLS, seen.last + 1 - s), c->dim);
        strips(r->p + s, c->plan.ld, r->q, c->dim, r->panel, TILE_COLS, c->dim,
               n, TILE_VECS);
    }
}

static void add_values(const struct cached *c, const struct room *r, int64_t kv,
                       int64_t n, struct range seen)
{
    const int64_t stride = c->n_kv_heads * c->dim;
    const float *v = c->v + seen.first * stride + kv * c->dim;
    const float *p = r->p + seen.first;
    const int64_t depth = seen.last + 1 - seen.first;
    int64_t d = 0;

    for (; d + TILE_COLS <= c->dim; d += TILE_COLS)
        strips(r->o + d, c->dim, p, c->plan.ld, v + d, stride, depth, n,
               TILE_VECS);
    for (; d < c->dim; d += LANES)
        strips(r->o + d, c->dim, p, c->plan.ld, v + d, stride, depth, n, 1);
}

static void cached_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct cached *c = ctx;
    const int64_t kv = task % c->n_kv_heads;
    const int64_t i0 = task / c->n_kv_heads * c->plan.queries;
    const int64_t n = min(c->plan.queries, c->rows * c->group - i0);
    const struct room r = room_of(c, worker);
    float scale[CPU_CACHED_QUERIES];
    struct range seen = {INT64_MAX, -1};

    for (int64_t i = 0; i < n; i++) {
        const float *q = c->q + row_of(c, kv, i0 + i) * c->dim;
        for (int64_t d = 0; d < c->dim; d++)
            r.q[i * c->dim + d] = c->scale * q[d];
        seen.first = min(seen.first, seen_by(c, i0 + i).first);
        seen.last = max(seen.last, seen_by(c, i0 + i).last);
    }
    score_keys(c, &r, kv, n, seen);
    for (int64_t i = 0; i < n; i++) {
        const struct range s = seen_by(c, i0 + i);
        float *p = r.p + i * c->plan.ld;
        if (c->cap > 0.0f)
            cap_row(p, c->cap, s.first, s.last);
        const float top = s.last < 0 ? 0.0f : max_row(p, s.first, s.last);
        const float total =
            exp_row(p, top, seen.first, s.first, s.last, seen.last);
        scale[i] = total > 0.0f ? 1.0f / total : 0.0f;
    }
    add_values(c, &r, kv, n, seen);
    for (int64_t i = 0; i < n; i++)
        for (int64_t d = 0; d < c->dim; d++)
            c->o[row_of(c, kv, i0 + i) * c->dim + d] =
                scale[i] * r.o[i * c->dim + d];
}

KERNEL_attention_cached(VEC_NAME(attention_cached))
{
    if (head_dim % LANES != 0) {
        attention_cached_c(o, q, kcache, vcache, pos, rows, length, n_heads,
                           n_kv_heads, head_dim, scores, scratch, pool);
        return;
    }
    struct cached c = {
        .o = o,
        .q = q,
        .k = kcache,
        .v = vcache,
        .pos = pos,
        .rows = rows,
        .length = length,
        .n_heads = n_heads,
        .n_kv_heads = n_kv_heads,
        .dim = head_dim,
        .group = n_heads / n_kv_heads,
        .window = window_of(scores),
        .scale = scores.scale,
        .cap = scores.cap,
        .plan = cpu_cached_plan(rows, length, n_heads / n_kv_heads, head_dim),
        .room = scratch,
    };
    const int64_t blocks =
        (rows * c.group + c.plan.queries - 1) / c.plan.queries;

    pool_run(pool, (uint32_t) (blocks * n_kv_heads), cached_task, &c);
}
