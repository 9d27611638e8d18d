// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Rounded products by bfmmla: the share of NEON of matmul_bf16_vec.c
 *
 * Rows of a are packed in pairs, however they are stored, see bf16_neon.h.
 * Eight strips of them and a panel are 112 KB, a strip and the part of the
 * panel that it meets 22 KB: what phones have of either cache.
 */

enum {
    DEPTH = 512, // of a panel: 64 KB
    BLOCK_STRIPS = 8,
    PACK_ROWS = 32,
    LOW_ROWS = 8, // of a
    LOW_COLS = 4, // rows of p
};

/*
 * Packing of a
 */

// Rows x and y, f32 or bf16; y may be NULL.
static void pack_two_rows(pair *out, const char *x, const char *y, bool is_half,
                          int64_t k)
{
    const int64_t size = is_half ? 2 : 4;

    for (int64_t i = 0; i < k; i += STEP) {
        const int64_t n = min(STEP, k - i);
        const uint16x8_t even = round_some(x + i * size, is_half, n);
        const uint16x8_t odd =
            y ? round_some(y + i * size, is_half, n) : vdupq_n_u16(0);
        store_two(out + i, FOUR_PAIRS, even, odd);
    }
}

// Columns i .. i + PACK_ROWS of a (K,M).
static void pack_columns(const struct rounded *r, int64_t i)
{
    const struct rounded_product *p = r->p;
    const int64_t cols = min(PACK_ROWS, p->m - i);

    for (int64_t q = 0; q < round_up(p->k, STEP); q += 4)
        for (int64_t c = 0; c < cols; c += 8) {
            pair *to = r->room + (i + c) / 2 * r->lda + q;
            uint16x8_t x[4], y[4];
#pragma GCC unroll 4
            for (int64_t h = 0; h < 4; h++)
                x[h] = q + h < p->k ? round_some(p->a + (q + h) * p->m + i + c,
                                                 false, min(8, cols - c))
                                    : vdupq_n_u16(0);
            turn_four(y, x);
#pragma GCC unroll 4
            for (int64_t h = 0; h < 4; h++)
                if (c + 2 * h < cols)
                    store_8(to + h * r->lda, y[h]);
        }
}

/*
 * a p^T, of rows that are pairs already
 */

static int64_t low_ld(const struct rounded_product *p)
{
    return round_up(p->k, STEP);
}

// Two rows of p side by side, with rows of zeros up to a multiple of LOW_COLS.
static void pack_low(const struct rounded_product *p)
{
    const struct rounded_low *low = p->low;
    const bool is_half = low->type == DTYPE_bf16;
    const int64_t bytes = p->k * (is_half ? 2 : 4);

    for (int64_t i = 0; i < round_up(low->rank, LOW_COLS); i += 2) {
        const char *x = (const char *) low->p + i * bytes;
        pair *to = low->pairs + i / 2 * low_ld(p);
        if (i < low->rank)
            pack_two_rows(to, x, i + 1 < low->rank ? x + bytes : NULL, is_half,
                          p->k);
        else
            memset(to, 0, (size_t) low_ld(p) * sizeof(*to));
    }
}

// Rows of a from the pair of them at x on, `rows` pairs, the last one again; p
// from row j on. Four values of z for each.
ALWAYS_INLINE void low_block(pair *out, const struct rounded_product *p,
                             const pair *x, int64_t lda, int64_t rows,
                             int64_t j)
{
    const int64_t ld = low_ld(p);
    const pair *b = p->low->pairs + j / 2 * ld;
    const float alpha = p->low->alpha;
    const pair *a[LOW_ROWS / 2];
    float32x4_t acc[LOW_ROWS / 2][2];

#pragma GCC unroll 4
    for (int i = 0; i < LOW_ROWS / 2; i++) {
        a[i] = x + min(i, rows - 1) * lda;
        acc[i][0] = acc[i][1] = vdupq_n_f32(0.0f);
    }
    for (int64_t q = 0; q < ld; q += FOUR_PAIRS) {
        const uint16x8_t y = load_8(b + q);
        const uint16x8_t z = load_8(b + ld + q);
#pragma GCC unroll 4
        for (int i = 0; i < LOW_ROWS / 2; i++) {
            const uint16x8_t v = load_8(a[i] + q);
            acc[i][0] = multiply(acc[i][0], v, y);
            acc[i][1] = multiply(acc[i][1], v, z);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < LOW_ROWS / 2; i++)
        if (i < rows)
            store_8(out + i * lda,
                    round_8((float32x4_t) (alpha * sums_of_row(acc[i], 0, 0)),
                            (float32x4_t) (alpha * sums_of_row(acc[i], 0, 1))));
}

// Behind the values of rows i0 .. i1, whole steps.
static void pack_z(const struct rounded *r, int64_t i0, int64_t i1)
{
    const struct rounded_product *p = r->p;
    const int64_t rank = p->low->rank;

    for (int64_t i = i0; i < i1; i += LOW_ROWS) {
        pair *x = r->room + i / 2 * r->lda;
        pair *z = x + low_ld(p);
        const int64_t rows = min(LOW_ROWS / 2, (i1 - i + 1) / 2);
        for (int64_t j = 0; j < rank; j += LOW_COLS)
            low_block(z + j, p, x, r->lda, rows, j);
        for (int64_t j = round_up(rank, LOW_COLS); j % STEP != 0; j += 4)
            for (int64_t h = 0; h < rows; h++)
                store_8(z + h * r->lda + j, vdupq_n_u16(0));
    }
}

static int64_t packed_lda(const struct rounded_product *p)
{
    const int64_t rank = p->low ? p->low->rank : 0;
    return 2 * cpu_rounded_row(round_up(p->k, 32) + round_up(rank, 32));
}

static int64_t packed_unit(const struct rounded_product *p)
{
    (void) p;
    return PACK_ROWS;
}

static void pack_a_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct rounded *r = ctx;
    const struct rounded_product *p = r->p;
    const int64_t i0 = task * (int64_t) PACK_ROWS;
    const int64_t i1 = min(p->m, i0 + PACK_ROWS);

    if (p->trans_a) {
        pack_columns(r, i0);
        return;
    }
    for (int64_t i = i0; i < i1; i += 2) {
        const char *x = (const char *) (p->a + i * p->k);
        pack_two_rows(r->room + i / 2 * r->lda, x,
                      i + 1 < i1 ? x + p->k * (int64_t) sizeof(float) : NULL,
                      false, p->k);
    }
    if (p->low)
        pack_z(r, i0, i1);
}

/*
 * Tiles
 */

ALWAYS_INLINE struct pair_strip strip_of(const struct rounded *r, int64_t i,
                                         int64_t k0)
{
    return (struct pair_strip){r->pa + i / 2 * r->lda + k0, r->lda,
                               2 * FOUR_PAIRS};
}

// n values at `to`, which are constant where all of them are there.
ALWAYS_INLINE void put(const struct place *at, int64_t to, vec sum, int64_t n)
{
    vec y = at->alpha * sum;

    if (n >= LANES) {
        vec_store(at->y + to, at->c ? y + vec_load(at->c + to) : y);
    } else if (n > 0) {
        if (at->c)
            y += vec_load_some(at->c + to, n);
        vec_store_some(at->y + to, y, n);
    }
}

// `pairs` of rows, the last of which may be one alone; `rows` and `cols` are
// constant where all of them are there.
ALWAYS_INLINE void run_tile(const struct place *at, struct pair_strip s,
                            const pair *b, int64_t steps, int pairs,
                            int64_t rows, int64_t cols)
{
    float32x4_t acc[ROW_PAIRS][COL_PAIRS];

#pragma GCC unroll 4
    for (int i = 0; i < pairs; i++)
#pragma GCC unroll 8
        for (int j = 0; j < COL_PAIRS; j++)
            acc[i][j] = at->is_first
                            ? vdupq_n_f32(0.0f)
                            : vld1q_f32(at->t + (i * COL_PAIRS + j) * LANES);
    tile_fours(acc, s, b, PANEL_FOUR, steps, pairs);
    if (!at->is_last) {
#pragma GCC unroll 4
        for (int i = 0; i < pairs; i++)
#pragma GCC unroll 8
            for (int j = 0; j < COL_PAIRS; j++)
                vst1q_f32(at->t + (i * COL_PAIRS + j) * LANES, acc[i][j]);
        return;
    }
#pragma GCC unroll 4
    for (int i = 0; i < pairs; i++)
#pragma GCC unroll 4
        for (int j = 0; j < COL_PAIRS; j += 2) {
            const int64_t to = 2 * i * at->ld + 2 * j;
            put(at, to, sums_of_row(acc[i], j, 0), cols - 2 * j);
            if (2 * i + 1 < rows)
                put(at, to + at->ld, sums_of_row(acc[i], j, 1), cols - 2 * j);
        }
}

static void tile_full(const struct place *at, struct pair_strip s,
                      const pair *b, int64_t steps)
{
    run_tile(at, s, b, steps, ROW_PAIRS, TILE_ROWS, TILE_COLS);
}

static void tile_edge(const struct place *at, struct pair_strip s,
                      const pair *b, int64_t steps, int64_t rows, int64_t cols)
{
    if (rows <= 2)
        run_tile(at, s, b, steps, 1, rows, cols);
    else if (rows <= 4)
        run_tile(at, s, b, steps, 2, rows, cols);
    else
        run_tile(at, s, b, steps, ROW_PAIRS, rows, cols);
}
