// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * The numbers of a piece of a weight, decode.h, as 32 bytes: of the types of
 * CPU_ROWS8_TYPES, on x86-64. Those of q8_0 have a sign; others are what their
 * bits say, and stand some way above what they mean, or have a minimum. Arm's
 * are in numbers_neon.h.
 */

#include "engine/cpu/decode.h"

#define BLOCK(type, row, i) ((const struct type *) (const void *) (row) + (i))

// Constant where `type` is, unlike what dtypes.c knows.
ALWAYS_INLINE int64_t block_bytes_of(enum dtype type)
{
    switch ((int) type) {
#define WEIGHT(name, gguf, block, bytes) \
    case DTYPE_##name:                   \
        return bytes;
#include "engine/tensor/dtypes.def"
    default:
        return 0;
    }
}

// Does a block have eight pieces, not one?
ALWAYS_INLINE bool is_large(enum dtype type)
{
    switch ((int) type) {
#define WEIGHT(name, gguf, block, bytes) \
    case DTYPE_##name:                   \
        return (block) == 256;
#include "engine/tensor/dtypes.def"
    default:
        return false;
    }
}

// About how many bytes of a row stand before value `at`; just so at multiples
// of 256. Constant as well.
ALWAYS_INLINE int64_t bytes_before(enum dtype type, int64_t at)
{
    switch ((int) type) {
#define WEIGHT(name, gguf, block, bytes) \
    case DTYPE_##name:                   \
        return (bytes) * (256 / (block)) * at / 256;
#include "engine/tensor/dtypes.def"
    default:
        return 0;
    }
}

#if defined(__AVX2__)
// What has to be taken from a number before it is multiplied by the scale.
ALWAYS_INLINE int zero_of(enum dtype type)
{
    switch ((int) type) {
    case DTYPE_q8_0:
#if defined(__AVX512VNNI__)
        return 128;
#else
        return 0; // the sign goes to the other side
#endif
    case DTYPE_q4_0:
        return 8;
    case DTYPE_q5_0:
        return 16;
    case DTYPE_q6_k:
        return 32;
    default:
        return 0;
    }
}

ALWAYS_INLINE __m256i load_32(const void *p)
{
    return _mm256_loadu_si256(p);
}

ALWAYS_INLINE __m256i nibbles_32(const uint8_t q[16])
{
    const __m128i x = _mm_loadu_si128((const void *) q);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(x, 4), x),
                            _mm256_set1_epi8(15));
}

ALWAYS_INLINE __m256i fifth_32(const uint8_t high[4])
{
#if defined(__AVX512VL__)
    uint32_t bits;
    memcpy(&bits, high, sizeof bits);
    return _mm256_maskz_set1_epi8(bits, 16);
#else
    return _mm256_set_m128i((__m128i) fifth_bits(high + 2),
                            (__m128i) fifth_bits(high));
#endif
}

ALWAYS_INLINE __m256i numbers_of(enum dtype type, const char *row, int64_t at)
{
    const int j = (int) (at % 8);

    switch ((int) type) {
    case DTYPE_q8_0:
        return load_32(BLOCK(quant_q8_0, row, at)->q);
    case DTYPE_q4_0:
        return nibbles_32(BLOCK(quant_q4_0, row, at)->q);
    case DTYPE_q4_1:
        return nibbles_32(BLOCK(quant_q4_1, row, at)->q);
    case DTYPE_q5_0:
        return _mm256_or_si256(nibbles_32(BLOCK(quant_q5_0, row, at)->q),
                               fifth_32(BLOCK(quant_q5_0, row, at)->high));
    case DTYPE_q5_1:
        return _mm256_or_si256(nibbles_32(BLOCK(quant_q5_1, row, at)->q),
                               fifth_32(BLOCK(quant_q5_1, row, at)->high));
    case DTYPE_q4_k: {
        const uint8_t *q = BLOCK(quant_q4_k, row, at / 8)->q;
        return (__m256i) bytes_field(bytes_load(q + j / 2 * 32), j % 2 * 4, 15);
    }
    case DTYPE_q5_k: {
        const struct quant_q5_k *b = BLOCK(quant_q5_k, row, at / 8);
        return (__m256i) (bytes_field(bytes_load(b->q + j / 2 * 32), j % 2 * 4,
                                      15) |
                          bytes_up(bytes_field(bytes_load(b->high), j, 1), 4));
    }
    default: {
        const struct quant_q6_k *b = BLOCK(quant_q6_k, row, at / 8);
        const u8x32 q = bytes_load(b->q + j / 4 * 64 + j % 2 * 32);
        const u8x32 high = bytes_load(b->high + j / 4 * 32);
        return (__m256i) (bytes_field(q, j % 4 / 2 * 4, 15) |
                          bytes_up(bytes_field(high, j % 4 * 2, 3), 4));
    }
    }
}
#endif
