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
 * many queries, which pay for the packing; a token has tasks of two, so that
 * keys are read once for two heads and there are tasks for everybody.
 */

struct cached {
    float *o;
    const float *q, *k, *v;
    const int32_t *pos;
    int64_t rows, length, n_heads, n_kv_heads, dim;
    int64_t group; // heads of a key-value head
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

ALWAYS_INLINE int64_t last_of(const struct cached *c, int64_t i)
{
    return min(c->pos[i / c->group], c->length - 1);
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

static void scores(const struct cached *c, const struct room *r, int64_t kv,
                   int64_t n, int64_t last)
{
    const int64_t stride = c->n_kv_heads * c->dim;

    for (int64_t s = 0; s <= last; s += TILE_COLS) {
        pack_head(r->panel, c->k + s * stride + kv * c->dim, stride,
                  min(TILE_COLS, last + 1 - s), c->dim);
        strips(r->p + s, c->plan.ld, r->q, c->dim, r->panel, TILE_COLS, c->dim,
               n, TILE_VECS);
    }
}

static void values(const struct cached *c, const struct room *r, int64_t kv,
                   int64_t n, int64_t last)
{
    const int64_t stride = c->n_kv_heads * c->dim;
    const float *v = c->v + kv * c->dim;
    int64_t d = 0;

    for (; d + TILE_COLS <= c->dim; d += TILE_COLS)
        strips(r->o + d, c->dim, r->p, c->plan.ld, v + d, stride, last + 1, n,
               TILE_VECS);
    for (; d < c->dim; d += LANES)
        strips(r->o + d, c->dim, r->p, c->plan.ld, v + d, stride, last + 1, n,
               1);
}

static void cached_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct cached *c = ctx;
    const int64_t kv = task % c->n_kv_heads;
    const int64_t i0 = task / c->n_kv_heads * c->plan.queries;
    const int64_t n = min(c->plan.queries, c->rows * c->group - i0);
    const float root = 1.0f / sqrtf((float) c->dim);
    const struct room r = room_of(c, worker);
    float scale[CPU_CACHED_QUERIES];
    int64_t last = -1;

    for (int64_t i = 0; i < n; i++) {
        const float *q = c->q + row_of(c, kv, i0 + i) * c->dim;
        for (int64_t d = 0; d < c->dim; d++)
            r.q[i * c->dim + d] = root * q[d];
        last = max(last, last_of(c, i0 + i));
    }
    scores(c, &r, kv, n, last);
    for (int64_t i = 0; i < n; i++) {
        const int64_t to = last_of(c, i0 + i);
        float *p = r.p + i * c->plan.ld;
        const float top = to < 0 ? 0.0f : max_row(p, 0, to);
        const float total = exp_row(p, top, 0, 0, to, last);
        scale[i] = total > 0.0f ? 1.0f / total : 0.0f;
    }
    values(c, &r, kv, n, last);
    for (int64_t i = 0; i < n; i++)
        for (int64_t d = 0; d < c->dim; d++)
            c->o[row_of(c, kv, i0 + i) * c->dim + d] =
                scale[i] * r.o[i * c->dim + d];
}

KERNEL_attention_cached(VEC_NAME(attention_cached))
{
    if (head_dim % LANES != 0) {
        attention_cached_c(o, q, kcache, vcache, pos, rows, length, n_heads,
                           n_kv_heads, head_dim, scratch, pool);
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
        .plan = cpu_cached_plan(rows, length, n_heads / n_kv_heads, head_dim),
        .room = scratch,
    };
    const int64_t blocks =
        (rows * c.group + c.plan.queries - 1) / c.plan.queries;

    pool_run(pool, (uint32_t) (blocks * n_kv_heads), cached_task, &c);
}
