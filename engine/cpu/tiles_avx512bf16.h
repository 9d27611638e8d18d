// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Rounded products by vdpbf16ps: the share of AVX-512 of matmul_bf16_vec.c
 *
 * Rows of a are rounded where they are, [row][pair], or, when they are stored
 * as columns, packed as [strip][pair][TILE_ROWS].
 */

enum {
    DEPTH = 1024, // of a panel: 128 KB
    BLOCK_STRIPS = 86,
    PACK_ROWS = 32,
    LOW_ROWS = 4, // of a, and of p
};

/*
 * Packing of a
 */

static void pack_row(pair *out, const float *x, int64_t k)
{
    int64_t i = 0;

    for (; i + 32 <= k; i += 32)
        store_pairs(out + i / 2, round_at(x + i));
    if (i < k)
        store_pairs(out + i / 2,
                    round_32(_mm512_maskz_loadu_ps(lanes(k - i), x + i),
                             _mm512_maskz_loadu_ps(lanes(k - i - 16),
                                                   x + i + 16)));
}

// Columns i .. i + TILE_ROWS of a (K,M). A store spills over into the next
// pair, which is written after it; the last one must not.
static void pack_strip(pair *out, const struct rounded_product *p, int64_t i)
{
    const __mmask16 mask = lanes(min(TILE_ROWS, p->m - i));

    for (int64_t q = 0; q < p->k; q += 2, out += TILE_ROWS) {
        const float *x = p->a + q * p->m + i;
        const __m512 even = _mm512_maskz_loadu_ps(mask, x);
        const __m512 odd = q + 1 < p->k ? _mm512_maskz_loadu_ps(mask, x + p->m)
                                        : _mm512_setzero_ps();
        const __m256i r = _mm512_castsi512_si256(round_pairs(even, odd));
        if (q + 2 < p->k)
            _mm256_storeu_si256((void *) out, r);
        else
            memcpy(out, &r, TILE_ROWS * sizeof(*out));
    }
}

/*
 * a p^T, of rows that are pairs already
 */

static int64_t low_ld(const struct rounded_product *p)
{
    return round_up(p->k, 32) / 2;
}

// p as pairs, with rows of zeros up to a multiple of LOW_ROWS.
static void pack_low(const struct rounded_product *p)
{
    const struct rounded_low *low = p->low;
    const int64_t ld = low_ld(p);
    const int64_t rows = round_up(low->rank, LOW_ROWS);

    for (int64_t i = 0; i < low->rank; i++) {
        pair *to = low->pairs + i * ld;
        if (low->type == DTYPE_f32) {
            pack_row(to, (const float *) low->p + i * p->k, p->k);
            continue;
        }
        const uint16_t *x = (const uint16_t *) low->p + i * p->k;
        for (int64_t q = 0; q < p->k; q += 32)
            store_pairs(to + q / 2,
                        _mm512_maskz_loadu_epi16(lanes_32(p->k - q), x + q));
    }
    memset(low->pairs + low->rank * ld, 0,
           (size_t) ((rows - low->rank) * ld) * sizeof(pair));
}

// The sums of 16 registers, in order.
ALWAYS_INLINE __m512 sums_16(__m512 x[16])
{
    transpose_pairs((__m512i *) x);
#pragma GCC unroll 4
    for (int step = 8; step > 0; step /= 2)
#pragma GCC unroll 8
        for (int i = 0; i < step; i++)
            x[i] += x[i + step];
    return x[0];
}

// Rows of a from x on, `rows` of them, the others again; p from row j on. Four
// values of z for each.
ALWAYS_INLINE void low_block(pair *out, const struct rounded_product *p,
                             const pair *x, int64_t lda, int64_t rows,
                             int64_t j)
{
    const int64_t ld = low_ld(p);
    const pair *b = p->low->pairs + j * ld;
    const pair *a[LOW_ROWS];
    __m512 acc[LOW_ROWS * LOW_ROWS];
    _Alignas(32) uint16_t z[16];

#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        acc[i] = _mm512_setzero_ps();
    for (int i = 0; i < LOW_ROWS; i++)
        a[i] = x + min(i, rows - 1) * lda;
    for (int64_t q = 0; q < ld; q += 16) {
        __m512bh v[LOW_ROWS];
#pragma GCC unroll 4
        for (int i = 0; i < LOW_ROWS; i++)
            v[i] = (__m512bh) load_pairs(b + i * ld + q);
#pragma GCC unroll 4
        for (int i = 0; i < LOW_ROWS; i++) {
            const __m512bh w = (__m512bh) load_pairs(a[i] + q);
#pragma GCC unroll 4
            for (int k = 0; k < LOW_ROWS; k++)
                acc[4 * i + k] = _mm512_dpbf16_ps(acc[4 * i + k], w, v[k]);
        }
    }
    _mm256_store_si256((void *) z, (__m256i) _mm512_cvtneps_pbh(p->low->alpha *
                                                                sums_16(acc)));
    for (int64_t i = 0; i < rows; i++)
        memcpy(out + i * lda, z + 4 * i, 4 * sizeof(*z));
}

static void pack_z(const struct rounded *r, int64_t i0, int64_t i1)
{
    const struct rounded_product *p = r->p;

    for (int64_t i = i0; i < i1; i += LOW_ROWS)
        for (int64_t j = 0; j < p->low->rank; j += LOW_ROWS) {
            pair *x = r->room + i * r->lda;
            low_block(x + (p->k + 1) / 2 + j / 2, p, x, r->lda,
                      min(LOW_ROWS, i1 - i), j);
        }
}

static int64_t packed_lda(const struct rounded_product *p)
{
    if (p->trans_a)
        return (p->k + 1) / 2 * TILE_ROWS;
    return p->low ? cpu_rounded_row(round_up(p->k, 32) +
                                    round_up(p->low->rank, 32))
                  : cpu_rounded_row(p->k);
}

static int64_t packed_unit(const struct rounded_product *p)
{
    return p->trans_a ? TILE_ROWS : PACK_ROWS;
}

static void pack_a_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct rounded *r = ctx;
    const struct rounded_product *p = r->p;
    const int64_t unit = packed_unit(p);
    const int64_t i0 = task * unit;

    if (p->trans_a) {
        pack_strip(r->room + task * r->lda, p, i0);
        return;
    }
    for (int64_t i = i0; i < min(p->m, i0 + unit); i++)
        pack_row(r->room + i * r->lda, p->a + i * p->k, p->k);
    if (p->low)
        pack_z(r, i0, min(p->m, i0 + unit));
}
/*
 * Tiles
 */

ALWAYS_INLINE struct pair_strip strip_of(const struct rounded *r, int64_t i,
                                         int64_t k0)
{
    return r->p->trans_a
               ? (struct pair_strip){r->pa + i / TILE_ROWS * r->lda +
                                         k0 / 2 * TILE_ROWS,
                                     1, TILE_ROWS}
               : (struct pair_strip){r->pa + i * r->lda + k0 / 2, r->lda, 1};
}

// `cols` are constant where all of them are there: masks cost time.
ALWAYS_INLINE void run_tile(const struct place *at, struct pair_strip s,
                            const pair *b, int64_t pairs, int rows,
                            int64_t cols)
{
    __m512 acc[TILE_ROWS][PANEL_VECS];

#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < PANEL_VECS; j++)
            acc[i][j] = at->is_first
                            ? _mm512_setzero_ps()
                            : _mm512_loadu_ps(at->t + i * PANEL_COLS + 16 * j);
    tile_pairs(acc, s, b, PANEL_COLS, pairs, rows, PANEL_VECS, &at->ahead);
    if (!at->is_last) {
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
            for (int j = 0; j < PANEL_VECS; j++)
                _mm512_storeu_ps(at->t + i * PANEL_COLS + 16 * j, acc[i][j]);
        return;
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < PANEL_VECS; j++) {
            const __mmask16 mask = lanes(cols - 16 * j);
            const int64_t to = i * at->ld + 16 * j;
            __m512 r = at->alpha * acc[i][j];
            if (at->c)
                r += cols == PANEL_COLS
                         ? _mm512_loadu_ps(at->c + to)
                         : _mm512_maskz_loadu_ps(mask, at->c + to);
            if (cols == PANEL_COLS)
                _mm512_storeu_ps(at->y + to, r);
            else
                _mm512_mask_storeu_ps(at->y + to, mask, r);
        }
}

static void tile_full(const struct place *at, struct pair_strip s,
                      const pair *b, int64_t pairs)
{
    run_tile(at, s, b, pairs, TILE_ROWS, PANEL_COLS);
}

static void tile_edge(const struct place *at, struct pair_strip s,
                      const pair *b, int64_t pairs, int64_t rows, int64_t cols)
{
    switch (rows) {
    case 1:
        run_tile(at, s, b, pairs, 1, cols);
        break;
    case 2:
        run_tile(at, s, b, pairs, 2, cols);
        break;
    case 3:
        run_tile(at, s, b, pairs, 3, cols);
        break;
    case 4:
        run_tile(at, s, b, pairs, 4, cols);
        break;
    case 5:
        run_tile(at, s, b, pairs, 5, cols);
        break;
    default:
        run_tile(at, s, b, pairs, TILE_ROWS, cols);
        break;
    }
}
