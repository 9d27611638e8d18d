// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Attention by bfmmla: the share of NEON of attention_bf16_vec.c
 *
 * Two rows of a strip become fours along keys in place, by turns. The backward
 * pass also keeps rows of p and ds as they are, bf16, and turns those of a few
 * keys into fours of queries when it multiplies them. k_dim and v_dim are
 * [16 keys][four of D][column pair][2][4], k_keys and v_keys [four of
 * keys][column pair of D][2][4].
 */

enum {
    KEYS = 8,         // a step of the rows of probabilities
    SOFTMAX_ROWS = 2, // that become operands together
    TURNED_KEYS = 24, // at a time: strips, and what eight divides
    BEHIND = 32,      // a query, strips of keys that it meets reach at most
    BACK_PAD = 32,    // keys
};

ALWAYS_INLINE struct pair_strip strip_of_rows(const float *x, int64_t ld,
                                              int64_t at)
{
    return (struct pair_strip){(const pair *) (const void *) x + at, 2 * ld,
                               2 * FOUR_PAIRS};
}

/*
 * Packing
 */

// Eight floats at x, times scale; zeros if there is no such row.
ALWAYS_INLINE uint16x8_t round_scaled(const float *x, bool is_there,
                                      float scale)
{
    if (!is_there)
        return vdupq_n_u16(0);
    return round_8(vmulq_n_f32(vld1q_f32(x), scale),
                   vmulq_n_f32(vld1q_f32(x + 4), scale));
}

// Rows i and i + 1 of `rows` take turns; fours are `next` pairs apart.
ALWAYS_INLINE void pack_turns(pair *out, int64_t next, const float *x,
                              int64_t stride, int64_t i, int64_t rows,
                              int64_t dim, float scale)
{
    const float *at = x + i * stride;

    for (int64_t d = 0; d < dim; d += 8, out += 2 * next)
        store_two(out, next, round_scaled(at + d, i < rows, scale),
                  round_scaled(at + stride + d, i + 1 < rows, scale));
}

// Rows of one head become columns of panels.
static void pack_dim(pair *out, const float *x, int64_t stride, int64_t rows,
                     int64_t dim)
{
    for (int64_t s = 0; s < round_up(rows, TILE_COLS); s += 2)
        pack_turns(out + s / TILE_COLS * TILE_COLS * dim / 2 +
                       s % TILE_COLS / 2 * FOUR_PAIRS,
                   PANEL_FOUR, x, stride, s, rows, dim, 1.0f);
}

// Four rows become one of fours, times scale; whole steps of rows.
static void pack_keys(pair *out, const float *x, int64_t stride, int64_t rows,
                      int64_t dim, float scale)
{
    for (int64_t s = 0; s < round_up(rows, STEP); s += 4)
        for (int64_t d = 0; d < dim; d += 8) {
            pair *to = out + s / 2 * dim + 2 * d;
            uint16x8_t r[4], y[4];
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++)
                r[i] =
                    round_scaled(x + (s + i) * stride + d, s + i < rows, scale);
            turn_four(y, r);
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++)
                store_8(to + i * FOUR_PAIRS, y[i]);
        }
}

/*
 * Pieces of both passes
 */

// A strip of rows of x, times scale, in fours along D.
static void load_strip(pair *out, const float *x, int64_t stride, int64_t rows,
                       int64_t dim, float scale)
{
    for (int64_t i = 0; i < TILE_ROWS; i += 2)
        pack_turns(out + i / 2 * dim, FOUR_PAIRS, x, stride, i, rows, dim,
                   scale);
}

ALWAYS_INLINE void clear(float32x4_t acc[ROW_PAIRS][COL_PAIRS])
{
#pragma GCC unroll 4
    for (int i = 0; i < ROW_PAIRS; i++)
#pragma GCC unroll 8
        for (int j = 0; j < COL_PAIRS; j++)
            acc[i][j] = vdupq_n_f32(0.0f);
}

// s (TILE_ROWS, ld), columns of the panels of first .. last: x times panels.
static void strip_panels(float *s, int64_t ld, const pair *x,
                         const pair *panels, int64_t first, int64_t last,
                         int64_t dim)
{
    const struct pair_strip a = {x, dim, 2 * FOUR_PAIRS};

    for (int64_t j = first / TILE_COLS * TILE_COLS; j <= last; j += TILE_COLS) {
        float32x4_t acc[ROW_PAIRS][COL_PAIRS];
        clear(acc);
        tile_fours(acc, a, panels + j * (dim / 2), PANEL_FOUR, dim / STEP,
                   ROW_PAIRS);
#pragma GCC unroll 8
        for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 4
            for (int v = 0; v < COL_PAIRS; v += 2)
                vec_store(s + i * ld + j + 2 * v,
                          sums_of_row(acc[i / 2], v, i % 2));
    }
}

// y (rows,D) = scale (rows) * a b, b with columns of D.
static void strip_rows(float *y, int64_t ldy, int64_t rows, struct pair_strip a,
                       const pair *b, int64_t dim, int64_t steps,
                       const float *scale)
{
    for (int64_t j = 0; j < dim; j += TILE_COLS) {
        float32x4_t acc[ROW_PAIRS][COL_PAIRS];
        clear(acc);
        tile_fours(acc, a, b + 2 * j, 2 * dim, steps, ROW_PAIRS);
#pragma GCC unroll 8
        for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 4
            for (int v = 0; v < COL_PAIRS; v += 2)
                if (i < rows)
                    vec_store(y + i * ldy + j + 2 * v,
                              scale[i] * sums_of_row(acc[i / 2], v, i % 2));
    }
}

// x where the keys from s on are in from .. to, else 0.
ALWAYS_INLINE vec where_seen(vec x, int64_t s, int64_t from, int64_t to)
{
    const ivec key = (ivec){0, 1, 2, 3} + (int32_t) s;

    return vec_select((key >= (int32_t) from) & (key <= (int32_t) to), x,
                      (vec){0});
}

/*
 * Forward
 */

// Scores of queries t and t + 1, as far as below t1, in rows `ld` apart become
// fours along keys in place. scale: what their o must be multiplied with.
static void softmax_rows(const struct attention *a, float *p, int64_t ld,
                         float *scale, int64_t t, int64_t t1, int64_t sequence,
                         int64_t head, struct range r)
{
    pair *out = (pair *) (void *) p;
    int64_t from[2] = {0, 0}, to[2] = {-1, -1};
    float top[2] = {0.0f, 0.0f};
    vec sum[2] = {{0}, {0}};

    for (int i = 0; i < 2 && t + i < t1; i++) {
        from[i] = min(first_seen(a, t + i) - sequence, r.last + 1);
        to[i] = t + i - sequence;
        if (from[i] > to[i] || from[i] > r.last)
            to[i] = from[i] - 1;
        else
            top[i] = max_row(p + i * ld, from[i], to[i]);
    }
    for (int64_t s = r.first / KEYS * KEYS; s <= r.last; s += KEYS) {
        vec e[2][2];
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++)
#pragma GCC unroll 2
            for (int h = 0; h < 2; h++) {
                const int64_t key = s + h * LANES;
                e[i][h] =
                    where_seen(vec_exp(vec_load(p + i * ld + key) - top[i]),
                               key, from[i], to[i]);
                sum[i] += e[i][h];
            }
        store_two(out + s, FOUR_PAIRS,
                  round_8((float32x4_t) e[0][0], (float32x4_t) e[0][1]),
                  round_8((float32x4_t) e[1][0], (float32x4_t) e[1][1]));
    }
    for (int i = 0; i < 2 && t + i < t1; i++) {
        const bool is_blind = from[i] > to[i];
        const float total = vec_sum(sum[i]);
        if (a->lse)
            a->lse[(t + i) * a->n_heads + head] =
                is_blind ? -INFINITY : top[i] + logf(total);
        scale[i] = is_blind ? 0.0f : 1.0f / total;
    }
}

/*
 * Backward
 */

// Rows s, s + ld of scores and ds of their gradients become probabilities and
// score gradients of keys first .. last, whole steps: rows of bf16 at p2 and
// ds2, and the latter also fours along keys in place of ds.
static void two_rows_back(pair *p2, pair *ds2, float *ds, const float *s,
                          int64_t ld, const struct two_rows *r, int64_t first,
                          int64_t last)
{
    for (int64_t at = first; at <= last; at += KEYS) {
        uint16x8_t g[2];
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++) {
            const int64_t to = i * (ld / 2) + at / 2;
            float32x4_t p[2], x[2];
#pragma GCC unroll 2
            for (int h = 0; h < 2; h++) {
                const int64_t key = at + h * LANES;
                const vec e =
                    where_seen(vec_exp(vec_load(s + i * ld + key) - r->lse[i]),
                               key, r->from[i], r->to[i]);
                const vec d = vec_load(ds + i * ld + key) - r->delta[i];
                p[h] = (float32x4_t) e;
                x[h] =
                    (float32x4_t) where_seen(e * d, key, r->from[i], r->to[i]);
            }
            g[i] = round_8(x[0], x[1]);
            store_8(p2 + to, round_8(p[0], p[1]));
            store_8(ds2 + to, g[i]);
        }
        store_two((pair *) (void *) ds + at, FOUR_PAIRS, g[0], g[1]);
    }
}

// Of n rows of x, `ld` apart, TURNED_KEYS columns in fours of rows.
static void turn_keys(pair *out, const uint16_t *x, int64_t ld, int64_t n)
{
    for (int64_t q = 0; q < n; q += 4)
        for (int64_t k = 0; k < TURNED_KEYS; k += 8) {
            pair *to = out + k / 2 * BACK_ROWS + q;
            uint16x8_t r[4], y[4];
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++)
                r[i] = q + i < n ? vld1q_u16(x + (q + i) * ld + k)
                                 : vdupq_n_u16(0);
            turn_four(y, r);
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++)
                store_8(to + i * BACK_ROWS, y[i]);
        }
    for (int64_t q = (n + 3) / 4 * 4; q % STEP != 0; q += 4)
        for (int64_t k = 0; k < TURNED_KEYS; k += 2)
            store_8(out + k / 2 * BACK_ROWS + q, vdupq_n_u16(0));
}

// y (TILE_ROWS, TILE_COLS) += a b, rows of y `dim` apart.
static void add_tile(float *y, struct pair_strip a, const pair *b, int64_t dim,
                     int64_t steps)
{
    float32x4_t acc[ROW_PAIRS][COL_PAIRS];

#pragma GCC unroll 4
    for (int i = 0; i < ROW_PAIRS; i++)
#pragma GCC unroll 4
        for (int v = 0; v < COL_PAIRS; v += 2) {
            const float *at = y + 2 * i * dim + 2 * v;
            const float64x2_t even = vreinterpretq_f64_f32(vld1q_f32(at));
            const float64x2_t odd = vreinterpretq_f64_f32(vld1q_f32(at + dim));
            acc[i][v] = vreinterpretq_f32_f64(vzip1q_f64(even, odd));
            acc[i][v + 1] = vreinterpretq_f32_f64(vzip2q_f64(even, odd));
        }
    tile_fours(acc, a, b, 2 * dim, steps, ROW_PAIRS);
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 4
        for (int v = 0; v < COL_PAIRS; v += 2)
            vec_store(y + i * dim + 2 * v, sums_of_row(acc[i / 2], v, i % 2));
}

// out (keys,D) += x^T y; x rows of bf16, y fours of queries. Queries before the
// strip of keys do not see it: t0 is the block's first query in its sequence.
static void add_keys(float *out, const pair *x, int64_t ld, const pair *y,
                     int64_t queries, int64_t t0, int64_t dim, struct range r)
{
    _Alignas(16) pair turned[TURNED_KEYS / 2 * BACK_ROWS];

    for (int64_t s = r.first / 2 * 2; s <= r.last; s += TURNED_KEYS) {
        const int64_t skip = max(0, s - t0) / STEP * STEP;
        const int64_t n = queries - skip;
        if (n <= 0)
            break;
        turn_keys(turned, (const uint16_t *) x + skip * ld + s, ld, n);
        for (int64_t k = 0; k < TURNED_KEYS && s + k <= r.last; k += TILE_ROWS)
            for (int64_t j = 0; j < dim; j += TILE_COLS)
                add_tile(out + (s + k) * dim + j,
                         (struct pair_strip){turned + k / 2 * BACK_ROWS,
                                             BACK_ROWS, 2 * FOUR_PAIRS},
                         y + skip / 2 * dim + 2 * j, dim, depth_steps(n, 0));
    }
}
