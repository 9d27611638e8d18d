// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/tensor/quant.h"

#include "engine/base/half.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

enum { BLOCK = 32 };

static_assert(sizeof(struct quant_q8_0) == 34, "the block is packed");
static_assert(sizeof(struct quant_q4_0) == 18, "the block is packed");

// `x` rounded half away from zero and clamped; 0 for NaN, so that a weight
// that is not finite cannot make the conversion undefined.
static int round_to(float x, int lo, int hi)
{
    x = roundf(x);
    if (!(x >= (float) lo))
        return isnan(x) ? 0 : lo;
    return x > (float) hi ? hi : (int) x;
}

// The scale maps the largest magnitude to 127. The quotient uses the scale
// before it is rounded to binary16, as every other writer of GGUF does.
static void encode_q8_0(struct quant_q8_0 *b, const float *x)
{
    float most = 0;
    for (int i = 0; i < BLOCK; i++)
        most = fmaxf(most, fabsf(x[i]));
    float d = most / 127.0f;
    float inverse = d > 0 ? 1.0f / d : 0.0f;

    b->d = half_from_f32(d);
    for (int i = 0; i < BLOCK; i++)
        b->q[i] = (int8_t) round_to(x[i] * inverse, -127, 127);
}

// The value of largest magnitude becomes exactly -8 * d, whatever its sign:
// four bits have one more step below zero than above.
static void encode_q4_0(struct quant_q4_0 *b, const float *x)
{
    float most = 0;
    for (int i = 0; i < BLOCK; i++)
        if (fabsf(x[i]) > fabsf(most))
            most = x[i];
    float d = most / -8.0f;
    float inverse = d != 0 ? 1.0f / d : 0.0f;

    b->d = half_from_f32(d);
    for (int i = 0; i < BLOCK / 2; i++) {
        float lo = floorf(x[i] * inverse + 8.5f);
        float hi = floorf(x[i + BLOCK / 2] * inverse + 8.5f);
        b->q[i] = (uint8_t) (round_to(lo, 0, 15) | round_to(hi, 0, 15) << 4);
    }
}

static void decode_q8_0(float *x, const struct quant_q8_0 *b)
{
    float d = half_to_f32(b->d);
    for (int i = 0; i < BLOCK; i++)
        x[i] = d * (float) b->q[i];
}

static void decode_q4_0(float *x, const struct quant_q4_0 *b)
{
    float d = half_to_f32(b->d);
    for (int i = 0; i < BLOCK / 2; i++) {
        x[i] = d * (float) ((b->q[i] & 15) - 8);
        x[i + BLOCK / 2] = d * (float) ((b->q[i] >> 4) - 8);
    }
}

void quant_encode(enum dtype type, void *dst, const float *src, int64_t n)
{
    assert(n % dtype_infos[type].block == 0);
    switch (type) {
    case DTYPE_f32:
        memcpy(dst, src, (size_t) n * sizeof(float));
        return;
    case DTYPE_f16:
        for (int64_t i = 0; i < n; i++)
            ((uint16_t *) dst)[i] = half_from_f32(src[i]);
        return;
    case DTYPE_bf16:
        for (int64_t i = 0; i < n; i++)
            ((uint16_t *) dst)[i] = bf16_from_f32(src[i]);
        return;
    case DTYPE_q8_0:
        for (int64_t i = 0; i < n / BLOCK; i++)
            encode_q8_0((struct quant_q8_0 *) dst + i, src + i * BLOCK);
        return;
    case DTYPE_q4_0:
        for (int64_t i = 0; i < n / BLOCK; i++)
            encode_q4_0((struct quant_q4_0 *) dst + i, src + i * BLOCK);
        return;
    case DTYPE_i32:
    case DTYPE_COUNT:
        break;
    }
    assert(!"not a type of weights");
}

void quant_decode(enum dtype type, float *dst, const void *src, int64_t n)
{
    assert(n % dtype_infos[type].block == 0);
    switch (type) {
    case DTYPE_f32:
        memcpy(dst, src, (size_t) n * sizeof(float));
        return;
    case DTYPE_f16:
        for (int64_t i = 0; i < n; i++)
            dst[i] = half_to_f32(((const uint16_t *) src)[i]);
        return;
    case DTYPE_bf16:
        for (int64_t i = 0; i < n; i++)
            dst[i] = bf16_to_f32(((const uint16_t *) src)[i]);
        return;
    case DTYPE_q8_0:
        for (int64_t i = 0; i < n / BLOCK; i++)
            decode_q8_0(dst + i * BLOCK, (const struct quant_q8_0 *) src + i);
        return;
    case DTYPE_q4_0:
        for (int64_t i = 0; i < n / BLOCK; i++)
            decode_q4_0(dst + i * BLOCK, (const struct quant_q4_0 *) src + i);
        return;
    case DTYPE_i32:
    case DTYPE_COUNT:
        break;
    }
    assert(!"not a type of weights");
}
