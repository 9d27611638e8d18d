// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/attention_vec.h"
#include "engine/cpu/tile.h"

/*
 * Attention as products
 *
 * A task is a block of queries of one head. For TILE_ROWS of them at a time the
 * scores of all visible keys are one product with the packed keys, a row of
 * softmax each, and one product with the values. The backward pass keeps the
 * probabilities and the gradients of the scores of a whole block, because dk
 * and dv sum over queries. Each head owns its dk and dv; the heads of a group
 * are added up at the end, in order.
 *
 * q, o, dq, dout (T,H*D)  k, v (T,G*D)  lse (T,H)  start (T)
 */

static void pack_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct attention *a = ctx;
    const int64_t sequence = task / a->n_kv_heads;
    const int64_t head = task % a->n_kv_heads;
    const int64_t stride = a->n_kv_heads * a->dim;
    const int64_t from = sequence * a->length * stride + head * a->dim;
    const int64_t rows = min(a->length, a->rows - sequence * a->length);
    const int64_t to = task * padded_length(a) * a->dim;

    pack_head(a->kt + to, a->k + from, stride, rows, a->dim);
    if (a->vt)
        pack_head(a->vt + to, a->v + from, stride, rows, a->dim);
}

/*
 * Pieces of both passes. A strip is TILE_ROWS queries of one head.
 */

// A strip of rows of x (rows `stride` apart), times scale; zeros at the end.
static void load_strip(float *out, const float *x, int64_t stride, int64_t rows,
                       int64_t dim, float scale)
{
    for (int64_t i = 0; i < TILE_ROWS; i++)
        for (int64_t d = 0; d < dim; d++)
            out[i * dim + d] = i < rows ? scale * x[i * stride + d] : 0.0f;
}

static void store_strip(float *y, int64_t stride, const float *x, int64_t rows,
                        int64_t dim)
{
    for (int64_t i = 0; i < rows; i++)
        memcpy(y + i * stride, x + i * dim, (size_t) dim * sizeof(*x));
}

// s (TILE_ROWS, ld), columns first .. last: x (TILE_ROWS, dim) times panels.
static void strip_panels(float *s, int64_t ld, const float *x,
                         const float *panels, int64_t first, int64_t last,
                         int64_t dim)
{
    const struct strip a = {x, dim, 1};

    for (int64_t j = first / TILE_COLS * TILE_COLS; j <= last; j += TILE_COLS)
        tile(s + j, ld, NULL, 0, a, panels + j * dim, TILE_COLS, dim, 1.0f,
             TILE_ROWS, TILE_VECS);
}

// y (TILE_ROWS, dim) = op(a) b (+ y): `depth` rows of b, ldb apart.
static void strip_rows(float *y, int64_t ldy, struct strip a, const float *b,
                       int64_t ldb, int64_t depth, int64_t dim, bool add)
{
    const float *c = add ? y : NULL;
    int64_t j = 0;

    for (; j + TILE_COLS <= dim; j += TILE_COLS)
        tile(y + j, ldy, c ? c + j : NULL, ldy, a, b + j, ldb, depth, 1.0f,
             TILE_ROWS, TILE_VECS);
    for (; j + LANES <= dim; j += LANES)
        tile(y + j, ldy, c ? c + j : NULL, ldy, a, b + j, ldb, depth, 1.0f,
             TILE_ROWS, 1);
}

/*
 * Forward
 */

// Softmax of query t in place; what it must be multiplied with at the end.
static float softmax_row(const struct attention *a, float *p, int64_t t,
                         int64_t sequence, int64_t head, struct range r)
{
    const int64_t from = min(first_seen(a, t) - sequence, r.last + 1);
    const int64_t to = t - sequence;
    float total = 0.0f;
    float top = -INFINITY;

    if (from > to || from > r.last) {
        memset(p + r.first, 0, (size_t) (r.last + 1 - r.first) * sizeof(*p));
    } else {
        if (a->cap > 0.0f)
            cap_row(p, a->cap, from, to);
        top = max_row(p, from, to);
        total = exp_row(p, top, r.first, from, to, r.last);
    }
    if (a->lse)
        a->lse[t * a->n_heads + head] =
            total > 0.0f ? top + logf(total) : -INFINITY;
    return total > 0.0f ? 1.0f / total : 0.0f;
}

static void forward_strip(const struct attention *a, float *room,
                          int64_t sequence, int64_t head, int64_t t0,
                          int64_t t1)
{
    const int64_t ld = padded_length(a);
    const int64_t stride = a->n_heads * a->dim;
    const int64_t kv_stride = a->n_kv_heads * a->dim;
    const int64_t kv = head / (a->n_heads / a->n_kv_heads);
    const int64_t at = t0 * stride + head * a->dim;
    const struct range r = seen_range(a, sequence, t0, t1);
    float *q = room;
    float *o = q + TILE_ROWS * a->dim;
    float *p = o + TILE_ROWS * a->dim;
    float scale[TILE_ROWS];

    if (r.first > r.last) {
        blind_strip(a, head, t0, t1);
        return;
    }
    load_strip(q, a->q + at, stride, t1 - t0, a->dim, a->scale);
    strip_panels(p, ld, q,
                 a->kt +
                     (sequence / a->length * a->n_kv_heads + kv) * ld * a->dim,
                 r.first, r.last, a->dim);
    for (int64_t t = t0; t < t1; t++)
        scale[t - t0] = softmax_row(a, p + (t - t0) * ld, t, sequence, head, r);

    const struct strip s = {p + r.first, ld, 1};
    strip_rows(o, a->dim, s,
               a->v + (sequence + r.first) * kv_stride + kv * a->dim, kv_stride,
               r.last + 1 - r.first, a->dim, false);
    for (int64_t t = 0; t < t1 - t0; t++)
        for (int64_t d = 0; d < a->dim; d++)
            a->o[at + t * stride + d] = scale[t] * o[t * a->dim + d];
}

static void forward_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct attention *a = ctx;
    const struct forward_block b = forward_block(a, task);

    for (int64_t t = b.t0; t < b.t1; t += TILE_ROWS)
        forward_strip(a, a->room + worker * a->room_floats, b.sequence, b.head,
                      t, min(b.t1, t + TILE_ROWS));
}

KERNEL_attention(VEC_NAME(attention))
{
    if (head_dim % LANES != 0) {
        attention_c(o, lse, q, k, v, start, rows, length, n_heads, n_kv_heads,
                    head_dim, scores, PRECISION_F32, scratch, pool);
        return;
    }
    struct attention a = {
        .o = o,
        .lse = lse,
        .q = q,
        .k = k,
        .v = v,
        .start = start,
        .rows = rows,
        .length = length,
        .n_heads = n_heads,
        .n_kv_heads = n_kv_heads,
        .dim = head_dim,
        .window = window_of(scores),
        .scale = scores.scale,
        .cap = scores.cap,
        .kt = scratch,
    };
    const uint32_t packs = sequences_of(&a) * (uint32_t) n_kv_heads;
    const uint32_t blocks = (uint32_t) ((length + BLOCK_ROWS - 1) / BLOCK_ROWS);

    a.room = a.kt + packs * padded_length(&a) * head_dim;
    a.room_floats = TILE_ROWS * (2 * head_dim + padded_length(&a));
    pool_run(pool, packs, pack_task, &a);
    pool_run(pool, blocks * sequences_of(&a) * (uint32_t) n_heads, forward_task,
             &a);
}

/*
 * Backward
 */

// A row of p or ds: strips of keys may end behind the last key.
static int64_t back_ld(const struct attention *a)
{
    return padded_length(a) + TILE_ROWS;
}

// Queries of a block: a multiple of TILE_ROWS.
static int64_t back_rows(const struct attention *a)
{
    const int64_t fit = BLOCK_VALUES / back_ld(a) / TILE_ROWS;
    return max(1, min(fit, BLOCK_ROWS / TILE_ROWS)) * TILE_ROWS;
}

// ds = p (dp - delta), in place of dp, where the query sees the key, 0
// elsewhere in the columns first .. last.
static void ds_row(float *dp, const float *p, float delta, int64_t first,
                   int64_t from, int64_t to, int64_t last)
{
    int64_t s = from;

    for (int64_t i = first; i < from; i++)
        dp[i] = 0.0f;
    for (; s + LANES <= to + 1; s += LANES)
        vec_store(dp + s, vec_load(p + s) * (vec_load(dp + s) - delta));
    for (; s <= to; s++)
        dp[s] = p[s] * (dp[s] - delta);
    for (; s <= last; s++)
        dp[s] = 0.0f;
}

// The slopes of capped scores go into dp - delta, where the query sees the key.
static void slope_row(float *dp, const float *score, float delta, float cap,
                      int64_t from, int64_t to)
{
    const float part = 1.0f / cap;

    for (int64_t s = from; s <= to; s++) {
        const float t = score[s] * part;
        dp[s] = (dp[s] - delta) * (1.0f - t * t);
    }
}

// One head of one sequence and what its task has room for.
struct head_back {
    const struct attention *a;
    int64_t sequence, head, kv;
    const float *kt, *vt;
    float *q, *dout, *dq; // (TILE_ROWS,D); q of a whole block, scaled
    float *p, *ds;        // (back_rows,ld)
};

// Query t: its scores and dout.v of the keys r become p and ds.
static void back_row(const struct head_back *b, float *p, float *ds,
                     const float *dout, int64_t t, struct range r)
{
    const struct attention *a = b->a;
    const int64_t at = (t * a->n_heads + b->head) * a->dim;
    const int64_t from = first_seen(a, t) - b->sequence;
    const int64_t to = t - b->sequence;
    float delta = dot(dout, a->o_in + at, a->dim);

    if (a->cap > 0.0f) {
        cap_row(p, a->cap, from, to);
        slope_row(ds, p, delta, a->cap, from, to);
        delta = 0.0f;
    }
    exp_row(p, a->lse_in[t * a->n_heads + b->head], r.first, from, to, r.last);
    ds_row(ds, p, delta, r.first, from, to, r.last);
}

// p and ds of a strip, at row `i` of the block, and its dq.
static void back_strip(const struct head_back *b, int64_t t0, int64_t t1,
                       int64_t i, struct range r)
{
    const struct attention *a = b->a;
    const int64_t ld = back_ld(a);
    const struct range own = seen_range(a, b->sequence, t0, t1);
    // Keys that no query sees count as well, up to whole strips: as 0.
    const int64_t keys = round_up(r.last + 1 - r.first, TILE_ROWS);
    const struct range whole = {r.first, r.first + keys - 1};
    const int64_t stride = a->n_heads * a->dim;
    const int64_t kv_stride = a->n_kv_heads * a->dim;
    const int64_t at = t0 * stride + b->head * a->dim;
    float *q = b->q + i * a->dim;
    float *dout = b->dout + i * a->dim;
    float *p = b->p + i * ld;
    float *ds = b->ds + i * ld;

    load_strip(q, a->q + at, stride, t1 - t0, a->dim, a->scale);
    load_strip(dout, a->dout + at, stride, t1 - t0, a->dim, 1.0f);
    strip_panels(p, ld, q, b->kt, own.first, own.last, a->dim);
    strip_panels(ds, ld, dout, b->vt, own.first, own.last, a->dim);
    for (int64_t j = 0; j < TILE_ROWS; j++) {
        const int64_t t = t0 + j;
        if (t < t1 && first_seen(a, t) <= t) {
            back_row(b, p + j * ld, ds + j * ld, dout + j * a->dim, t, whole);
            continue;
        }
        memset(p + j * ld + r.first, 0, (size_t) keys * sizeof(*p));
        memset(ds + j * ld + r.first, 0, (size_t) keys * sizeof(*ds));
    }
    if (!a->dq)
        return;
    const struct strip s = {ds + own.first, ld, 1};
    strip_rows(b->dq, a->dim, s,
               a->k + (b->sequence + own.first) * kv_stride + b->kv * a->dim,
               kv_stride, own.last + 1 - own.first, a->dim, false);
    for (int64_t j = 0; j < TILE_ROWS * a->dim; j++)
        b->dq[j] *= a->scale;
    store_strip(a->dq + at, stride, b->dq, t1 - t0, a->dim);
}

// out (keys,D) += x^T y over the queries of a block; x (queries,ld).
static void add_keys(float *out, const float *x, int64_t ld, const float *y,
                     int64_t queries, int64_t dim, struct range r)
{
    for (int64_t s = r.first; s <= r.last; s += TILE_ROWS) {
        const struct strip a = {x + s, 1, ld};
        strip_rows(out + s * dim, dim, a, y, dim, queries, dim, true);
    }
}

static void back_block(const struct head_back *b, int64_t t0, int64_t t1,
                       float *dk, float *dv)
{
    const struct attention *a = b->a;
    const struct range r = seen_range(a, b->sequence, t0, t1);

    if (r.first > r.last) {
        for (int64_t t = t0; a->dq && t < t1; t++)
            memset(a->dq + (t * a->n_heads + b->head) * a->dim, 0,
                   (size_t) a->dim * sizeof(float));
        return;
    }
    for (int64_t t = t0; t < t1; t += TILE_ROWS)
        back_strip(b, t, min(t1, t + TILE_ROWS), t - t0, r);
    const int64_t ld = back_ld(a);
    const int64_t queries = round_up(t1 - t0, TILE_ROWS);
    add_keys(dk, b->ds, ld, b->q, queries, a->dim, r);
    add_keys(dv, b->p, ld, b->dout, queries, a->dim, r);
}

static void back_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct attention *a = ctx;
    const int64_t rows = back_rows(a);
    const int64_t sequence = task / a->n_heads;
    const int64_t head = task % a->n_heads;
    const int64_t kv = head / (a->n_heads / a->n_kv_heads);
    const int64_t packed =
        (sequence * a->n_kv_heads + kv) * padded_length(a) * a->dim;
    const int64_t end = min(a->rows, (sequence + 1) * a->length);
    float *room = a->room + worker * a->room_floats;
    float *dk = a->dk + task * head_floats(a);
    float *dv = a->dv + task * head_floats(a);
    const struct head_back b = {
        .a = a,
        .sequence = sequence * a->length,
        .head = head,
        .kv = kv,
        .kt = a->kt + packed,
        .vt = a->vt + packed,
        .q = room,
        .dout = room + rows * a->dim,
        .dq = room + 2 * rows * a->dim,
        .p = room + (2 * rows + TILE_ROWS) * a->dim,
        .ds = room + (2 * rows + TILE_ROWS) * a->dim + rows * back_ld(a),
    };

    memset(dk, 0, (size_t) head_floats(a) * sizeof(*dk));
    memset(dv, 0, (size_t) head_floats(a) * sizeof(*dv));
    for (int64_t t = b.sequence; t < end; t += rows)
        back_block(&b, t, min(end, t + rows), dk, dv);
}

KERNEL_attention_back(VEC_NAME(attention_back))
{
    if (head_dim % LANES != 0) {
        attention_back_c(dq, dk, dv, dout, q, k, v, o, lse, start, rows, length,
                         n_heads, n_kv_heads, head_dim, scores, PRECISION_F32,
                         scratch, pool);
        return;
    }
    struct attention a = {
        .dq = dq,
        .dout = dout,
        .q = q,
        .k = k,
        .v = v,
        .o_in = o,
        .lse_in = lse,
        .start = start,
        .rows = rows,
        .length = length,
        .n_heads = n_heads,
        .n_kv_heads = n_kv_heads,
        .dim = head_dim,
        .window = window_of(scores),
        .scale = scores.scale,
        .cap = scores.cap,
        .kt = scratch,
        .dk_out = dk,
        .dv_out = dv,
    };
    const uint32_t packs = sequences_of(&a) * (uint32_t) n_kv_heads;
    const uint32_t heads = sequences_of(&a) * (uint32_t) n_heads;
    const int64_t ld = padded_length(&a);

    a.vt = a.kt + packs * ld * head_dim;
    a.dk = a.vt + packs * ld * head_dim;
    a.dv = a.dk + heads * head_floats(&a);
    a.room = a.dv + heads * head_floats(&a);
    a.room_floats = (2 * back_rows(&a) + TILE_ROWS) * head_dim +
                    2 * back_rows(&a) * back_ld(&a);
    pool_run(pool, packs, pack_task, &a);
    pool_run(pool, heads, back_task, &a);
    pool_run(pool, (uint32_t) ((rows + BLOCK_ROWS - 1) / BLOCK_ROWS),
             group_task, &a);
}
