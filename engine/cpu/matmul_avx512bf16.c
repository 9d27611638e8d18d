// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/matmul_avx512bf16.h"
#include "engine/cpu/matmul_rows8.h"
#include "engine/cpu/panel_avx512bf16.h"

#include "engine/cpu/bf16.h"

/*
 * Rounded products
 *
 * op(a) is rounded once, for all. Then a task is a panel of 64 columns of op(b)
 * and up to ROWS rows of a: the panel is decoded, rounded and packed into pairs
 * DEPTH values deep, stays in L2, and strips of TILE_ROWS rows pass by. Weights
 * are decoded once for each ROWS rows.
 *
 * An adapter's columns ride along: behind the pairs of a row of a are those of
 * its product with p, and below the last part of a panel are rows of q.
 *
 * Rows of a are rounded where they are, [row][pair], or, when they are stored
 * as columns, packed as [strip][pair][TILE_ROWS].
 */

enum {
    DEPTH = 1024,          // of a panel: 128 KB
    ROWS = 86 * TILE_ROWS, // of a task: a little above a power of two
    PACK_ROWS = 32,
    LOW_ROWS = 4, // of a, and of p
    AHEAD = 48,   // rows of b that are asked for before they are decoded
};

struct rounded {
    const struct rounded_product *p;
    const pair *pa;
    pair *room;
    int64_t lda;   // pairs between rows of pa, or between its strips
    int64_t depth; // of a panel; a multiple of 32
    int64_t ldy;
    int64_t threads;
    uint32_t panels;
};

ALWAYS_INLINE int64_t min(int64_t x, int64_t y)
{
    return x < y ? x : y;
}

ALWAYS_INLINE int64_t round_up(int64_t x, int64_t unit)
{
    return (x + unit - 1) / unit * unit;
}

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

static void pack_a_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct rounded *r = ctx;
    const struct rounded_product *p = r->p;
    const int64_t unit = p->trans_a ? TILE_ROWS : PACK_ROWS;
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

// Where the sums of a tile come from and go to: from t if this is not the first
// part of the depth, to t if it is not the last one.
struct place {
    float *t; // (ROWS,PANEL_COLS)
    bool is_first, is_last;
    float *y;
    const float *c; // or NULL
    int64_t ld;
    float alpha;
    struct ahead ahead;
};

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

// Of the weights of the panel that this thread is likely to take next, `strip`
// asks for a part: memory takes longer than the machine looks ahead.
static struct ahead look_ahead(const struct rounded *r, int64_t j0, int64_t k0,
                               int64_t pairs, int64_t strip)
{
    const struct rounded_product *p = r->p;
    const int64_t j = j0 + r->threads * PANEL_COLS;
    const int64_t rows = min(PANEL_COLS, p->n - j);
    struct ahead a = {p->b, 0};

    if (rows <= 0)
        return a;
    if (p->trans_b) {
        const int64_t row_bytes = (int64_t) dtype_row_bytes(p->b_type, p->k);
        const int64_t strips = (p->m + TILE_ROWS - 1) / TILE_ROWS;
        const int64_t from = 64 * (k0 / 2 * strips + strip * pairs);
        if (from < rows * row_bytes)
            a = (struct ahead){p->b + j * row_bytes + from, 64};
    } else if (strip < 4) {
        const int64_t row_bytes = (int64_t) dtype_row_bytes(p->b_type, p->n);
        const int64_t side = strip < 2 ? j : j + rows / 32 * 32 - 32;
        a = (struct ahead){p->b + (k0 + strip % 2) * row_bytes, 2 * row_bytes};
        a.at += (int64_t) dtype_row_bytes(p->b_type, 256) * side / 256;
    }
    return a;
}

// Strips of rows m0 .. m1 with a packed panel of columns j0 .., k0 .. k0 + ks.
static void run_panel(const struct rounded *r, float *t, const pair *panel,
                      int64_t m0, int64_t m1, int64_t j0, int64_t k0,
                      int64_t ks)
{
    const struct rounded_product *p = r->p;
    const int64_t cols = min(PANEL_COLS, p->n - j0);
    const int64_t rank = p->low && k0 + ks == p->k ? p->low->rank : 0;
    const int64_t pairs = (ks + 1) / 2 + (rank + 1) / 2;

    for (int64_t i = m0; i < m1; i += TILE_ROWS) {
        const int64_t rows = min(TILE_ROWS, m1 - i);
        const struct place at = {
            .t = t + (i - m0) * PANEL_COLS,
            .is_first = k0 == 0,
            .is_last = k0 + ks == p->k,
            .y = p->y + i * r->ldy + j0,
            .c = p->c ? p->c + i * p->n + j0 : NULL,
            .ld = r->ldy,
            .alpha = p->alpha,
            .ahead = look_ahead(r, j0, k0, pairs, (i - m0) / TILE_ROWS),
        };
        const struct pair_strip s =
            p->trans_a
                ? (struct pair_strip){r->pa + i / TILE_ROWS * r->lda +
                                          k0 / 2 * TILE_ROWS,
                                      1, TILE_ROWS}
                : (struct pair_strip){r->pa + i * r->lda + k0 / 2, r->lda, 1};
        if (rows == TILE_ROWS && cols == PANEL_COLS)
            tile_full(&at, s, panel, pairs);
        else
            tile_edge(&at, s, panel, pairs, rows, cols);
    }
}

static void panel_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct rounded *r = ctx;
    const struct rounded_product *p = r->p;
    const int64_t j0 = task % r->panels * (int64_t) PANEL_COLS;
    const int64_t m0 = task / r->panels * (int64_t) ROWS;
    _Alignas(64) pair panel[(DEPTH + OP_LORA_RANK_MAX) / 2 * PANEL_COLS];
    _Alignas(64) float t[ROWS * PANEL_COLS];

    for (int64_t k0 = 0; k0 < p->k; k0 += r->depth) {
        const int64_t ks = min(r->depth, p->k - k0);
        panel_pack(panel, p, j0, k0, ks);
        if (p->low && k0 + ks == p->k)
            panel_pack_low(panel + (ks + 1) / 2 * PANEL_COLS, p, j0);
        run_panel(r, t, panel, m0, min(p->m, m0 + ROWS), j0, k0, ks);
    }
}

static uint32_t parts(int64_t x, int64_t unit)
{
    return (uint32_t) ((x + unit - 1) / unit);
}

void matmul_rounded(const struct rounded_product *p, void *scratch,
                    struct pool *pool)
{
    const int64_t cuts = parts(p->k, DEPTH);
    struct rounded r = {
        .p = p,
        .pa = p->pairs ? p->pairs : scratch,
        .room = scratch,
        .lda = p->pairs     ? p->lda
               : p->trans_a ? (p->k + 1) / 2 * TILE_ROWS
               : p->low     ? cpu_rounded_row(round_up(p->k, 32) +
                                              round_up(p->low->rank, 32))
                            : cpu_rounded_row(p->k),
        .ldy = p->ldy ? p->ldy : p->n,
        .depth = round_up((p->k + cuts - 1) / cuts, 32),
        .threads = pool_threads(pool),
        .panels = parts(p->n, PANEL_COLS),
    };

    if (p->low)
        pack_low(p);
    if (!p->pairs)
        pool_run(pool, parts(p->m, p->trans_a ? TILE_ROWS : PACK_ROWS),
                 pack_a_task, &r);
    pool_run(pool, r.panels * parts(p->m, ROWS), panel_task, &r);
}

KERNEL_matmul(matmul_avx512bf16)
{
    if (cpu_rounds_rows(precision, m, k, trans_a, trans_b, b_type)) {
        const struct rows8_product q = {y, a, b, b_type, c,
                                        m, n, k, alpha,  NULL};
        matmul_rows8_avx512bf16(&q, scratch, pool);
        return;
    }
    if (!op_rounds((uint8_t) precision, m, n, k)) {
        matmul_avx512(y, a, b, b_type, c, m, n, k, trans_a, trans_b, alpha,
                      precision, scratch, pool);
        return;
    }
    const struct rounded_product p = {
        .y = y,
        .a = a,
        .b = b,
        .b_type = b_type,
        .c = c,
        .m = m,
        .n = n,
        .k = k,
        .trans_a = trans_a,
        .trans_b = trans_b,
        .alpha = alpha,
    };
    matmul_rounded(&p, scratch, pool);
}

KERNEL_matmul_delta(matmul_delta_avx512bf16)
{
    if (!op_rounds((uint8_t) precision, m, n, k)) {
        matmul_delta_avx512(y, a, b, b_type, d, c, m, n, k, trans_b, alpha,
                            precision, scratch, pool);
        return;
    }
    const struct rounded_product p = {
        .y = y,
        .a = a,
        .b = b,
        .b_type = b_type,
        .d = d,
        .c = c,
        .m = m,
        .n = n,
        .k = k,
        .trans_b = trans_b,
        .alpha = alpha,
    };
    matmul_rounded(&p, scratch, pool);
}

KERNEL_matmul_lora(matmul_lora_avx512bf16)
{
    const struct cpu_lora_plan plan =
        cpu_lora_plan(m, n, k, rank, b_type, low_type, precision);
    float *z = scratch;
    pair *pairs = (pair *) scratch + plan.z_floats;
    void *rest = pairs + plan.p_floats;

    if (cpu_rounds_rows(precision, m, k, false, true, b_type)) {
        const struct rows8_low low = {p, q, low_type, rank, plan.ld, alpha, z};
        const struct rows8_product r = {y, a, b, b_type, c, m, n, k, 1, &low};
        matmul_rows8_avx512bf16(&r, rest, pool);
        return;
    }
    if (!op_rounds((uint8_t) precision, m, n, k)) {
        matmul_lora_avx512(y, a, b, b_type, p, q, low_type, c, m, n, k, rank,
                           alpha, precision, scratch, pool);
        return;
    }
    const struct rounded_low low = {p, q, low_type, rank, alpha, pairs};
    matmul_rounded(
        &(struct rounded_product){
            .y = y,
            .a = a,
            .b = b,
            .b_type = b_type,
            .c = c,
            .m = m,
            .n = n,
            .k = k,
            .trans_b = true,
            .alpha = 1.0f,
            .low = &low,
        },
        rest, pool);
}
