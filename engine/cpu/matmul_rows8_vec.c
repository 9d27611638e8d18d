// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/rows8_vec.h"

/*
 * Generation: some rows that are rounded to eight bits, rows8_vec.h
 */

enum {
    ROWS = 4,     // of a
    COLS = 4,     // of y: rows of b
    TASK = 65536, // weights
    // Bytes; four rows at a time are too short for the machine to see coming.
    AHEAD = 2048,
};

// Rows of a, rounded, in the scratch: K bytes, K/4 first sums, and for each
// block of 32 its scale and the sum of what its bytes stand for.
struct rows8 {
    const struct rows8_product *p;
    int8_t *q;     // (M,K)
    int32_t *base; // (M,K/4)
    float *d, *s;  // (M,K/32)
    int64_t ns;
    int64_t blocks; // of a row
    int64_t row_bytes;
};

/*
 * Activations
 */

static void round_block(const struct rows8 *r, int64_t block, const float *x,
                        int zero)
{
    const __m256i q = round_32(&r->d[block], x);
    const __m256i sums = sums_of_4(_mm256_setzero_si256(), q);

    _mm256_storeu_si256((__m256i *) (void *) (r->q + 32 * block), q);
    _mm256_storeu_si256((__m256i *) (void *) (r->base + 8 * block),
                        _mm256_mullo_epi32(sums, _mm256_set1_epi32(-zero)));
    r->s[block] = r->d[block] * (float) sum_lanes(sums);
}

/*
 * Blocks of 32 and of 256: rows x cols sums go on
 */

struct sums {
    v8 acc[ROWS][COLS];
    v8 mins[ROWS][COLS]; // taken from them; some lanes or all
};

// Blocks begin with the scale; those with a minimum have it behind that.
ALWAYS_INLINE void add_block_32(struct sums *s, const struct rows8 r,
                                enum dtype type, const char *b, int64_t at,
                                int rows, int cols)
{
    const bool has_min = type == DTYPE_q4_1 || type == DTYPE_q5_1;

#pragma GCC unroll 4
    for (int j = 0; j < cols; j++) {
        const char *row = b + j * r.row_bytes;
        const uint16_t *h = (const void *) (row + at * block_bytes_of(type));
        const __m256i w = numbers_of(type, row, at);
        const v8 scale = scale_8(h[0]);
        __builtin_prefetch((const char *) h + AHEAD, 0, 3);
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            const int64_t block = i * r.blocks + at;
            s->acc[i][j] += scale * r.d[block] *
                            dot_32(type, load_32(r.base + 8 * block), w,
                                   load_32(r.q + 32 * block));
            if (has_min)
                s->mins[i][j][0] -= scale_of(h[1]) * r.s[block];
        }
    }
}

// What piece of the eight takes which scale: both halves the same, or of 16.
ALWAYS_INLINE v8 spread(const v8 scales[2], int piece, bool is_halved)
{
    const int at = 2 * piece % 8;
    const __m256i one = _mm256_set1_epi32(piece);
    const __m256i two =
        _mm256_setr_epi32(at, at, at, at, at + 1, at + 1, at + 1, at + 1);
    return is_halved
               ? (v8) _mm256_permutevar8x32_ps((__m256) scales[piece / 4], two)
               : (v8) _mm256_permutevar8x32_ps((__m256) scales[0], one);
}

ALWAYS_INLINE void scales_of(v8 scales[2], v8 *min, enum dtype type,
                             const char *row, int64_t block)
{
    if (type == DTYPE_q4_k)
        scales_6(scales, min, BLOCK(quant_q4_k, row, block));
    else if (type == DTYPE_q5_k)
        scales_6(scales, min, BLOCK(quant_q5_k, row, block));
    else
        scales_q6(&scales[0], &scales[1], BLOCK(quant_q6_k, row, block));
}

ALWAYS_INLINE void add_block_256(struct sums *s, const struct rows8 r,
                                 enum dtype type, const char *b, int64_t at,
                                 int rows, int cols)
{
    const bool is_halved = type == DTYPE_q6_k;

#pragma GCC unroll 4
    for (int j = 0; j < cols; j++) {
        const char *row = b + j * r.row_bytes;
        v8 scales[2], min;
        const char *ahead = row + at / 8 * block_bytes_of(type) + AHEAD;
#pragma GCC unroll 4
        for (int i = 0; i < 256; i += 64)
            __builtin_prefetch(ahead + i, 0, 3);
        scales_of(scales, &min, type, row, at / 8);
        for (int i = 0; i < rows && !is_halved; i++)
            s->mins[i][j] += min * v8_load(r.s + i * r.blocks + at);
#pragma GCC unroll 8
        for (int piece = 0; piece < 8; piece++) {
            const __m256i w = numbers_of(type, row, at + piece);
            const v8 scale = spread(scales, piece, is_halved);
#pragma GCC unroll 4
            for (int i = 0; i < rows; i++) {
                const int64_t block = i * r.blocks + at + piece;
                const __m256i base = is_halved ? load_32(r.base + 8 * block)
                                               : _mm256_setzero_si256();
                s->acc[i][j] +=
                    scale * r.d[block] *
                    dot_32(type, base, w, load_32(r.q + 32 * block));
            }
        }
    }
}

ALWAYS_INLINE void add_rows(const struct rows8 *r, enum dtype type, int64_t m0,
                            int64_t j0, int rows, int cols)
{
    const struct rows8_product *p = r->p;
    const char *b = p->b + j0 * r->row_bytes;
    const struct rows8 from = {
        .base = r->base + 8 * m0 * r->blocks,
        .q = r->q + 32 * m0 * r->blocks,
        .d = r->d + m0 * r->blocks,
        .s = r->s + m0 * r->blocks,
        .blocks = r->blocks,
        .row_bytes = r->row_bytes,
    };
    struct sums s = {{{{0}}}, {{{0}}}};

    if (is_large(type))
        for (int64_t at = 0; at < from.blocks; at += 8)
            add_block_256(&s, from, type, b, at, rows, cols);
    else
        for (int64_t at = 0; at < from.blocks; at++)
            add_block_32(&s, from, type, b, at, rows, cols);
#pragma GCC unroll 4
    for (int j = 0; j < cols; j++)
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            const int64_t at = (m0 + i) * p->n + j0 + j;
            v8 sum = s.acc[i][j] - s.mins[i][j];
            if (p->low)
                sum = low_sums(sum, p->low, p->low->z + (m0 + i) * p->low->ld,
                               j0 + j);
            p->y[at] = p->alpha * v8_sum(sum) + (p->c ? p->c[at] : 0.0f);
        }
}

ALWAYS_INLINE void add_columns(const struct rows8 *r, enum dtype type,
                               int64_t j0, int64_t j1)
{
    const int64_t m = r->p->m;
    // Pieces of the large blocks are enough to hide a sum's latency.
    const int cols = is_large(type) ? 1 : COLS;

    for (int64_t m0 = 0; m0 < m; m0 += ROWS) {
        int64_t j = j0;
        for (; m - m0 >= ROWS && j < j1; j++)
            add_rows(r, type, m0, j, ROWS, 1);
        for (int64_t i = m0; j < j1 && i < m; i++) {
            int64_t jj = j;
            for (; cols > 1 && jj + cols <= j1; jj += cols)
                add_rows(r, type, i, jj, 1, cols);
            for (; jj < j1; jj++)
                add_rows(r, type, i, jj, 1, 1);
        }
    }
}

ROWS8_COLUMNS_TASK(struct rows8)

MATMUL_ROWS8(VEC_NAME(matmul_rows8))
{
    if (p->m == 1) {
        VEC_NAME(matmul_rows8_one)(p, scratch, pool);
        return;
    }
    const int64_t blocks = p->m * (p->k / 32);
    char *room = scratch;
    struct rows8 r = {
        .p = p,
        .base = (int32_t *) (void *) room,
        .q = (int8_t *) (room + 32 * blocks),
        .d = (float *) (void *) (room + 64 * blocks),
        .s = (float *) (void *) (room + 68 * blocks),
        .ns = TASK / p->k + 1,
        .blocks = p->k / 32,
        .row_bytes = (int64_t) dtype_row_bytes(p->b_type, p->k),
    };

    for (int64_t i = 0; p->low && i < p->m; i++)
        low_row(p->low->z + i * p->low->ld, p->low, p->a + i * p->k, p->k, 0,
                p->k);
    for (int64_t i = 0; i < blocks; i++)
        round_block(&r, i, p->a + 32 * i, zero_of(p->b_type));
    pool_run(pool, (uint32_t) ((p->n + r.ns - 1) / r.ns), columns_task, &r);
}
