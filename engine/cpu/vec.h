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
#elif defined(CPU_ISA_NEONBF16)
#define VEC_NAME(family) family##_neonbf16
enum { VEC_BYTES = 16, TILE_ROWS = 6, TILE_VECS = 4 };
#elif defined(CPU_ISA_NEONDOT)
#define VEC_NAME(family) family##_neondot
enum { VEC_BYTES = 16, TILE_ROWS = 6, TILE_VECS = 4 };
#elif defined(CPU_ISA_NEON)
#define VEC_NAME(family) family##_neon
enum { VEC_BYTES = 16, TILE_ROWS = 6, TILE_VECS = 4 };
#endif

// The product of this instruction set, for kernels that are made of products.
#define MATMUL VEC_NAME(matmul)

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

// tanh within 5e-7 relative: its Taylor polynomial of degree 9 up to a quarter,
// by exp above.
ALWAYS_INLINE vec vec_tanh(vec x)
{
    const vec x2 = x * x;
    const vec near =
        x * (1.0f +
             x2 * (-1.0f / 3 + x2 * (2.0f / 15 + x2 * (-17.0f / 315 +
                                                       x2 * (62.0f / 2835)))));
    const vec far = 1.0f - 2.0f / (vec_exp(2.0f * x) + 1.0f);
    return vec_select(x2 < 0.0625f, near, far);
}

ALWAYS_INLINE v8 v8_load(const float *p)
{
    return *(const v8_mem *) p;
}

ALWAYS_INLINE void v8_store(float *p, v8 v)
{
    *(v8_mem *) p = v;
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

// The sum of all lanes, in an order that is the same everywhere.
ALWAYS_INLINE float v8_sum(v8 s)
{
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

// Those of eight vectors, which are lost.
ALWAYS_INLINE v8 v8_sums(v8 r[8])
{
    v8_transpose(r);
    return ((r[0] + r[4]) + (r[2] + r[6])) + ((r[1] + r[5]) + (r[3] + r[7]));
}

ALWAYS_INLINE v8 vec_sums(const vec x[8])
{
    v8 r[8];

#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
#if defined(CPU_ISA_AVX512) || defined(CPU_ISA_AVX512BF16)
        const v8 *half = (const v8 *) &x[i];
        r[i] = half[0] + half[1];
#elif defined(__ARM_NEON)
        r[i] = __builtin_shufflevector(x[i], (vec){0}, 0, 1, 2, 3, 4, 5, 6, 7);
#else
        r[i] = x[i];
#endif
    }
    return v8_sums(r);
}
