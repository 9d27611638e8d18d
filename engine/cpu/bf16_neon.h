// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Products of bf16 by bfmmla
 *
 * It multiplies two rows of op(a) with two columns of op(b), four values deep:
 * a register of operands is such a four, [2][4], and one of sums is [row][col].
 * A panel of b is [16 columns][four of depth][column pair][2][4]; of op(a) rows
 * 2 i and 2 i + 1 are side by side, [four of depth][2][4]. A step is two fours,
 * and what is missing in the last one is zero.
 */

#include <arm_neon.h>

// The tier that products of whole operands are left to, and who rounds a few
// rows to eight bits.
#define BASE_NAME(family) family##_neon
#define ROWS8_NAME        matmul_rows8_neondot

enum {
    STEP = 8,            // values
    STEP_PAIRS = 4,      // of a column, in a step
    LOOKS_AHEAD = false, // tiles leave that to the machine
    ROW_PAIRS = TILE_ROWS / 2,
    COL_PAIRS = TILE_COLS / 2,
    FOUR_PAIRS = 4,                          // of a register
    PANEL_FOUR = TILE_COLS / 2 * FOUR_PAIRS, // of all columns of a part
};

// Steps of the inner loop: ks values and, behind them, `rank` of an adapter.
ALWAYS_INLINE int64_t depth_steps(int64_t ks, int64_t rank)
{
    return (ks + STEP - 1) / STEP + (rank + STEP - 1) / STEP;
}

ALWAYS_INLINE uint16x8_t load_8(const pair *p)
{
    return vreinterpretq_u16_u32(vld1q_u32(p));
}

ALWAYS_INLINE void store_8(pair *p, uint16x8_t x)
{
    vst1q_u32(p, vreinterpretq_u32_u16(x));
}

// Eight floats, rounded, in order.
ALWAYS_INLINE uint16x8_t round_8(float32x4_t first, float32x4_t second)
{
    return vreinterpretq_u16_bf16(
        vcvtq_high_bf16_f32(vcvtq_low_bf16_f32(first), second));
}

// The first n of eight values, f32 or bf16 if `is_half`, and zeros.
ALWAYS_INLINE uint16x8_t round_some(const void *x, bool is_half, int64_t n)
{
    float rest[8] = {0};
    const size_t size = is_half ? 2 : 4;

    if (n < 8) {
        memcpy(rest, x, (size_t) n * size);
        x = rest;
    }
    return is_half ? vld1q_u16(x)
                   : round_8(vld1q_f32(x), vld1q_f32((const float *) x + 4));
}

// Two fours of eight values of two rows.
ALWAYS_INLINE void store_two(pair *to, int64_t next, uint16x8_t x, uint16x8_t y)
{
    const uint64x2_t a = vreinterpretq_u64_u16(x);
    const uint64x2_t b = vreinterpretq_u64_u16(y);

    store_8(to, vreinterpretq_u16_u64(vzip1q_u64(a, b)));
    store_8(to + next, vreinterpretq_u16_u64(vzip2q_u64(a, b)));
}

// Four rows of eight values: four of depth of eight columns, in pairs of them.
ALWAYS_INLINE void turn_four(uint16x8_t out[4], const uint16x8_t x[4])
{
#define WORDS(r) vreinterpretq_u32_u16(r)
    const uint32x4_t a = WORDS(vzip1q_u16(x[0], x[1]));
    const uint32x4_t b = WORDS(vzip1q_u16(x[2], x[3]));
    const uint32x4_t c = WORDS(vzip2q_u16(x[0], x[1]));
    const uint32x4_t d = WORDS(vzip2q_u16(x[2], x[3]));
#undef WORDS

    out[0] = vreinterpretq_u16_u32(vzip1q_u32(a, b));
    out[1] = vreinterpretq_u16_u32(vzip2q_u32(a, b));
    out[2] = vreinterpretq_u16_u32(vzip1q_u32(c, d));
    out[3] = vreinterpretq_u16_u32(vzip2q_u32(c, d));
}

ALWAYS_INLINE float32x4_t multiply(float32x4_t acc, uint16x8_t a, uint16x8_t b)
{
    return vbfmmlaq_f32(acc, vreinterpretq_bf16_u16(a),
                        vreinterpretq_bf16_u16(b));
}

// acc += a b: `rows` pairs of rows and TILE_COLS columns, fours of which are
// `ldb` apart. Every index of acc is constant after unrolling; otherwise it
// would live in memory. 24 sums, three registers of a and one of b at a time: a
// step is 74 instructions, of which 48 are bfmmla and 22 loads, and none spills
// (gcc 12).
ALWAYS_INLINE void tile_fours(float32x4_t acc[ROW_PAIRS][COL_PAIRS],
                              struct pair_strip s, const pair *b, int64_t ldb,
                              int64_t steps, int rows)
{
    const pair *a[ROW_PAIRS];

#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
        a[i] = s.a + i * s.row;
    for (; steps > 0; steps--) {
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            uint16x8_t x[ROW_PAIRS];
#pragma GCC unroll 4
            for (int i = 0; i < rows; i++)
                x[i] = load_8(a[i] + h * FOUR_PAIRS);
#pragma GCC unroll 8
            for (int j = 0; j < COL_PAIRS; j++) {
                const uint16x8_t y = load_8(b + h * ldb + j * FOUR_PAIRS);
#pragma GCC unroll 4
                for (int i = 0; i < rows; i++)
                    acc[i][j] = multiply(acc[i][j], x[i], y);
            }
        }
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++)
            a[i] += s.step;
        b += 2 * ldb;
    }
}

// Columns 2 j .. 2 j + 4 of row `which` of a pair of rows.
ALWAYS_INLINE vec sums_of_row(const float32x4_t *acc, int j, int which)
{
    const float64x2_t x = vreinterpretq_f64_f32(acc[j]);
    const float64x2_t y = vreinterpretq_f64_f32(acc[j + 1]);

    return (vec) (which == 0 ? vzip1q_f64(x, y) : vzip2q_f64(x, y));
}
