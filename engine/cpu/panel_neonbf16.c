// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/panel_bf16.h"

#include "engine/cpu/bf16.h"
#include "engine/cpu/ints.h"
#include "engine/cpu/numbers_neon.h"

/*
 * Weights become fours of bf16, bf16_neon.h
 *
 * Numbers are widened, become floats, are scaled and rounded, which is as exact
 * as quant.c: what is rounded before that is one sum, if there is a minimum.
 * Rows of b that are columns of op(b) need no transposition: two of them take
 * turns. That is 59 instructions for 32 weights of q8_0, 96 of q4_k, without
 * spills (gcc 12), which 128 rows of a then meet with 256 bfmmla.
 */

enum {
    AHEAD = 48,    // rows of b (K,N) that are asked for before they are read
    ROWS_AHEAD = 4 // of b (N,K)
};

// Rows of op(b) or its columns, with what is added to them.
struct source {
    const char *b;
    const float *d; // or NULL
    int64_t rows, row_bytes;
    int64_t cols; // of a row
};

/*
 * 32 values of a row
 */

ALWAYS_INLINE uint16x8_t round_numbers(enum dtype type, int8x8_t q, float scale,
                                       float min)
{
    const int16x8_t x = vmovl_s8(q);
    const float32x4_t a = vcvtq_f32_s32(vmovl_s16(vget_low_s16(x)));
    const float32x4_t b = vcvtq_f32_s32(vmovl_high_s16(x));
    const float32x4_t m = vdupq_n_f32(-min);

    if (has_min(type))
        return round_8(vfmaq_n_f32(m, a, scale), vfmaq_n_f32(m, b, scale));
    return round_8(vmulq_n_f32(a, scale), vmulq_n_f32(b, scale));
}

// Values at .. at + 32 of a row; `at` is a multiple of 32.
ALWAYS_INLINE void round_32(uint16x8_t out[4], enum dtype type, const char *row,
                            int64_t at)
{
    const uint16_t *h = (const uint16_t *) (const void *) row + at;

    if (!has_blocks(type)) {
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            if (type == DTYPE_f32) {
                const float *x = (const float *) (const void *) row + at;
                out[i] = round_some(x + 8 * i, false, 8);
                continue;
            }
            const uint16x8_t x = vld1q_u16(h + 8 * i);
            const float16x8_t y = vreinterpretq_f16_u16(x);
            out[i] = type == DTYPE_bf16 ? x
                                        : round_8(vcvt_f32_f16(vget_low_f16(y)),
                                                  vcvt_high_f32_f16(y));
        }
        return;
    }
    const struct line l = line_of(type, row, at / 32);
    const struct numbers q = numbers_of(type, row, at / 32);
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        out[2 * i] =
            round_numbers(type, vget_low_s8(q.half[i]), l.scale[i], l.min[i]);
        out[2 * i + 1] =
            round_numbers(type, vget_high_s8(q.half[i]), l.scale[i], l.min[i]);
    }
}

// The same of row i of any type, of which n values are wanted, with what is
// added to them; the rest of 32 is zero.
static __attribute__((noinline)) void round_some_of(uint16x8_t out[4],
                                                    enum dtype type,
                                                    const struct source *s,
                                                    int64_t i, int64_t at,
                                                    int64_t n)
{
    const char *row = s->b + i * s->row_bytes;
    float x[32] = {0};

    n = i < s->rows ? min(32, n) : 0;
    switch (n > 0 ? type : DTYPE_COUNT) {
#define WEIGHT(name, gguf, block, bytes)     \
    case DTYPE_##name:                       \
        decode(x, DTYPE_##name, row, at, n); \
        break;
#include "engine/tensor/dtypes.def"
    case DTYPE_i32:
    case DTYPE_COUNT:
        break;
    }
    for (int64_t q = 0; s->d && q < n; q++)
        x[q] += s->d[i * s->cols + at + q];
    for (int q = 0; q < 4; q++)
        out[q] = round_some(x + 8 * q, false, 8);
}

/*
 * Panels
 */

// 32 values of two rows, by turns.
ALWAYS_INLINE void store_turns(pair *to, uint16x8_t x[4], uint16x8_t y[4],
                               int64_t n)
{
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++, to += 2 * PANEL_FOUR)
        if (8 * c < n)
            store_two(to, PANEL_FOUR, x[c], y[c]);
}

// Rows i and i + 1 are columns of op(b): values k0 .. k0 + ks.
ALWAYS_INLINE void pack_two(pair *to, enum dtype type, const struct source *s,
                            int64_t i, int64_t k0, int64_t ks)
{
    const char *row = s->b + i * s->row_bytes;
    const char *ahead = row + ROWS_AHEAD * s->row_bytes;
    int64_t q = 0;

    for (; q + 32 <= ks && i + 2 <= s->rows && !s->d; q += 32) {
        uint16x8_t x[4], y[4];
        const int64_t next = bytes_before(type, k0 + q);
        __builtin_prefetch(ahead + next, 0, 3);
        __builtin_prefetch(ahead + s->row_bytes + next, 0, 3);
        round_32(x, type, row, k0 + q);
        round_32(y, type, row + s->row_bytes, k0 + q);
        store_turns(to, x, y, 32);
        to += 8 * PANEL_FOUR;
    }
    for (; q < ks; q += 32, to += 8 * PANEL_FOUR) {
        uint16x8_t x[4], y[4];
        round_some_of(x, type, s, i, k0 + q, ks - q);
        round_some_of(y, type, s, i + 1, k0 + q, ks - q);
        store_turns(to, x, y, ks - q);
    }
}

// Sixteen columns of op(b), which are rows j .. j + 16.
ALWAYS_INLINE void pack_rows(pair *out, enum dtype type, const struct source *s,
                             int64_t j, int64_t k0, int64_t ks)
{
    for (int64_t i = j; i < j + TILE_COLS; i += 2, out += FOUR_PAIRS)
        pack_two(out, type, s, i, k0, ks);
}

// Four rows of 32 columns, which are those of two parts.
ALWAYS_INLINE void store_turned(pair *to, int64_t part, uint16x8_t x[4][4])
{
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++) {
        pair *at = to + g / 2 * part + g % 2 * 4 * FOUR_PAIRS;
        const uint16x8_t rows[4] = {x[0][g], x[1][g], x[2][g], x[3][g]};
        uint16x8_t y[4];
        turn_four(y, rows);
#pragma GCC unroll 4
        for (int h = 0; h < 4; h++)
            store_8(at + h * FOUR_PAIRS, y[h]);
    }
}

// Rows i .. i + 4 of 32 columns from `at` on, of which rows below `end` count.
ALWAYS_INLINE void pack_four(pair *to, int64_t part, enum dtype type,
                             const struct source *s, int64_t i, int64_t at,
                             int64_t end)
{
    const char *row = s->b + i * s->row_bytes;
    const char *ahead = row + AHEAD * s->row_bytes + bytes_before(type, at);

    if (i + 4 <= end && at + 32 <= s->cols && !s->d) {
        uint16x8_t x[4][4];
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++) {
            // So far apart that the machine does not see them coming.
            __builtin_prefetch(ahead + r * s->row_bytes, 0, 3);
            round_32(x[r], type, row + r * s->row_bytes, at);
        }
        store_turned(to, part, x);
        return;
    }
    uint16x8_t x[4][4];
    for (int64_t r = 0; r < 4; r++)
        round_some_of(x[r], type, s, i + r, at, i + r < end ? s->cols - at : 0);
    store_turned(to, part, x);
}

// They are columns j .. j + PANEL_COLS of b; parts of TILE_COLS lie `part`
// pairs apart.
ALWAYS_INLINE void pack_columns(pair *out, int64_t part, enum dtype type,
                                const struct source *s, int64_t j, int64_t k0,
                                int64_t ks)
{
    for (int64_t q = 0; q < depth_steps(ks, 0) * STEP; q += 4)
        for (int64_t c = 0; c < PANEL_COLS; c += 32)
            pack_four(out + c / TILE_COLS * part + q / 4 * PANEL_FOUR, part,
                      type, s, k0 + q, j + c, k0 + ks);
}

ALWAYS_INLINE void pack_b(pair *out, int64_t part, enum dtype type,
                          const struct rounded_product *p, int64_t j,
                          int64_t k0, int64_t ks)
{
    const int64_t cols = p->trans_b ? p->k : p->n;
    const struct source s = {p->b, p->d, p->trans_b ? p->n : p->k,
                             (int64_t) dtype_row_bytes(type, cols), cols};

    for (int64_t g = 0; g < PANEL_COLS && p->trans_b; g += TILE_COLS)
        pack_rows(out + g / TILE_COLS * part, type, &s, j + g, k0, ks);
    if (!p->trans_b)
        pack_columns(out, part, type, &s, j, k0, ks);
}

static void pack_low(pair *out, int64_t part, const struct rounded_product *p,
                     int64_t j)
{
    const struct rounded_low *low = p->low;
    const struct source s = {low->q, NULL, p->n,
                             (int64_t) dtype_row_bytes(low->type, low->rank),
                             low->rank};

    for (int64_t g = 0; g < PANEL_COLS; g += TILE_COLS, out += part)
        if (low->type == DTYPE_bf16)
            pack_rows(out, DTYPE_bf16, &s, j + g, 0, low->rank);
        else
            pack_rows(out, DTYPE_f32, &s, j + g, 0, low->rank);
}

void panel_pack(pair *out, const struct rounded_product *p, int64_t j,
                int64_t k0, int64_t ks)
{
    const int64_t rank = p->low && k0 + ks == p->k ? p->low->rank : 0;
    const int64_t part = depth_steps(ks, rank) * 2 * PANEL_FOUR;

    switch (p->b_type) {
#define WEIGHT(name, gguf, block, bytes)               \
    case DTYPE_##name:                                 \
        pack_b(out, part, DTYPE_##name, p, j, k0, ks); \
        break;
#include "engine/tensor/dtypes.def"
    case DTYPE_i32:
    case DTYPE_COUNT:
        break;
    }
    if (rank > 0)
        pack_low(out + depth_steps(ks, 0) * 2 * PANEL_FOUR, part, p, j);
}
