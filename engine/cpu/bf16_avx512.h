// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Products of bf16 by vdpbf16ps
 *
 * It multiplies pairs: each 32-bit lane holds two neighbours along the
 * contraction. A panel of b is [pair][PANEL_COLS], 64 columns of op(b); a pair
 * of op(a) is broadcast from wherever it is. A last odd pair ends with zero.
 */

enum {
    PANEL_VECS = PANEL_COLS / 16,
    STEP = 2,           // values
    STEP_PAIRS = 1,     // of a column, in a step of the inner loop
    LOOKS_AHEAD = true, // do tiles ask for weights that come next?
};

_Static_assert((int) PANEL_COLS == (int) TILE_COLS, "tiles are one panel wide");

// The tier that products of whole operands are left to, and who rounds a few
// rows to eight bits.
#define BASE_NAME(family) family##_avx512
#define ROWS8_NAME        matmul_rows8_avx512bf16

// Steps of the inner loop: ks values and, behind them, `rank` of an adapter.
ALWAYS_INLINE int64_t depth_steps(int64_t ks, int64_t rank)
{
    return (ks + 1) / 2 + (rank + 1) / 2;
}

ALWAYS_INLINE __m512i load_pairs(const pair *p)
{
    return _mm512_loadu_si512(p);
}

ALWAYS_INLINE void store_pairs(pair *p, __m512i v)
{
    _mm512_storeu_si512(p, v);
}

// 32 floats, rounded, in order.
ALWAYS_INLINE __m512i round_32(__m512 first, __m512 second)
{
    return (__m512i) _mm512_cvtne2ps_pbh(second, first);
}

ALWAYS_INLINE __m512i round_at(const float *x)
{
    return round_32(_mm512_loadu_ps(x), _mm512_loadu_ps(x + 16));
}

// Sixteen pairs: value i of `even` with value i of `odd`.
ALWAYS_INLINE __m512i round_pairs(__m512 even, __m512 odd)
{
    const __m512i order =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9,
                         24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1,
                         16, 0);
    return _mm512_permutexvar_epi16(order, round_32(even, odd));
}

// The first n of 16 lanes.
ALWAYS_INLINE __mmask16 lanes(int64_t n)
{
    return (__mmask16) (n >= 16 ? 0xffff : n <= 0 ? 0 : (1 << n) - 1);
}

ALWAYS_INLINE __mmask32 lanes_32(int64_t n)
{
    return n >= 32 ? 0xffffffff : ((__mmask32) 1 << n) - 1;
}

// Rows and columns of 16 by 16 pairs change places.
ALWAYS_INLINE void transpose_pairs(__m512i r[16])
{
    __m512i t[16];

#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    // r[4 g + c]: column c of each 4 by 4 square of rows 4 g .. 4 g + 3
#pragma GCC unroll 4
    for (int g = 0; g < 16; g += 4)
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            r[g + 2 * h] = _mm512_unpacklo_epi64(t[g + h], t[g + 2 + h]);
            r[g + 2 * h + 1] = _mm512_unpackhi_epi64(t[g + h], t[g + 2 + h]);
        }
        // Squares change places: first halves of them, then quarters.
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        t[c] = _mm512_shuffle_i32x4(r[c], r[4 + c], 0x88);
        t[4 + c] = _mm512_shuffle_i32x4(r[c], r[4 + c], 0xdd);
        t[8 + c] = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0x88);
        t[12 + c] = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0xdd);
    }
#pragma GCC unroll 8
    for (int c = 0; c < 8; c++) {
        r[c] = _mm512_shuffle_i32x4(t[c], t[8 + c], 0x88);
        r[8 + c] = _mm512_shuffle_i32x4(t[c], t[8 + c], 0xdd);
    }
}

// acc (rows,vecs * 16) += a b; the rows of b are ldb apart. Every index of acc
// is constant after unrolling; otherwise it would live in memory. Two pointers
// into a, because an address is a sum of a register and at most twice another.
// Each pair asks for a place ahead, unless that is NULL.
ALWAYS_INLINE void tile_pairs(__m512 acc[TILE_ROWS][PANEL_VECS],
                              struct pair_strip s, const pair *b, int64_t ldb,
                              int64_t pairs, int rows, int vecs,
                              const struct ahead *ahead)
{
    const pair *a0 = s.a;
    const pair *a3 = rows > 3 ? s.a + 3 * s.row : s.a;
    const char *next = ahead ? ahead->at : NULL;

    for (; pairs > 0; pairs--, b += ldb) {
        __m512i v[PANEL_VECS];
#pragma GCC unroll 4
        for (int j = 0; j < vecs; j++)
            v[j] = load_pairs(b + j * 16);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            const __m512i x = _mm512_set1_epi32(
                (int) (i < 3 ? a0[i * s.row] : a3[(i - 3) * s.row]));
#pragma GCC unroll 4
            for (int j = 0; j < vecs; j++)
                acc[i][j] =
                    _mm512_dpbf16_ps(acc[i][j], (__m512bh) x, (__m512bh) v[j]);
        }
        a0 += s.step;
        a3 += s.step;
        if (ahead) {
            __builtin_prefetch(next, 0, 3);
            next += ahead->step;
        }
    }
}

// exp(x) for x from -80 to 80, within 3e-6: 2 to the whole part of x / ln 2,
// times the Taylor polynomial of degree 6 on half of it to each side of 0.
ALWAYS_INLINE __m512 exp_16(__m512 x)
{
    const __m512 t = x * 1.44269504f;
    const __m512 n = _mm512_roundscale_ps(t, 8); // to the nearest whole number
    const __m512 r = t - n;
    __m512 p = r * 1.54035304e-4f + 1.33335581e-3f;
    p = p * r + 9.61812911e-3f;
    p = p * r + 5.55041087e-2f;
    p = p * r + 0.240226507f;
    p = p * r + 0.693147181f;
    p = p * r + 1.0f;
    return _mm512_scalef_ps(p, n);
}
