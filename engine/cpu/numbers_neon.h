// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * The numbers of a piece of a weight, decode.h, as 32 signed bytes, by NEON: of
 * each type that has blocks, and as they are to be multiplied with the scale.
 */

#include "engine/cpu/numbers.h"

#include <arm_neon.h>

struct numbers {
    int8x16_t half[2];
};

// What a block of q4_k, q5_k or q6_k multiplies them with, and takes from that:
// eight pieces, or sixteen halves of pieces if has_halves().
struct scales {
    float32x4_t scale[4], min[2];
};

ALWAYS_INLINE bool has_blocks(enum dtype type)
{
    return type != DTYPE_f32 && type != DTYPE_f16 && type != DTYPE_bf16;
}

ALWAYS_INLINE bool has_halves(enum dtype type)
{
    return type == DTYPE_q2_k || type == DTYPE_q3_k || type == DTYPE_q6_k;
}

ALWAYS_INLINE bool has_min(enum dtype type)
{
    return type == DTYPE_q4_1 || type == DTYPE_q5_1 || type == DTYPE_q2_k ||
           type == DTYPE_q4_k || type == DTYPE_q5_k;
}

/*
 * Numbers
 */

// Bits of each byte moved down, and the lowest of them.
ALWAYS_INLINE uint8x16_t field(uint8x16_t x, int from, uint8_t mask)
{
    return vandq_u8(x >> vdupq_n_u8((uint8_t) from), vdupq_n_u8(mask));
}

ALWAYS_INLINE uint8x16_t join(uint8x16_t x, uint8x16_t high, int by)
{
    return vorrq_u8(x, high << vdupq_n_u8((uint8_t) by));
}

ALWAYS_INLINE int8x16_t less(uint8x16_t x, int8_t zero)
{
    const int8x16_t y = vreinterpretq_s8_u8(x);
    return zero == 0 ? y : vsubq_s8(y, vdupq_n_s8(zero));
}

// 16 in each byte whose bit is set: bit i of p for byte i.
ALWAYS_INLINE uint8x16_t fifth_of(const uint8_t p[2])
{
    static const uint8_t bit[16] = {1, 2, 4, 8, 16, 32, 64, 128,
                                    1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t x = vcombine_u8(vld1_dup_u8(p), vld1_dup_u8(p + 1));
    return vandq_u8(vtstq_u8(x, vld1q_u8(bit)), vdupq_n_u8(16));
}

// Nibbles, with a fifth bit unless `high` is NULL.
ALWAYS_INLINE struct numbers nibbles_of(const uint8_t q[16],
                                        const uint8_t *high, int8_t zero)
{
    const uint8x16_t x = vld1q_u8(q);
    uint8x16_t low = field(x, 0, 15), up = vshrq_n_u8(x, 4);

    if (high) {
        low = vorrq_u8(low, fifth_of(high));
        up = vorrq_u8(up, fifth_of(high + 2));
    }
    return (struct numbers){{less(low, zero), less(up, zero)}};
}

// Half a piece j of a block of 256: bytes 16 * half .. of each row of bytes.
ALWAYS_INLINE int8x16_t large_half(enum dtype type, const void *block, int j,
                                   int half)
{
    const int at = 16 * half;

    switch ((int) type) {
    case DTYPE_q2_k: {
        const struct quant_q2_k *b = block;
        return less(field(vld1q_u8(b->q + j / 4 * 32 + at), j % 4 * 2, 3), 0);
    }
    case DTYPE_q3_k: {
        const struct quant_q3_k *b = block;
        const uint8x16_t high = field(vld1q_u8(b->high + at), j, 1);
        const uint8x16_t q = vld1q_u8(b->q + j / 4 * 32 + at);
        return less(join(field(q, j % 4 * 2, 3), high, 2), 4);
    }
    case DTYPE_q4_k: {
        const struct quant_q4_k *b = block;
        return less(field(vld1q_u8(b->q + j / 2 * 32 + at), j % 2 * 4, 15), 0);
    }
    case DTYPE_q5_k: {
        const struct quant_q5_k *b = block;
        const uint8x16_t high = field(vld1q_u8(b->high + at), j, 1);
        const uint8x16_t q = vld1q_u8(b->q + j / 2 * 32 + at);
        return less(join(field(q, j % 2 * 4, 15), high, 4), 0);
    }
    default: {
        const struct quant_q6_k *b = block;
        const uint8x16_t high =
            field(vld1q_u8(b->high + j / 4 * 32 + at), j % 4 * 2, 3);
        const uint8x16_t q = vld1q_u8(b->q + j / 4 * 64 + j % 2 * 32 + at);
        return less(join(field(q, j % 4 / 2 * 4, 15), high, 4), 32);
    }
    }
}

// Of piece `at` of a row.
ALWAYS_INLINE struct numbers numbers_of(enum dtype type, const char *row,
                                        int64_t at)
{
    const char *b = row + at / (is_large(type) ? 8 : 1) * block_bytes_of(type);
    const int j = (int) (at % 8);

#define AS(name) ((const struct name *) (const void *) b)
    switch ((int) type) {
    case DTYPE_q8_0:
        return (struct numbers){
            {vld1q_s8(AS(quant_q8_0)->q), vld1q_s8(AS(quant_q8_0)->q + 16)}};
    case DTYPE_q4_0:
        return nibbles_of(AS(quant_q4_0)->q, NULL, 8);
    case DTYPE_q4_1:
        return nibbles_of(AS(quant_q4_1)->q, NULL, 0);
    case DTYPE_q5_0:
        return nibbles_of(AS(quant_q5_0)->q, AS(quant_q5_0)->high, 16);
    case DTYPE_q5_1:
        return nibbles_of(AS(quant_q5_1)->q, AS(quant_q5_1)->high, 0);
    case DTYPE_iq4_nl: {
        const int8x16_t table = vld1q_s8(quant_iq4_table);
        const struct numbers q = nibbles_of(AS(quant_iq4_nl)->q, NULL, 0);
        return (struct numbers){
            {vqtbl1q_s8(table, vreinterpretq_u8_s8(q.half[0])),
             vqtbl1q_s8(table, vreinterpretq_u8_s8(q.half[1]))}};
    }
    default:
        return (struct numbers){
            {large_half(type, b, j, 0), large_half(type, b, j, 1)}};
    }
#undef AS
}

/*
 * Scales
 */

// Four halves, `step` bytes apart, of which n are there; else 0.
ALWAYS_INLINE float32x4_t halves_4(const char *p, int64_t step, int n)
{
    uint16x4_t x = vdup_n_u16(0);

#define HALF(i)  \
    if ((i) < n) \
    x = vld1_lane_u16((const uint16_t *) (const void *) (p + (i) *step), x, i)
    HALF(0);
    HALF(1);
    HALF(2);
    HALF(3);
#undef HALF
    return vcvt_f32_f16(vreinterpret_f16_u16(x));
}

ALWAYS_INLINE float32x4_t bytes_4(uint32_t bytes)
{
    const uint16x8_t x = vmovl_u8(vcreate_u8(bytes));
    return vcvtq_f32_u32(vmovl_u16(vget_low_u16(x)));
}

// The scales and minima of q4_k and q5_k, four bytes at a time;
// quant_scales_6().
ALWAYS_INLINE void scales_6(struct scales *s, const char *head)
{
    const uint16_t *d = (const void *) head;
    const float scale = scale_of(d[0]), min = scale_of(d[1]);
    uint32_t x[3];

    memcpy(x, head + 4, sizeof(x));
    s->scale[0] = scale * bytes_4(x[0] & 0x3f3f3f3f);
    s->scale[1] =
        scale * bytes_4((x[2] & 0x0f0f0f0f) | (x[0] >> 2 & 0x30303030));
    s->min[0] = min * bytes_4(x[1] & 0x3f3f3f3f);
    s->min[1] =
        min * bytes_4((x[2] >> 4 & 0x0f0f0f0f) | (x[1] >> 2 & 0x30303030));
}

ALWAYS_INLINE void scales_of(struct scales *s, enum dtype type,
                             const char *block)
{
    if (type == DTYPE_q4_k || type == DTYPE_q5_k) {
        scales_6(s, block);
    } else {
        const struct quant_q6_k *b = (const void *) block;
        const int8x16_t x = vld1q_s8(b->scales);
        const int16x8_t y[2] = {vmovl_s8(vget_low_s8(x)), vmovl_high_s8(x)};
        const float d = scale_of(b->d);
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++) {
            s->scale[2 * i] = d * vcvtq_f32_s32(vmovl_s16(vget_low_s16(y[i])));
            s->scale[2 * i + 1] = d * vcvtq_f32_s32(vmovl_high_s16(y[i]));
        }
    }
}

// The same of one piece, of any type: of each half.
struct line {
    float scale[2], min[2];
};

ALWAYS_INLINE struct line even_line(float scale, float min)
{
    return (struct line){{scale, scale}, {min, min}};
}

ALWAYS_INLINE struct line line_6(const char *head, int64_t j)
{
    const uint16_t *d = (const void *) head;
    uint8_t s, t;

    quant_scales_6(&s, &t, (const uint8_t *) head + 4, j);
    return even_line(scale_of(d[0]) * (float) s, scale_of(d[1]) * (float) t);
}

ALWAYS_INLINE struct line line_of(enum dtype type, const char *row, int64_t at)
{
    const char *b = row + at / (is_large(type) ? 8 : 1) * block_bytes_of(type);
    const uint16_t *d = (const void *) b;
    const int64_t j = at % 8;
    struct line l;

    switch ((int) type) {
    case DTYPE_q4_k:
    case DTYPE_q5_k:
        return line_6(b, j);
    case DTYPE_q2_k: {
        const struct quant_q2_k *q = (const void *) b;
        for (int i = 0; i < 2; i++) {
            l.scale[i] = scale_of(q->d) * (float) (q->scales[2 * j + i] & 15);
            l.min[i] = scale_of(q->m) * (float) (q->scales[2 * j + i] >> 4);
        }
        return l;
    }
    case DTYPE_q3_k: {
        const struct quant_q3_k *q = (const void *) b;
        for (int i = 0; i < 2; i++) {
            l.scale[i] =
                scale_of(q->d) * (float) quant_scale_q3(q->scales, 2 * j + i);
            l.min[i] = 0.0f;
        }
        return l;
    }
    case DTYPE_q6_k: {
        const struct quant_q6_k *q = (const void *) b;
        for (int i = 0; i < 2; i++) {
            l.scale[i] = scale_of(q->d) * (float) q->scales[2 * j + i];
            l.min[i] = 0.0f;
        }
        return l;
    }
    default:
        return even_line(scale_of(d[0]), has_min(type) ? -scale_of(d[1]) : 0);
    }
}
