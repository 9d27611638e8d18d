// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/attention_vec.h"
#include "engine/cpu/bf16.h"

/*
 * Attention as rounded products
 *
 * The same plan as attention_vec.c: strips of TILE_ROWS queries of one head
 * against all keys that they see. Pairs run along what a product sums over:
 * along D for scores, along keys for o and dq, along queries for dk and dv. A
 * strip's probabilities become pairs along keys in place; the backward pass
 * writes those of two queries side by side as well, which makes them pairs of
 * queries, and keeps a block of them.
 */

enum {
    KEYS = 32,             // a step of the rows of probabilities
    BACK_ROWS = 96,        // queries of a block of the backward pass at most
    BACK_VALUES = 1 << 15, // of p or ds that it keeps at most
};

_Static_assert((int) BACK_ROWS % (2 * (int) TILE_ROWS) == 0, "pairs in strips");

// Packed: for each sequence and key-value head
struct packed {
    struct attention a;
    pair *k_dim, *v_dim;   // [panel of keys][pair of D][PANEL_COLS]
    pair *k_keys, *v_keys; // [pair of keys][D]
};

// Pairs of one of them.
ALWAYS_INLINE int64_t packed_pairs(const struct attention *a)
{
    return padded_length(a) * a->dim / 2;
}

// 32 values of which n are there, times scale.
ALWAYS_INLINE __m512i round_some(const float *x, int64_t n, float scale)
{
    return round_32(scale * _mm512_maskz_loadu_ps(lanes(n), x),
                    scale * _mm512_maskz_loadu_ps(lanes(n - 16), x + 16));
}

/*
 * Packing
 */

// Rows of one head become columns of panels.
static void pack_dim(pair *out, const float *x, int64_t stride, int64_t rows,
                     int64_t dim)
{
    for (int64_t s = 0; s < round_up(rows, PANEL_COLS); s += 16) {
        pair *to = out + s / PANEL_COLS * PANEL_COLS * dim / 2 + s % PANEL_COLS;
        for (int64_t d = 0; d < dim; d += 32) {
            __m512i r[16];
#pragma GCC unroll 16
            for (int i = 0; i < 16; i++)
                r[i] = s + i < rows
                           ? round_some(x + (s + i) * stride + d, dim - d, 1.0f)
                           : _mm512_setzero_si512();
            transpose_pairs(r);
#pragma GCC unroll 16
            for (int i = 0; i < 16; i++)
                if (2 * i < dim - d)
                    store_pairs(to + (d / 2 + i) * PANEL_COLS, r[i]);
        }
    }
}

// Two rows become one of pairs, times scale.
static void pack_keys(pair *out, const float *x, int64_t stride, int64_t rows,
                      int64_t dim, float scale)
{
    for (int64_t s = 0; s < rows; s += 2)
        for (int64_t d = 0; d < dim; d += 16) {
            const float *at = x + s * stride + d;
            const __m512 even = scale * _mm512_loadu_ps(at);
            const __m512 next = s + 1 < rows ? _mm512_loadu_ps(at + stride)
                                             : _mm512_setzero_ps();
            const __m512 odd = scale * next;
            store_pairs(out + s / 2 * dim + d, round_pairs(even, odd));
        }
}

static void pack_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct packed *p = ctx;
    const struct attention *a = &p->a;
    const int64_t sequence = task / a->n_kv_heads;
    const int64_t stride = a->n_kv_heads * a->dim;
    const int64_t from =
        sequence * a->length * stride + task % a->n_kv_heads * a->dim;
    const int64_t rows = min(a->length, a->rows - sequence * a->length);
    const int64_t to = task * packed_pairs(a);

    pack_dim(p->k_dim + to, a->k + from, stride, rows, a->dim);
    if (p->v_dim)
        pack_dim(p->v_dim + to, a->v + from, stride, rows, a->dim);
    if (p->k_keys)
        pack_keys(p->k_keys + to, a->k + from, stride, rows, a->dim, 1.0f);
    if (p->v_keys)
        pack_keys(p->v_keys + to, a->v + from, stride, rows, a->dim, 1.0f);
}

/*
 * Pieces of both passes
 */

// A strip of rows of x, times scale, in pairs along D; zeros at the end.
static void load_strip(pair *out, const float *x, int64_t stride, int64_t rows,
                       int64_t dim, float scale)
{
    for (int64_t i = 0; i < TILE_ROWS; i++)
        for (int64_t d = 0; d < dim; d += 32) {
            const __m512i v =
                i < rows ? round_some(x + i * stride + d, dim - d, scale)
                         : _mm512_setzero_si512();
            pair *to = out + i * (dim / 2) + d / 2;
            if (dim - d >= 32)
                store_pairs(to, v);
            else
                _mm256_storeu_si256((void *) to, _mm512_castsi512_si256(v));
        }
}

ALWAYS_INLINE void clear(__m512 acc[TILE_ROWS][PANEL_VECS], int vecs)
{
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vecs; j++)
            acc[i][j] = _mm512_setzero_ps();
}

// s (TILE_ROWS, ld), columns of the panels of first .. last: x times panels.
static void strip_panels(float *s, int64_t ld, const pair *x,
                         const pair *panels, int64_t first, int64_t last,
                         int64_t dim)
{
    const struct pair_strip a = {x, dim / 2, 1};

    for (int64_t j = first / PANEL_COLS * PANEL_COLS; j <= last;
         j += PANEL_COLS) {
        __m512 acc[TILE_ROWS][PANEL_VECS];
        clear(acc, PANEL_VECS);
        tile_pairs(acc, a, panels + j * (dim / 2), PANEL_COLS, dim / 2,
                   TILE_ROWS, PANEL_VECS, NULL);
#pragma GCC unroll 8
        for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 4
            for (int v = 0; v < PANEL_VECS; v++)
                _mm512_storeu_ps(s + i * ld + j + 16 * v, acc[i][v]);
    }
}

// y (rows, vecs * 16) = scale (rows) * a b, the rows of b `dim` apart.
ALWAYS_INLINE void rows_tile(float *y, int64_t ldy, int64_t rows,
                             struct pair_strip a, const pair *b, int64_t dim,
                             int64_t pairs, const float *scale, int vecs)
{
    __m512 acc[TILE_ROWS][PANEL_VECS];

    clear(acc, vecs);
    tile_pairs(acc, a, b, dim, pairs, TILE_ROWS, vecs, NULL);
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            if (i < rows)
                _mm512_storeu_ps(y + i * ldy + 16 * v, scale[i] * acc[i][v]);
}

static void strip_rows(float *y, int64_t ldy, int64_t rows, struct pair_strip a,
                       const pair *b, int64_t dim, int64_t pairs,
                       const float *scale)
{
    int64_t j = 0;

    for (; j + PANEL_COLS <= dim; j += PANEL_COLS)
        rows_tile(y + j, ldy, rows, a, b + j, dim, pairs, scale, PANEL_VECS);
    for (; j < dim; j += 16)
        rows_tile(y + j, ldy, rows, a, b + j, dim, pairs, scale, 1);
}

// Lanes of the 16 keys from s on that are in from .. to.
ALWAYS_INLINE __mmask16 seen(int64_t s, int64_t from, int64_t to)
{
    return (__mmask16) (lanes(to + 1 - s) & ~lanes(from - s));
}

/*
 * Forward
 */

// exp(p - top) in pairs, in place, of keys first .. last, both whole steps; 0
// outside of from .. to. Returns the sum.
static float softmax_pairs(float *p, float top, int64_t first, int64_t from,
                           int64_t to, int64_t last)
{
    pair *out = (pair *) (void *) p;
    __m512 sum = _mm512_setzero_ps();

    for (int64_t s = first; s <= last; s += KEYS) {
        const __m512 e =
            _mm512_maskz_mov_ps(seen(s, from, to),
                                exp_16(_mm512_loadu_ps(p + s) - top));
        const __m512 f =
            _mm512_maskz_mov_ps(seen(s + 16, from, to),
                                exp_16(_mm512_loadu_ps(p + s + 16) - top));
        sum += e + f;
        store_pairs(out + s / 2, round_32(e, f));
    }
    return _mm512_reduce_add_ps(sum);
}

// What query t's o must be multiplied with.
static float softmax_row(const struct attention *a, float *p, int64_t t,
                         int64_t sequence, int64_t head, struct range r)
{
    const int64_t from = min(first_seen(a, t) - sequence, r.last + 1);
    const int64_t to = t - sequence;
    const int64_t first = r.first / KEYS * KEYS;
    const bool is_blind = from > to || from > r.last;
    const float top = is_blind ? 0.0f : max_row(p, from, to);
    const float total =
        softmax_pairs(p, top, first, from, is_blind ? from - 1 : to, r.last);

    if (a->lse)
        a->lse[t * a->n_heads + head] =
            is_blind ? -INFINITY : top + logf(total);
    return is_blind ? 0.0f : 1.0f / total;
}

static void forward_strip(const struct packed *p, float *room, int64_t sequence,
                          int64_t head, int64_t t0, int64_t t1)
{
    const struct attention *a = &p->a;
    const int64_t ld = padded_length(a);
    const int64_t stride = a->n_heads * a->dim;
    const int64_t kv = head / (a->n_heads / a->n_kv_heads);
    const int64_t at = t0 * stride + head * a->dim;
    const int64_t to =
        (sequence / a->length * a->n_kv_heads + kv) * packed_pairs(a);
    const struct range r = seen_range(a, sequence, t0, t1);
    const int64_t first = r.first / KEYS * KEYS;
    float *s = room; // (TILE_ROWS,ld)
    pair *q = (pair *) (room + TILE_ROWS * ld);
    float scale[TILE_ROWS];

    if (r.first > r.last) {
        blind_strip(a, head, t0, t1);
        return;
    }
    load_strip(q, a->q + at, stride, t1 - t0, a->dim, a->scale);
    strip_panels(s, ld, q, p->k_dim + to, first, r.last, a->dim);
    for (int64_t t = t0; t < t1; t++)
        scale[t - t0] = softmax_row(a, s + (t - t0) * ld, t, sequence, head, r);

    const struct pair_strip x = {(pair *) (void *) s + first / 2, ld, 1};
    strip_rows(a->o + at, stride, t1 - t0, x,
               p->v_keys + to + first / 2 * a->dim, a->dim,
               (r.last + 2 - first) / 2, scale);
}

static void forward_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct packed *p = ctx;
    const struct attention *a = &p->a;
    const struct forward_block b = forward_block(a, task);

    for (int64_t t = b.t0; t < b.t1; t += TILE_ROWS)
        forward_strip(p, a->room + worker * a->room_floats, b.sequence, b.head,
                      t, min(b.t1, t + TILE_ROWS));
}

KERNEL_attention(attention_avx512bf16)
{
    // Capped scores are not rounded: few models have them.
    if (precision != PRECISION_BF16 || scores.cap > 0.0f) {
        attention_avx512(o, lse, q, k, v, start, rows, length, n_heads,
                         n_kv_heads, head_dim, scores, PRECISION_F32, scratch,
                         pool);
        return;
    }
    if (head_dim % 16 != 0) {
        attention_c(o, lse, q, k, v, start, rows, length, n_heads, n_kv_heads,
                    head_dim, scores, precision, scratch, pool);
        return;
    }
    struct packed p = {
        .a =
            {
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
            },
        .k_dim = scratch,
    };
    const uint32_t packs = sequences_of(&p.a) * (uint32_t) n_kv_heads;
    const uint32_t blocks = (uint32_t) ((length + BLOCK_ROWS - 1) / BLOCK_ROWS);

    p.v_keys = p.k_dim + packs * packed_pairs(&p.a);
    p.a.room = (float *) (p.v_keys + packs * packed_pairs(&p.a));
    p.a.room_floats = TILE_ROWS * (padded_length(&p.a) + head_dim);
    pool_run(pool, packs, pack_task, &p);
    pool_run(pool, blocks * sequences_of(&p.a) * (uint32_t) n_heads,
             forward_task, &p);
}

/*
 * Backward
 */

// A row of pairs of queries: strips of keys may end behind the last key.
static int64_t back_ld(const struct attention *a)
{
    return padded_length(a) + KEYS;
}

// Queries of a block: a multiple of TILE_ROWS.
static int64_t back_rows(const struct attention *a)
{
    const int64_t fit = BACK_VALUES / back_ld(a) / TILE_ROWS;
    return max(1, min(fit, BACK_ROWS / TILE_ROWS)) * TILE_ROWS;
}

// One head of one sequence and what its task has room for.
struct head_back {
    const struct packed *p;
    int64_t sequence, head;
    const pair *k_dim, *v_dim, *k_keys;
    float *s, *ds;          // (TILE_ROWS,ld) of a strip
    pair *x;                // (TILE_ROWS,D/2) q or dout of a strip
    pair *q, *dout;         // (back_rows/2,D) of a block, pairs of queries
    pair *p_keys, *ds_keys; // (back_rows/2,ld) pairs of queries
};

// What two neighbouring queries need.
struct two_rows {
    int64_t from[2], to[2]; // keys that they see
    float lse[2], delta[2];
};

ALWAYS_INLINE __m512 prob(const float *s, int64_t at, float lse, __mmask16 mask)
{
    return _mm512_maskz_mov_ps(mask, exp_16(_mm512_loadu_ps(s + at) - lse));
}

ALWAYS_INLINE __m512 score_grad(const float *dp, int64_t at, __m512 p,
                                float delta, __mmask16 mask)
{
    return _mm512_maskz_mov_ps(mask, p * (_mm512_loadu_ps(dp + at) - delta));
}

// Rows s, s + ld of scores and ds of their gradients become probabilities and
// score gradients of keys first .. last, whole steps: in pairs of queries at
// p2 and ds2, and the latter also in pairs of keys in place of ds.
static void two_rows_back(pair *p2, pair *ds2, float *ds, const float *s,
                          int64_t ld, const struct two_rows *r, int64_t first,
                          int64_t last)
{
    for (int64_t at = first; at <= last; at += KEYS) {
        __m512 g[2][2];
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            __m512 p[2];
#pragma GCC unroll 2
            for (int i = 0; i < 2; i++) {
                const int64_t key = at + 16 * h;
                const __mmask16 mask = seen(key, r->from[i], r->to[i]);
                p[i] = prob(s + i * ld, key, r->lse[i], mask);
                g[i][h] = score_grad(ds + i * ld, key, p[i], r->delta[i], mask);
            }
            store_pairs(p2 + at + 16 * h, round_pairs(p[0], p[1]));
            store_pairs(ds2 + at + 16 * h, round_pairs(g[0][h], g[1][h]));
        }
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++)
            store_pairs((pair *) (void *) (ds + i * ld) + at / 2,
                        round_32(g[i][0], g[i][1]));
    }
}

// Query t of those below t1; one that sees nothing has from > to.
static void describe_row(struct two_rows *r, int i, const struct head_back *b,
                         int64_t t, int64_t t1)
{
    const struct attention *a = &b->p->a;
    const int64_t at = (t * a->n_heads + b->head) * a->dim;

    r->from[i] = 0;
    r->to[i] = -1;
    r->lse[i] = 0.0f;
    r->delta[i] = 0.0f;
    if (t >= t1 || first_seen(a, t) > t)
        return;
    r->from[i] = first_seen(a, t) - b->sequence;
    r->to[i] = t - b->sequence;
    r->lse[i] = a->lse_in[t * a->n_heads + b->head];
    r->delta[i] = dot(a->dout + at, a->o_in + at, a->dim);
}

// The strip at row `i` of the block, and its dq. `r` are the keys of the block.
static void back_strip(const struct head_back *b, int64_t t0, int64_t t1,
                       int64_t i, struct range r)
{
    const struct attention *a = &b->p->a;
    const int64_t ld = back_ld(a);
    const int64_t stride = a->n_heads * a->dim;
    const int64_t at = t0 * stride + b->head * a->dim;
    const float root = a->scale;
    const struct range own = seen_range(a, b->sequence, t0, t1);
    const int64_t first = r.first / KEYS * KEYS;
    // Strips of keys reach TILE_ROWS behind a query at most, see add_keys().
    const int64_t last =
        min(r.last, t0 - b->sequence + TILE_ROWS - 1) + TILE_ROWS;
    float scale[TILE_ROWS];

    load_strip(b->x, a->q + at, stride, t1 - t0, a->dim, root);
    strip_panels(b->s, ld, b->x, b->k_dim, own.first, own.last, a->dim);
    load_strip(b->x, a->dout + at, stride, t1 - t0, a->dim, 1.0f);
    strip_panels(b->ds, ld, b->x, b->v_dim, own.first, own.last, a->dim);
    for (int64_t j = 0; j < TILE_ROWS; j += 2) {
        struct two_rows rows;
        describe_row(&rows, 0, b, t0 + j, t1);
        describe_row(&rows, 1, b, t0 + j + 1, t1);
        two_rows_back(b->p_keys + (i + j) / 2 * ld,
                      b->ds_keys + (i + j) / 2 * ld, b->ds + j * ld,
                      b->s + j * ld, ld, &rows, first, last);
    }
    if (!a->dq)
        return;
    for (int64_t j = 0; j < TILE_ROWS; j++)
        scale[j] = root;
    const struct pair_strip x = {(pair *) (void *) b->ds + first / 2, ld, 1};
    strip_rows(a->dq + at, stride, t1 - t0, x, b->k_keys + first / 2 * a->dim,
               a->dim, own.last < first ? 0 : (own.last + 2 - first) / 2,
               scale);
}

// y (TILE_ROWS, vecs * 16) += a b, rows of both `dim` apart.
ALWAYS_INLINE void add_tile(float *y, struct pair_strip a, const pair *b,
                            int64_t dim, int64_t pairs, int vecs)
{
    __m512 acc[TILE_ROWS][PANEL_VECS];

#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            acc[i][v] = _mm512_loadu_ps(y + i * dim + 16 * v);
    tile_pairs(acc, a, b, dim, pairs, TILE_ROWS, vecs, NULL);
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            _mm512_storeu_ps(y + i * dim + 16 * v, acc[i][v]);
}

// out (keys,D) += x^T y, both pairs of queries. Queries before the strip of
// keys do not see it: t0 is the block's first query in its sequence.
static void add_keys(float *out, const pair *x, int64_t ld, const pair *y,
                     int64_t queries, int64_t t0, int64_t dim, struct range r)
{
    for (int64_t s = r.first; s <= r.last; s += TILE_ROWS) {
        const int64_t skip = max(0, s - t0) / 2;
        const struct pair_strip a = {x + skip * ld + s, 1, ld};
        int64_t j = 0;
        for (; j + PANEL_COLS <= dim; j += PANEL_COLS)
            add_tile(out + s * dim + j, a, y + skip * dim + j, dim,
                     (queries + 1) / 2 - skip, PANEL_VECS);
        for (; j < dim; j += 16)
            add_tile(out + s * dim + j, a, y + skip * dim + j, dim,
                     (queries + 1) / 2 - skip, 1);
    }
}

static void back_block(const struct head_back *b, int64_t t0, int64_t t1,
                       float *dk, float *dv)
{
    const struct attention *a = &b->p->a;
    const int64_t stride = a->n_heads * a->dim;
    const int64_t at = t0 * stride + b->head * a->dim;
    const int64_t ld = back_ld(a);
    const struct range r = seen_range(a, b->sequence, t0, t1);

    if (r.first > r.last) {
        for (int64_t t = t0; a->dq && t < t1; t++)
            memset(a->dq + (t * a->n_heads + b->head) * a->dim, 0,
                   (size_t) a->dim * sizeof(float));
        return;
    }
    pack_keys(b->q, a->q + at, stride, t1 - t0, a->dim, a->scale);
    pack_keys(b->dout, a->dout + at, stride, t1 - t0, a->dim, 1.0f);
    for (int64_t t = t0; t < t1; t += TILE_ROWS)
        back_strip(b, t, min(t1, t + TILE_ROWS), t - t0, r);
    add_keys(dk, b->ds_keys, ld, b->q, t1 - t0, t0 - b->sequence, a->dim, r);
    add_keys(dv, b->p_keys, ld, b->dout, t1 - t0, t0 - b->sequence, a->dim, r);
}

static void back_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct packed *p = ctx;
    const struct attention *a = &p->a;
    const int64_t rows = back_rows(a);
    const int64_t ld = back_ld(a);
    const int64_t sequence = task / a->n_heads;
    const int64_t head = task % a->n_heads;
    const int64_t packed =
        (sequence * a->n_kv_heads + head / (a->n_heads / a->n_kv_heads)) *
        packed_pairs(a);
    const int64_t end = min(a->rows, (sequence + 1) * a->length);
    float *room = a->room + worker * a->room_floats;
    float *dk = a->dk + task * head_floats(a);
    float *dv = a->dv + task * head_floats(a);
    pair *pairs = (pair *) (room + 2 * TILE_ROWS * ld);
    const struct head_back b = {
        .p = p,
        .sequence = sequence * a->length,
        .head = head,
        .k_dim = p->k_dim + packed,
        .v_dim = p->v_dim + packed,
        .k_keys = p->k_keys + packed,
        .s = room,
        .ds = room + TILE_ROWS * ld,
        .x = pairs,
        .q = pairs + TILE_ROWS * a->dim,
        .dout = pairs + (TILE_ROWS + rows) * a->dim,
        .p_keys = pairs + (TILE_ROWS + 2 * rows) * a->dim,
        .ds_keys = pairs + (TILE_ROWS + 2 * rows) * a->dim + rows / 2 * ld,
    };

    memset(dk, 0, (size_t) head_floats(a) * sizeof(*dk));
    memset(dv, 0, (size_t) head_floats(a) * sizeof(*dv));
    for (int64_t t = b.sequence; t < end; t += rows)
        back_block(&b, t, min(end, t + rows), dk, dv);
}

KERNEL_attention_back(attention_back_avx512bf16)
{
    if (precision != PRECISION_BF16 || scores.cap > 0.0f) {
        attention_back_avx512(dq, dk, dv, dout, q, k, v, o, lse, start, rows,
                              length, n_heads, n_kv_heads, head_dim, scores,
                              PRECISION_F32, scratch, pool);
        return;
    }
    if (head_dim % 16 != 0) {
        attention_back_c(dq, dk, dv, dout, q, k, v, o, lse, start, rows, length,
                         n_heads, n_kv_heads, head_dim, scores, precision,
                         scratch, pool);
        return;
    }
    struct packed p = {
        .a =
            {
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
                .dk_out = dk,
                .dv_out = dv,
            },
        .k_dim = scratch,
    };
    struct attention *a = &p.a;
    const uint32_t packs = sequences_of(a) * (uint32_t) n_kv_heads;
    const uint32_t heads = sequences_of(a) * (uint32_t) n_heads;
    const int64_t ld = back_ld(a);
    const int64_t back = back_rows(a);

    p.v_dim = p.k_dim + packs * packed_pairs(a);
    p.k_keys = p.v_dim + packs * packed_pairs(a);
    a->dk = (float *) (p.k_keys + packs * packed_pairs(a));
    a->dv = a->dk + heads * head_floats(a);
    a->room = a->dv + heads * head_floats(a);
    a->room_floats =
        2 * TILE_ROWS * ld + (TILE_ROWS + 2 * back) * head_dim + back * ld;
    pool_run(pool, packs, pack_task, &p);
    pool_run(pool, heads, back_task, &p);
    pool_run(pool, (uint32_t) ((rows + BLOCK_ROWS - 1) / BLOCK_ROWS),
             group_task, a);
}
