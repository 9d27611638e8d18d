// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/attention_vec.h"
#include "engine/cpu/bf16.h"

/*
 * Attention as rounded products
 *
 * The same plan as attention_vec.c: strips of TILE_ROWS queries of one head
 * against all keys that they see. Operands are packed along what a product sums
 * over: along D for scores, along keys for o and dq, along queries for dk and
 * dv. A strip's probabilities become operands along keys in place; the backward
 * pass keeps those of a block of queries as well, to add up dk and dv. What an
 * instruction set has for that is in a file of its own.
 */

enum {
    BACK_ROWS = 96,        // queries of a block of the backward pass at most
    BACK_VALUES = 1 << 15, // of p or ds that it keeps at most
};

_Static_assert((int) BACK_ROWS % (2 * (int) TILE_ROWS) == 0, "pairs in strips");

// Packed: for each sequence and key-value head
struct packed {
    struct attention a;
    pair *k_dim, *v_dim;   // panels of keys, along D
    pair *k_keys, *v_keys; // D columns, along keys
};

// Pairs of one of them.
ALWAYS_INLINE int64_t packed_pairs(const struct attention *a)
{
    return padded_length(a) * a->dim / 2;
}

// What two neighbouring queries need.
struct two_rows {
    int64_t from[2], to[2]; // keys that they see
    float lse[2], delta[2];
};

#if defined(CPU_ISA_NEONBF16)
#include "engine/cpu/attention_neonbf16.h"
#else
#include "engine/cpu/attention_avx512bf16.h"
#endif

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
 * Forward
 */

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
    for (int64_t t = t0; t < t1; t += SOFTMAX_ROWS)
        softmax_rows(a, s + (t - t0) * ld, ld, scale + (t - t0), t, t1,
                     sequence, head, r);
    strip_rows(a->o + at, stride, t1 - t0, strip_of_rows(s, ld, first),
               p->v_keys + to + first / 2 * a->dim, a->dim,
               (r.last + STEP - first) / STEP, scale);
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

KERNEL_attention(VEC_NAME(attention))
{
    // Capped scores are not rounded: few models have them.
    if (precision != PRECISION_BF16 || scores.cap > 0.0f) {
        BASE_NAME(attention)
        (o, lse, q, k, v, start, rows, length, n_heads, n_kv_heads, head_dim,
         scores, PRECISION_F32, scratch, pool);
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
    return padded_length(a) + BACK_PAD;
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
    // Strips of keys reach behind a query, see add_keys().
    const int64_t last = min(r.last, t0 - b->sequence + TILE_ROWS - 1) + BEHIND;
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
    strip_rows(a->dq + at, stride, t1 - t0, strip_of_rows(b->ds, ld, first),
               b->k_keys + first / 2 * a->dim, a->dim,
               own.last < first ? 0 : (own.last + STEP - first) / STEP, scale);
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

KERNEL_attention_back(VEC_NAME(attention_back))
{
    if (precision != PRECISION_BF16 || scores.cap > 0.0f) {
        BASE_NAME(attention_back)
        (dq, dk, dv, dout, q, k, v, o, lse, start, rows, length, n_heads,
         n_kv_heads, head_dim, scores, PRECISION_F32, scratch, pool);
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
