// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Products of bytes, for matmul_rows8*_vec.c
 *
 * Numbers of a weight's block are multiplied with those of the activations as
 * integers, four to a sum of 32 bits; a block of 32 ends in one float product.
 * Weights are read as bytes without a sign, `zero` above what they mean; the
 * sums of activations times that are known before any weight is read, so they
 * begin there. Types with a minimum of their own have no zero.
 */

#include "engine/cpu/matmul_rows8.h"
#include "engine/cpu/numbers.h"

// base + sums of four products: u unsigned, a signed. Without VNNI pairs meet
// in 16 bits, so u must not be above 128.
ALWAYS_INLINE __m256i dot_4(__m256i base, __m256i u, __m256i a)
{
#if defined(__AVX512VNNI__)
    return _mm256_dpbusd_epi32(base, u, a);
#else
    const __m256i pairs = _mm256_maddubs_epi16(u, a);
    return _mm256_add_epi32(base,
                            _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#endif
}

ALWAYS_INLINE float largest(const __m256i x[4])
{
    // Of numbers without a sign, order is that of their bits; NaN is above all.
    const __m256i m8 = _mm256_max_epi32(_mm256_max_epi32(x[0], x[1]),
                                        _mm256_max_epi32(x[2], x[3]));
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(m8),
                              _mm256_extracti128_si256(m8, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
    return _mm_cvtss_f32(_mm_castsi128_ps(m));
}

ALWAYS_INLINE int32_t sum_lanes(__m256i x)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(x),
                              _mm256_extracti128_si256(x, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
    return _mm_cvtsi128_si32(s);
}

// A block of 32 activations as bytes: d * q. Returns q.
ALWAYS_INLINE __m256i round_32(float *d, const float *x)
{
    const __m256i no_sign = _mm256_set1_epi32(0x7fffffff);
    __m256 v[4];
    __m256i n[4];

    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_loadu_ps(x + 8 * i);
        n[i] = _mm256_and_si256(_mm256_castps_si256(v[i]), no_sign);
    }
    const float most = largest(n);
    const bool is_nothing = most < CPU_ROWS8_TINY;
    const __m256 by = _mm256_set1_ps(is_nothing ? 0.0f : 127.0f / most);
    for (int i = 0; i < 4; i++)
        n[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], by));
    *d = is_nothing ? 0.0f : most / 127.0f;
    return _mm256_permutevar8x32_epi32(
        _mm256_packs_epi16(_mm256_packs_epi32(n[0], n[1]),
                           _mm256_packs_epi32(n[2], n[3])),
        _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

// Of each four numbers of q their sum.
ALWAYS_INLINE __m256i sums_of_4(__m256i base, __m256i q)
{
    return dot_4(base, _mm256_set1_epi8(1), q);
}

// Numbers of eight bits: one side without a sign, see zero_of().
ALWAYS_INLINE void eight_bits(__m256i *w, __m256i *a)
{
#if defined(__AVX512VNNI__)
    (void) a;
    *w = _mm256_xor_si256(*w, _mm256_set1_epi8(-128));
#else
    *a = _mm256_sign_epi8(*a, *w);
    *w = _mm256_sign_epi8(*w, *w);
#endif
}

// Bytes of weights times those of activations.
ALWAYS_INLINE v8 dot_32(enum dtype type, __m256i base, __m256i w, __m256i a)
{
    if (type == DTYPE_q8_0)
        eight_bits(&w, &a);
    return (v8) _mm256_cvtepi32_ps(dot_4(base, w, a));
}

/*
 * An adapter's columns, with the activations as they are
 */

ALWAYS_INLINE vec low_vec(const void *x, bool is_half, int64_t at)
{
#if defined(__AVX512F__)
    if (is_half)
        return (vec)
            _mm512_slli_epi32(_mm512_cvtepu16_epi32(load_32(
                                  (const char *) ((const uint16_t *) x + at))),
                              16);
    return vec_load((const float *) x + at);
#else
    return (vec) low_8(x, is_half, at);
#endif
}

// z (rank, up to a multiple of 8) = alpha * a p^T of a row of a, whose values
// k0 .. k1 are looked at; zeros behind the rank.
ALWAYS_INLINE void low_part(float *z, const struct rows8_low *l, const float *a,
                            int64_t k, int64_t k0, int64_t k1, bool is_half)
{
    for (int64_t j = 0; j < l->rank; j += 8) {
        const int64_t n = l->rank - j < 8 ? l->rank - j : 8;
        vec acc[8] = {{0}};
        int64_t at[8];
        for (int64_t i = 0; i < 8; i++) // the last one again
            at[i] = (j + (i < n ? i : n - 1)) * k;
        for (int64_t q = k0; q < k1; q += LANES) {
            const vec x = vec_load(a + q);
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++)
                acc[i] += x * low_vec(l->p, is_half, at[i] + q);
        }
        v8_store(z + j, l->alpha * vec_sums(acc));
        for (int64_t i = n; i < 8; i++)
            z[j + i] = 0.0f;
    }
}

static inline void low_row(float *z, const struct rows8_low *l, const float *a,
                           int64_t k, int64_t k0, int64_t k1)
{
    if (l->type == DTYPE_bf16)
        low_part(z, l, a, k, k0, k1, true);
    else
        low_part(z, l, a, k, k0, k1, false);
}

// s and z times row j of q: sums of eight lanes.
ALWAYS_INLINE v8 low_sums(v8 s, const struct rows8_low *l, const float *z,
                          int64_t j)
{
    const bool is_half = l->type == DTYPE_bf16;
    int64_t p = 0;

    for (; p + 8 <= l->rank; p += 8)
        s += v8_load(z + p) * low_8(l->q, is_half, j * l->rank + p);
    if (p < l->rank)
        s += v8_load(z + p) *
             low_some(l->q, is_half, j * l->rank + p, l->rank - p);
    return s;
}

// The task that adds up columns task * ns .. of y, with add_columns() compiled
// for each type of weights. `type_of_ctx` has p, of which y is, and ns.
#define ROWS8_TYPE(name)                      \
    case DTYPE_##name:                        \
        add_columns(r, DTYPE_##name, j0, j1); \
        break;
#define ROWS8_COLUMNS_TASK(type_of_ctx)                                 \
    static void columns_task(void *ctx, uint32_t task, uint32_t worker) \
    {                                                                   \
        const type_of_ctx *r = ctx;                                     \
        const int64_t j0 = task * r->ns;                                \
        const int64_t j1 = j0 + r->ns < r->p->n ? j0 + r->ns : r->p->n; \
                                                                        \
        switch ((int) r->p->b_type) {                                   \
            CPU_ROWS8_TYPES(ROWS8_TYPE)                                 \
        default:                                                        \
            break;                                                      \
        }                                                               \
    }
