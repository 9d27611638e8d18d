// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/tensor/quant.h"

#include "engine/base/half.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

enum { BLOCK = 32, PIECES = 8 };

static_assert(sizeof(struct quant_q8_0) == 34, "the block is packed");
static_assert(sizeof(struct quant_q4_0) == 18, "the block is packed");
static_assert(sizeof(struct quant_q4_1) == 20, "the block is packed");
static_assert(sizeof(struct quant_q5_0) == 22, "the block is packed");
static_assert(sizeof(struct quant_q5_1) == 24, "the block is packed");
static_assert(sizeof(struct quant_iq4_nl) == 18, "the block is packed");
static_assert(sizeof(struct quant_q2_k) == 84, "the block is packed");
static_assert(sizeof(struct quant_q3_k) == 110, "the block is packed");
static_assert(sizeof(struct quant_q4_k) == 144, "the block is packed");
static_assert(sizeof(struct quant_q5_k) == 176, "the block is packed");
static_assert(sizeof(struct quant_q6_k) == 210, "the block is packed");

// Part of the format, as the layouts are: denser around zero.
const int8_t quant_iq4_table[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                    1,    13,   25,  38,  53,  69,  89,  113};

static void decode_f32(float *x, const float *b)
{
    *x = *b;
}

static void decode_f16(float *x, const uint16_t *b)
{
    *x = half_to_f32(*b);
}

static void decode_bf16(float *x, const uint16_t *b)
{
    *x = bf16_to_f32(*b);
}

static void decode_q8_0(float *x, const struct quant_q8_0 *b)
{
    const float d = half_to_f32(b->d);
    for (int i = 0; i < BLOCK; i++)
        x[i] = d * (float) b->q[i];
}

// Value i of four bits.
static int nibble(const uint8_t q[16], int i)
{
    return i < 16 ? q[i] & 15 : q[i - 16] >> 4;
}

// Value i of five bits.
static int five(const uint8_t q[16], const uint8_t high[4], int i)
{
    return nibble(q, i) | (high[i / 8] >> i % 8 & 1) << 4;
}

static void decode_q4_0(float *x, const struct quant_q4_0 *b)
{
    const float d = half_to_f32(b->d);
    for (int i = 0; i < BLOCK; i++)
        x[i] = d * (float) (nibble(b->q, i) - 8);
}

static void decode_q4_1(float *x, const struct quant_q4_1 *b)
{
    const float d = half_to_f32(b->d);
    const float m = half_to_f32(b->m);
    for (int i = 0; i < BLOCK; i++)
        x[i] = d * (float) nibble(b->q, i) + m;
}

static void decode_q5_0(float *x, const struct quant_q5_0 *b)
{
    const float d = half_to_f32(b->d);
    for (int i = 0; i < BLOCK; i++)
        x[i] = d * (float) (five(b->q, b->high, i) - 16);
}

static void decode_q5_1(float *x, const struct quant_q5_1 *b)
{
    const float d = half_to_f32(b->d);
    const float m = half_to_f32(b->m);
    for (int i = 0; i < BLOCK; i++)
        x[i] = d * (float) five(b->q, b->high, i) + m;
}

static void decode_iq4_nl(float *x, const struct quant_iq4_nl *b)
{
    const float d = half_to_f32(b->d);
    for (int i = 0; i < BLOCK; i++)
        x[i] = d * (float) quant_iq4_table[nibble(b->q, i)];
}

static void decode_q2_k(float *x, const struct quant_q2_k *b)
{
    const float d = half_to_f32(b->d);
    const float m = half_to_f32(b->m);

    for (int j = 0; j < PIECES; j++)
        for (int i = 0; i < BLOCK; i++) {
            const uint8_t scale = b->scales[2 * j + i / 16];
            const int q = b->q[j / 4 * BLOCK + i] >> (j % 4 * 2) & 3;
            x[j * BLOCK + i] =
                d * (float) (scale & 15) * (float) q - m * (float) (scale >> 4);
        }
}

static void decode_q3_k(float *x, const struct quant_q3_k *b)
{
    const float d = half_to_f32(b->d);

    for (int j = 0; j < PIECES; j++)
        for (int i = 0; i < BLOCK; i++) {
            const int scale = quant_scale_q3(b->scales, 2 * j + i / 16);
            const int q = (b->q[j / 4 * BLOCK + i] >> (j % 4 * 2) & 3) |
                          (b->high[i] >> j & 1) << 2;
            x[j * BLOCK + i] = d * (float) scale * (float) (q - 4);
        }
}

static void decode_q4_k(float *x, const struct quant_q4_k *b)
{
    const float d = half_to_f32(b->d);
    const float m = half_to_f32(b->m);

    for (int j = 0; j < PIECES; j++) {
        uint8_t s, t;
        quant_scales_6(&s, &t, b->scales, j);
        for (int i = 0; i < BLOCK; i++) {
            const int q = b->q[j / 2 * BLOCK + i] >> (j % 2 * 4) & 15;
            x[j * BLOCK + i] = d * (float) s * (float) q - m * (float) t;
        }
    }
}

static void decode_q5_k(float *x, const struct quant_q5_k *b)
{
    const float d = half_to_f32(b->d);
    const float m = half_to_f32(b->m);

    for (int j = 0; j < PIECES; j++) {
        uint8_t s, t;
        quant_scales_6(&s, &t, b->scales, j);
        for (int i = 0; i < BLOCK; i++) {
            const int q = (b->q[j / 2 * BLOCK + i] >> (j % 2 * 4) & 15) |
                          (b->high[i] >> j & 1) << 4;
            x[j * BLOCK + i] = d * (float) s * (float) q - m * (float) t;
        }
    }
}

static void decode_q6_k(float *x, const struct quant_q6_k *b)
{
    const float d = half_to_f32(b->d);

    for (int j = 0; j < PIECES; j++)
        for (int i = 0; i < BLOCK; i++) {
            const int low =
                b->q[j / 4 * 2 * BLOCK + j % 2 * BLOCK + i] >> (j % 4 / 2 * 4);
            const int high = b->high[j / 4 * BLOCK + i] >> (j % 4 * 2);
            const int q = (low & 15) | (high & 3) << 4;
            x[j * BLOCK + i] =
                d * (float) b->scales[2 * j + i / 16] * (float) (q - 32);
        }
}

void quant_decode(enum dtype type, float *dst, const void *src, int64_t n)
{
    const char *from = src;

    assert(n % dtype_infos[type].block == 0);
    switch (type) {
#define WEIGHT(name, gguf, block, bytes)                          \
    case DTYPE_##name:                                            \
        for (int64_t i = 0; i < n; i += (block), from += (bytes)) \
            decode_##name(dst + i, (const void *) from);          \
        return;
#include "engine/tensor/dtypes.def"
    case DTYPE_i32:
    case DTYPE_COUNT:
        break;
    }
    assert(!"not a type of weights");
}

void quant_decode_part(enum dtype type, float *dst, const void *row, int64_t at,
                       int64_t n)
{
    const int64_t block = dtype_infos[type].block;

    while (n > 0) {
        const char *from = (const char *) row +
                           at / block * (int64_t) dtype_infos[type].block_bytes;
        int64_t count = n / block * block;
        if (at % block == 0 && count > 0) {
            quant_decode(type, dst, from, count);
        } else {
            float x[QUANT_BLOCK_MAX];
            const int64_t left = block - at % block;
            count = n < left ? n : left;
            quant_decode(type, x, from, block);
            memcpy(dst, x + at % block, (size_t) count * sizeof(*x));
        }
        dst += count;
        at += count;
        n -= count;
    }
}
