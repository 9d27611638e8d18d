// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/matmul_rows8.h"
#include "engine/cpu/numbers_neon.h"

/*
 * Generation: some rows that are rounded to eight bits
 *
 * sdot multiplies sixteen bytes, four to a sum. Pieces go in fours: their sums
 * are added up pairwise until each has a lane, beside its scale, so that a four
 * ends in one float product. Where pieces have a scale for each half, so do the
 * lanes of two pieces.
 *
 * A piece of one row of b meets all rows of a, up to ROWS, while its numbers
 * are in registers; a row of a alone meets COLS rows of b.
 *
 * One row of a, two of b and 128 weights of q8_0 each are 85 instructions, of
 * which 16 are sdot and 33 loads, and none spills (gcc 12).
 */

enum {
    ROWS = 4,     // of a
    COLS = 2,     // rows of b
    FOUR = 4,     // pieces
    TASK = 65536, // weights
    LOW_COLS = 4, // rows of p
};

// Rows of a, rounded, in the scratch: K bytes, and for each piece its scale and
// the sum of what its bytes stand for; zeros up to whole fours of pieces.
struct rows8 {
    const struct rows8_product *p;
    int8_t *q;    // (M,K)
    float *d, *s; // (M,ld)
    int64_t ns;   // rows of b of a task
    int64_t pieces, ld;
    int64_t row_bytes;
};

/*
 * Activations
 */

static void round_piece(const struct rows8 *r, int64_t row, int64_t piece)
{
    const float *x = r->p->a + row * r->p->k + 32 * piece;
    int8_t *q = r->q + row * r->p->k + 32 * piece;
    float32x4_t v[8], most = vdupq_n_f32(0.0f);
    int16x8_t n[4];
    int32_t sum = 0;

    for (int i = 0; i < 8; i++) {
        v[i] = vld1q_f32(x + 4 * i);
        most = vmaxq_f32(most, vabsq_f32(v[i]));
    }
    const float top = vmaxvq_f32(most);
    const bool is_nothing = top < CPU_ROWS8_TINY;
    const float by = is_nothing ? 0.0f : 127.0f / top;
    const float d = is_nothing ? 0.0f : top / 127.0f;
    for (int i = 0; i < 4; i++) {
        n[i] = vcombine_s16(vqmovn_s32(vcvtnq_s32_f32(v[2 * i] * by)),
                            vqmovn_s32(vcvtnq_s32_f32(v[2 * i + 1] * by)));
        vst1_s8(q + 8 * i, vqmovn_s16(n[i]));
        sum += vaddlvq_s16(n[i]);
    }
    r->d[row * r->ld + piece] = d;
    r->s[row * r->ld + piece] = d * (float) sum;
}

static void round_row(const struct rows8 *r, int64_t row)
{
    for (int64_t i = 0; i < r->pieces; i++)
        round_piece(r, row, i);
    for (int64_t i = r->pieces; i < r->ld; i++)
        r->d[row * r->ld + i] = r->s[row * r->ld + i] = 0.0f;
}

/*
 * Sums
 */

// Four sums of a piece, the first half's in front.
ALWAYS_INLINE int32x4_t piece_sums(enum dtype type, struct numbers w,
                                   const int8_t *a)
{
    const int32x4_t none = vdupq_n_s32(0);
    const int8x16_t x = vld1q_s8(a), y = vld1q_s8(a + 16);
    const int32x4_t first = vdotq_s32(none, w.half[0], x);

    if (has_halves(type))
        return vpaddq_s32(first, vdotq_s32(none, w.half[1], y));
    return vdotq_s32(first, w.half[1], y);
}

// What n pieces of a row of b are multiplied with.
ALWAYS_INLINE void lines_of(float32x4_t scale[2], float32x4_t *min,
                            enum dtype type, const struct scales *s,
                            const char *row, int64_t at, int n)
{
    const int four = (int) (at / FOUR % 2);
    const int64_t bytes = block_bytes_of(type);

    if (is_large(type)) {
        scale[0] = s->scale[has_halves(type) ? 2 * four : four];
        scale[1] = s->scale[has_halves(type) ? 2 * four + 1 : four];
        *min = s->min[four];
        return;
    }
    scale[0] = halves_4(row + at * bytes, bytes, n);
    if (has_min(type))
        *min = -halves_4(row + at * bytes + 2, bytes, n);
}

// n pieces from `at` on, a multiple of four; n is four, or one where the type
// is small.
ALWAYS_INLINE void add_pieces(float32x4_t acc[ROWS][COLS], const struct rows8 r,
                              enum dtype type, const struct scales s[COLS],
                              const char *b, int64_t at, int n, int rows,
                              int cols)
{
    int32x4_t two[ROWS][COLS][2];

#pragma GCC unroll 2
    for (int h = 0; h < 2; h++)
#pragma GCC unroll 2
        for (int j = 0; j < cols; j++) {
            const char *row = b + j * r.row_bytes;
            struct numbers w[2];
#pragma GCC unroll 2
            for (int i = 0; i < 2; i++)
                if (2 * h + i < n)
                    w[i] = numbers_of(type, row, at + 2 * h + i);
#pragma GCC unroll 4
            for (int i = 0; i < rows; i++) {
                const int8_t *a = r.q + i * r.p->k + 32 * (at + 2 * h);
                const int32x4_t none = vdupq_n_s32(0);
                two[i][j][h] =
                    vpaddq_s32(2 * h < n ? piece_sums(type, w[0], a) : none,
                               2 * h + 1 < n ? piece_sums(type, w[1], a + 32)
                                             : none);
            }
        }
#pragma GCC unroll 2
    for (int j = 0; j < cols; j++) {
        float32x4_t scale[2], min;
        lines_of(scale, &min, type, &s[j], b + j * r.row_bytes, at, n);
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            const float32x4_t d = vld1q_f32(r.d + i * r.ld + at);
            const int32x4_t *t = two[i][j];
            if (has_halves(type)) {
                acc[i][j] = vfmaq_f32(acc[i][j], vcvtq_f32_s32(t[0]),
                                      scale[0] * vzip1q_f32(d, d));
                acc[i][j] = vfmaq_f32(acc[i][j], vcvtq_f32_s32(t[1]),
                                      scale[1] * vzip2q_f32(d, d));
            } else {
                acc[i][j] =
                    vfmaq_f32(acc[i][j], vcvtq_f32_s32(vpaddq_s32(t[0], t[1])),
                              scale[0] * d);
            }
            if (has_min(type))
                acc[i][j] =
                    vfmsq_f32(acc[i][j], min, vld1q_f32(r.s + i * r.ld + at));
        }
    }
}

ALWAYS_INLINE void add_rows(float32x4_t acc[ROWS][COLS], const struct rows8 r,
                            enum dtype type, const char *b, int rows, int cols)
{
    struct scales s[COLS];
    int64_t at = 0;

    if (is_large(type)) {
        for (; at < r.pieces; at += 8) {
            for (int j = 0; j < cols; j++)
                scales_of(&s[j], type,
                          b + j * r.row_bytes + at / 8 * block_bytes_of(type));
            add_pieces(acc, r, type, s, b, at, FOUR, rows, cols);
            add_pieces(acc, r, type, s, b, at + FOUR, FOUR, rows, cols);
        }
        return;
    }
    for (; at + FOUR <= r.pieces; at += FOUR)
        add_pieces(acc, r, type, s, b, at, FOUR, rows, cols);
    for (; at < r.pieces; at++)
        add_pieces(acc, r, type, s, b, at, 1, rows, cols);
}

/*
 * An adapter's columns, with the activations as they are
 */

// The first n of four values of a row of p or q, and zeros.
ALWAYS_INLINE float32x4_t low_4(const void *x, bool is_half, int64_t at,
                                int64_t n)
{
    uint32_t rest[4] = {0};
    const int64_t size = is_half ? 2 : 4;
    const char *from = (const char *) x + at * size;

    if (n < 4) {
        memcpy(rest, from, (size_t) (n * size));
        from = (const char *) rest;
    }
    return is_half ? vreinterpretq_f32_u32(
                         vshll_n_u16(vld1_u16((
                                         const uint16_t *) (const void *) from),
                                     16))
                   : vld1q_f32((const float *) (const void *) from);
}

ALWAYS_INLINE void low_columns(const struct rows8_product *p, int64_t j,
                               bool is_half)
{
    const struct rows8_low *l = p->low;
    int64_t at[LOW_COLS];

    for (int64_t i = 0; i < LOW_COLS; i++) // the last one again
        at[i] = (j + i < l->rank ? j + i : l->rank - 1) * p->k;
    for (int64_t i = 0; i < p->m; i++) {
        const float *a = p->a + i * p->k;
        float32x4_t acc[LOW_COLS] = {{0}};
        for (int64_t q = 0; q < p->k; q += 4) {
            const float32x4_t x = vld1q_f32(a + q);
#pragma GCC unroll 4
            for (int c = 0; c < LOW_COLS; c++)
                acc[c] =
                    vfmaq_f32(acc[c], x, low_4(l->p, is_half, at[c] + q, 4));
        }
        for (int64_t c = 0; c < LOW_COLS; c++)
            l->z[i * l->ld + j + c] =
                j + c < l->rank ? l->alpha * vaddvq_f32(acc[c]) : 0.0f;
    }
}

static void low_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct rows8 *r = ctx;
    const int64_t j = task * (int64_t) LOW_COLS;

    if (r->p->low->type == DTYPE_bf16)
        low_columns(r->p, j, true);
    else
        low_columns(r->p, j, false);
}

ALWAYS_INLINE float low_sum(const struct rows8_low *l, const float *z,
                            int64_t j, bool is_half)
{
    float32x4_t acc = vdupq_n_f32(0.0f);
    int64_t p = 0;

    for (; p + 4 <= l->rank; p += 4)
        acc = vfmaq_f32(acc, vld1q_f32(z + p),
                        low_4(l->q, is_half, j * l->rank + p, 4));
    if (p < l->rank)
        acc = vfmaq_f32(acc, vld1q_f32(z + p),
                        low_4(l->q, is_half, j * l->rank + p, l->rank - p));
    return vaddvq_f32(acc);
}

/*
 * Columns of y
 */

// Rows i and columns j of y.
ALWAYS_INLINE void add_block(const struct rows8 *r, enum dtype type, int64_t i0,
                             int64_t j0, int rows, int cols)
{
    const struct rows8_product *p = r->p;
    const struct rows8_low *l = p->low;
    struct rows8 from = *r;
    float32x4_t acc[ROWS][COLS] = {{{0}}};

    from.q += i0 * p->k;
    from.d += i0 * r->ld;
    from.s += i0 * r->ld;
    add_rows(acc, from, type, p->b + j0 * r->row_bytes, rows, cols);
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < cols; j++) {
            const int64_t at = (i0 + i) * p->n + j0 + j;
            float sum = vaddvq_f32(acc[i][j]);
            if (l)
                sum += low_sum(l, l->z + (i0 + i) * l->ld, j0 + j,
                               l->type == DTYPE_bf16);
            p->y[at] = p->alpha * sum + (p->c ? p->c[at] : 0.0f);
        }
}

ALWAYS_INLINE void add_columns(const struct rows8 *r, enum dtype type,
                               int64_t j0, int64_t j1)
{
    const int64_t m = r->p->m;
    int64_t i = 0;

    for (; i + ROWS <= m; i += ROWS)
        for (int64_t j = j0; j < j1; j++)
            add_block(r, type, i, j, ROWS, 1);
    for (; i + 2 <= m; i += 2)
        for (int64_t j = j0; j < j1; j++)
            add_block(r, type, i, j, 2, 1);
    for (; i < m; i++) {
        int64_t j = j0;
        for (; j + COLS <= j1; j += COLS)
            add_block(r, type, i, j, 1, COLS);
        for (; j < j1; j++)
            add_block(r, type, i, j, 1, 1);
    }
}

static void columns_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct rows8 *r = ctx;
    const int64_t j0 = task * r->ns;
    const int64_t j1 = j0 + r->ns < r->p->n ? j0 + r->ns : r->p->n;

    switch ((int) r->p->b_type) {
#define TYPE(name)                            \
    case DTYPE_##name:                        \
        add_columns(r, DTYPE_##name, j0, j1); \
        break;
        CPU_ROWS8_TYPES(TYPE)
#undef TYPE
    default:
        break;
    }
}

MATMUL_ROWS8(matmul_rows8_neondot)
{
    const int64_t pieces = p->k / 32;
    const int64_t ld = (pieces + FOUR - 1) / FOUR * FOUR;
    float *room = scratch;
    struct rows8 r = {
        .p = p,
        .d = room,
        .s = room + p->m * ld,
        .q = (int8_t *) (room + 2 * p->m * ld),
        .ns = (TASK / p->k + COLS) / COLS * COLS,
        .pieces = pieces,
        .ld = ld,
        .row_bytes = (int64_t) dtype_row_bytes(p->b_type, p->k),
    };

    if (p->low)
        pool_run(pool, (uint32_t) (p->low->ld / LOW_COLS), low_task, &r);
    for (int64_t i = 0; i < p->m; i++)
        round_row(&r, i);
    pool_run(pool, (uint32_t) ((p->n + r.ns - 1) / r.ns), columns_task, &r);
}

KERNEL_matmul(matmul_neondot)
{
    if (!cpu_rounds_rows(precision, m, k, trans_a, trans_b, b_type)) {
        matmul_neon(y, a, b, b_type, c, m, n, k, trans_a, trans_b, alpha,
                    precision, scratch, pool);
        return;
    }
    const struct rows8_product p = {y, a, b, b_type, c, m, n, k, alpha, NULL};
    matmul_rows8_neondot(&p, scratch, pool);
}

KERNEL_matmul_lora(matmul_lora_neondot)
{
    if (!cpu_rounds_rows(precision, m, k, false, true, b_type)) {
        matmul_lora_neon(y, a, b, b_type, p, q, low_type, c, m, n, k, rank,
                         alpha, precision, scratch, pool);
        return;
    }
    const struct cpu_lora_plan plan =
        cpu_lora_plan(m, n, k, rank, b_type, low_type, precision);
    float *z = scratch;
    const struct rows8_low low = {p, q, low_type, rank, plan.ld, alpha, z};
    const struct rows8_product r = {y, a, b, b_type, c, m, n, k, 1, &low};
    matmul_rows8_neondot(&r, z + plan.z_floats, pool);
}
