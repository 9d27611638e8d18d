// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Vectors of one instruction set
 *
 * Included by the *_vec.c files, which are compiled once for each instruction
 * set. Everything is static: a function with a name of its own could be the
 * copy that the linker keeps for everybody, and would crash elsewhere.
 *
 * `vec` is the machine's register; `v8` is eight floats, where a layout is
 * wanted that is the same everywhere.
 */

#include "engine/base/half.h"
#include "engine/tensor/dtype.h"
#include "engine/tensor/quant.h"

#include <stdint.h>
#include <string.h>

// Name, register width, and the accumulator tile of the product: ROWS by
// TILE_VECS registers, which fill the register file.
#if defined(CPU_ISA_AVX512BF16)
#define VEC_NAME(family) family##_avx512bf16
enum { VEC_BYTES = 64, TILE_ROWS = 6, TILE_VECS = 4 };
#elif defined(CPU_ISA_AVX512)
#define VEC_NAME(family) family##_avx512
enum { VEC_BYTES = 64, TILE_ROWS = 6, TILE_VECS = 4 };
#elif defined(CPU_ISA_AVX2)
#define VEC_NAME(family) family##_avx2
enum { VEC_BYTES = 32, TILE_ROWS = 6, TILE_VECS = 2 };
#elif defined(CPU_ISA_NEON)
#define VEC_NAME(family) family##_neon
enum { VEC_BYTES = 16, TILE_ROWS = 6, TILE_VECS = 4 };
#endif

#if defined(__AVX2__)
#include <immintrin.h>
#endif

enum {
    LANES = VEC_BYTES / 4,
    TILE_COLS = TILE_VECS * LANES,
};

typedef float vec __attribute__((vector_size(VEC_BYTES)));
typedef int32_t ivec __attribute__((vector_size(VEC_BYTES)));
typedef float v8 __attribute__((vector_size(32)));
// The same in memory, at any float's address.
typedef float vec_mem __attribute__((vector_size(VEC_BYTES), aligned(4)));
typedef float v8_mem __attribute__((vector_size(32), aligned(4)));

#define ALWAYS_INLINE static inline __attribute__((always_inline, unused))

ALWAYS_INLINE vec vec_load(const float *p)
{
    return *(const vec_mem *) p;
}

ALWAYS_INLINE void vec_store(float *p, vec v)
{
    *(vec_mem *) p = v;
}

ALWAYS_INLINE vec vec_set(float x)
{
    return x - (vec){0};
}

// The sum of all lanes, in an order that depends on the width only.
ALWAYS_INLINE float vec_sum(vec v)
{
    float x[LANES];
    vec_store(x, v);
    for (int step = LANES / 2; step > 0; step /= 2)
#pragma GCC unroll 8
        for (int i = 0; i < step; i++)
            x[i] += x[i + step];
    return x[0];
}

ALWAYS_INLINE vec vec_select(ivec mask, vec yes, vec no)
{
    return (vec) ((mask & (ivec) yes) | (~mask & (ivec) no));
}

ALWAYS_INLINE vec vec_max(vec a, vec b)
{
    return vec_select(a > b, a, b);
}

ALWAYS_INLINE float vec_largest(vec v)
{
    float x[LANES];
    vec_store(x, v);
    float max = x[0];
    for (int i = 1; i < LANES; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

// The first n floats, and zeros.
ALWAYS_INLINE vec vec_load_some(const float *p, int64_t n)
{
    float x[LANES] = {0};
    memcpy(x, p, (size_t) n * sizeof(*p));
    return vec_load(x);
}

ALWAYS_INLINE void vec_store_some(float *p, vec v, int64_t n)
{
    float x[LANES];
    vec_store(x, v);
    memcpy(p, x, (size_t) n * sizeof(*p));
}

// exp within 2e-7 relative: 2^n times the Taylor polynomial of degree 7 on
// half of ln 2 to each side of 0. Below -87 it stays at exp(-87), 1.6e-38;
// above 88 at exp(88).
ALWAYS_INLINE vec vec_exp(vec x)
{
    const vec magic = vec_set(12582912.0f); // 1.5 * 2^23: rounds to whole
    x = vec_select(x < -87.0f, vec_set(-87.0f), x);
    x = vec_select(x > 88.0f, vec_set(88.0f), x);
    const vec t = x * 1.44269504f + magic;
    const vec n = t - magic;
    const vec r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    vec p = r * (1.0f / 5040) + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return (vec) ((ivec) p + ((ivec) t << 23));
}

ALWAYS_INLINE v8 v8_load(const float *p)
{
    return *(const v8_mem *) p;
}

ALWAYS_INLINE void v8_store(float *p, v8 v)
{
    *(v8_mem *) p = v;
}

// Eight signed bytes as floats. gcc 12 takes a conversion of vectors of
// different widths apart, lane by lane.
ALWAYS_INLINE v8 v8_from_i8(const int8_t *p)
{
#if defined(__AVX2__)
    return (v8) _mm256_cvtepi32_ps(
        _mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *) p)));
#else
    float x[8];
    for (int i = 0; i < 8; i++)
        x[i] = p[i];
    return v8_load(x);
#endif
}

// The numbers of a block of q4_0.
ALWAYS_INLINE void v8_from_i4(v8 out[4], const uint8_t *p)
{
#if defined(__AVX2__)
    const __m128i mask = _mm_set1_epi8(15);
    const __m128i eight = _mm_set1_epi8(8);
    const __m128i q = _mm_loadu_si128((const void *) p);
    const __m128i lo = _mm_sub_epi8(_mm_and_si128(q, mask), eight);
    const __m128i hi =
        _mm_sub_epi8(_mm_and_si128(_mm_srli_epi16(q, 4), mask), eight);
    out[0] = (v8) _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(lo));
    out[1] =
        (v8) _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(lo, 8)));
    out[2] = (v8) _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(hi));
    out[3] =
        (v8) _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(hi, 8)));
#else
    float x[32];
    for (int i = 0; i < 16; i++) {
        x[i] = (float) ((p[i] & 15) - 8);
        x[16 + i] = (float) ((p[i] >> 4) - 8);
    }
    memcpy(out, x, sizeof(x));
#endif
}

ALWAYS_INLINE float scale_of(uint16_t h)
{
#if defined(__AVX2__)
    return _cvtsh_ss(h);
#else
    return half_to_f32(h);
#endif
}

// The block of 32 values that begins at value `at` of a row, a multiple of 32:
// numbers, and the scale to multiply them with, which is 1 for plain types.
ALWAYS_INLINE float decode_raw(v8 out[4], enum dtype type, const char *row,
                               int64_t at)
{
    const uint16_t *h = (const uint16_t *) (const void *) row + at;

    if (type == DTYPE_q8_0) {
        const struct quant_q8_0 *b = (const void *) row;
        b += at / 32;
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            out[i] = v8_from_i8(b->q + 8 * i);
        return scale_of(b->d);
    }
    if (type == DTYPE_q4_0) {
        const struct quant_q4_0 *b = (const void *) row;
        b += at / 32;
        v8_from_i4(out, b->q);
        return scale_of(b->d);
    }
    if (type == DTYPE_f16) {
#if defined(__AVX2__)
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            out[i] = (v8) _mm256_cvtph_ps(
                _mm_loadu_si128((const void *) (h + 8 * i)));
#else
        float x[32];
        for (int i = 0; i < 32; i++)
            x[i] = half_to_f32(h[i]);
        memcpy(out, x, sizeof(x));
#endif
    } else if (type == DTYPE_bf16) {
        float x[32];
        for (int i = 0; i < 32; i++)
            x[i] = bf16_to_f32(h[i]);
        memcpy(out, x, sizeof(x));
    } else {
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            out[i] = v8_load((const float *) (const void *) row + at + 8 * i);
    }
    return 1.0f;
}

ALWAYS_INLINE void decode_32(v8 out[4], enum dtype type, const char *row,
                             int64_t at)
{
    const float scale = decode_raw(out, type, row, at);

    if (type == DTYPE_q8_0 || type == DTYPE_q4_0)
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            out[i] *= scale;
}

// The last values of a row, fewer than 32: only types without blocks have any.
ALWAYS_INLINE void decode_rest(float *out, enum dtype type, const char *row,
                               int64_t at, int64_t n)
{
    const uint16_t *h = (const uint16_t *) (const void *) row + at;

    if (type == DTYPE_f32)
        memcpy(out, (const float *) (const void *) row + at,
               (size_t) n * sizeof(float));
    else if (type == DTYPE_f16)
        for (int64_t i = 0; i < n; i++)
            out[i] = half_to_f32(h[i]);
    else
        for (int64_t i = 0; i < n; i++)
            out[i] = bf16_to_f32(h[i]);
}

// `n` values of a row from value `at` on; `at` is a multiple of 32.
ALWAYS_INLINE void decode(float *out, enum dtype type, const char *row,
                          int64_t at, int64_t n)
{
    int64_t i = 0;

    for (; i + 32 <= n; i += 32) {
        v8 x[4];
        decode_32(x, type, row, at + i);
        for (int j = 0; j < 4; j++)
            v8_store(out + i + 8 * j, x[j]);
    }
    if (i < n)
        decode_rest(out + i, type, row, at + i, n - i);
}

// Rows and columns of eight by eight floats change places.
ALWAYS_INLINE void v8_transpose(v8 r[8])
{
    v8 a[8], b[8];

#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        a[i] =
            __builtin_shufflevector(r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        a[i + 1] =
            __builtin_shufflevector(r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4)
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++) {
            b[i + 2 * j] = __builtin_shufflevector(a[i + j], a[i + 2 + j], 0, 1,
                                                   8, 9, 4, 5, 12, 13);
            b[i + 2 * j + 1] =
                __builtin_shufflevector(a[i + j], a[i + 2 + j], 2, 3, 10, 11, 6,
                                        7, 14, 15);
        }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        r[i] =
            __builtin_shufflevector(b[i], b[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        r[i + 4] =
            __builtin_shufflevector(b[i], b[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}
