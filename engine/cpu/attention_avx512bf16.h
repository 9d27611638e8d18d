// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Attention by vdpbf16ps: the share of AVX-512 of attention_bf16_vec.c
 *
 * A strip's probabilities become pairs along keys in place; the backward pass
 * writes those of two queries side by side as well, which makes them pairs of
 * queries. k_dim and v_dim are [panel of keys][pair of D][PANEL_COLS], k_keys
 * and v_keys [pair of keys][D].
 */

enum {
    KEYS = 32,          // a step of the rows of probabilities
    SOFTMAX_ROWS = 1,   // that become operands together
    BEHIND = TILE_ROWS, // a query, strips of keys that it meets reach at most
    BACK_PAD = KEYS,    // keys
};

// Rows of x are `ld` floats apart and became pairs along them in place; from
// value `at` on.
ALWAYS_INLINE struct pair_strip strip_of_rows(const float *x, int64_t ld,
                                              int64_t at)
{
    return (struct pair_strip){(const pair *) (const void *) x + at / 2, ld, 1};
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

ALWAYS_INLINE void softmax_rows(const struct attention *a, float *p, int64_t ld,
                                float *scale, int64_t t, int64_t t1,
                                int64_t sequence, int64_t head, struct range r)
{
    (void) ld, (void) t1;
    *scale = softmax_row(a, p, t, sequence, head, r);
}

/*
 * Backward
 */

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
