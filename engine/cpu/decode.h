// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Reading stored weights, for *_vec.c files
 *
 * A piece is 32 values side by side that begin at a multiple of 32 of a row:
 * a block of the small types, an eighth of one of the large. Each type has
 * piece_NAME(), which says what its bytes mean; quant.h has the layouts and
 * quant.c the definition, with the same bits.
 */

#include "engine/base/half.h"
#include "engine/cpu/vec.h"
#include "engine/tensor/dtype.h"
#include "engine/tensor/quant.h"

// Values are scale * x - min, with a scale and a min for each half.
struct piece {
    v8 x[4];
    float scale[2], min[2];
    bool is_even; // one scale, and no min
};

typedef uint8_t u8x32 __attribute__((vector_size(32)));
typedef uint8_t u8x16 __attribute__((vector_size(16)));
typedef uint8_t u8x32_mem __attribute__((vector_size(32), aligned(1)));
typedef uint16_t u16x16 __attribute__((vector_size(32)));

ALWAYS_INLINE float scale_of(uint16_t h)
{
#if defined(__AVX2__)
    return _cvtsh_ss(h);
#elif defined(__aarch64__)
    __fp16 x;
    memcpy(&x, &h, sizeof(x));
    return x;
#else
    return half_to_f32(h);
#endif
}

/*
 * 32 bytes at a time
 */

ALWAYS_INLINE u8x32 bytes_load(const uint8_t *p)
{
    return *(const u8x32_mem *) p;
}

// Bits of each byte moved down, and the lowest of them. Shifts of bytes are
// slow everywhere; those of their neighbours fall to the mask.
ALWAYS_INLINE u8x32 bytes_field(u8x32 x, int from, uint8_t mask)
{
    return (u8x32) ((u16x16) x >> from) & mask;
}

// Bytes so small that no bit leaves them.
ALWAYS_INLINE u8x32 bytes_up(u8x32 x, int by)
{
    return (u8x32) ((u16x16) x << by);
}

// Signed bytes as floats. gcc 12 takes a conversion of vectors of different
// widths apart, lane by lane.
ALWAYS_INLINE void halves_widen(v8 out[4], u8x16 q0, u8x16 q1)
{
#if defined(__AVX2__)
    const __m128i half[2] = {(__m128i) q0, (__m128i) q1};
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        out[i] = (v8) _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(
            i & 1 ? _mm_srli_si128(half[i / 2], 8) : half[i / 2]));
#else
    float x[32];
    for (int i = 0; i < 16; i++) {
        x[i] = (int8_t) q0[i];
        x[16 + i] = (int8_t) q1[i];
    }
    memcpy(out, x, sizeof(x));
#endif
}

ALWAYS_INLINE void bytes_widen(v8 out[4], u8x32 q)
{
    u8x16 half[2];
    memcpy(half, &q, sizeof(half));
    halves_widen(out, half[0], half[1]);
}

/*
 * Blocks of 32, which hold values of four bits in 16 bytes
 */

struct nibbles {
    u8x16 low, high;
};

ALWAYS_INLINE struct nibbles nibbles_load(const uint8_t p[16])
{
    u8x16 q;
    memcpy(&q, p, sizeof(q));
#if defined(__AVX2__)
    const u8x16 high = (u8x16) _mm_srli_epi16((__m128i) q, 4) & 15;
#else
    const u8x16 high = q >> 4;
#endif
    return (struct nibbles){q & 15, high};
}

// 16 in each byte whose bit is set: bit i of p for byte i.
ALWAYS_INLINE u8x16 fifth_bits(const uint8_t p[2])
{
#if defined(__AVX2__)
    const __m128i from = _mm_set_epi64x(0x0101010101010101, 0);
    const __m128i bit = _mm_set1_epi64x((int64_t) 0x8040201008040201);
    uint16_t bits;
    memcpy(&bits, p, sizeof(bits));
    const __m128i x =
        _mm_and_si128(_mm_shuffle_epi8(_mm_cvtsi32_si128(bits), from), bit);
    return (u8x16) _mm_cmpeq_epi8(x, bit) & 16;
#else
    u8x16 x;
    for (int i = 0; i < 16; i++)
        x[i] = (uint8_t) ((p[i / 8] >> i % 8 & 1) << 4);
    return x;
#endif
}

ALWAYS_INLINE struct nibbles nibbles_load_5(const uint8_t p[16],
                                            const uint8_t high[4])
{
    struct nibbles q = nibbles_load(p);
    q.low |= fifth_bits(high);
    q.high |= fifth_bits(high + 2);
    return q;
}

ALWAYS_INLINE u8x16 lookup_16(const int8_t table[16], u8x16 q)
{
#if defined(__AVX2__)
    return (u8x16) _mm_shuffle_epi8(_mm_loadu_si128((const void *) table),
                                    (__m128i) q);
#else
    u8x16 x;
    for (int i = 0; i < 16; i++)
        x[i] = (uint8_t) table[q[i]];
    return x;
#endif
}

/*
 * Pieces
 */

// One scale for all, and a min.
ALWAYS_INLINE void piece_scale(struct piece *p, float scale, float min)
{
    p->scale[0] = p->scale[1] = scale;
    p->min[0] = p->min[1] = min;
}

ALWAYS_INLINE void piece_even(struct piece *p, float scale)
{
    piece_scale(p, scale, 0.0f);
    p->is_even = true;
}

ALWAYS_INLINE void piece_f32(struct piece *p, const char *row, int64_t at)
{
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        p->x[i] = v8_load((const float *) (const void *) row + at + 8 * i);
    piece_even(p, 1.0f);
}

ALWAYS_INLINE void piece_f16(struct piece *p, const char *row, int64_t at)
{
    const uint16_t *h = (const uint16_t *) (const void *) row + at;
#if defined(__AVX2__)
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        p->x[i] =
            (v8) _mm256_cvtph_ps(_mm_loadu_si128((const void *) (h + 8 * i)));
#else
    float x[32];
    for (int i = 0; i < 32; i++)
        x[i] = half_to_f32(h[i]);
    memcpy(p->x, x, sizeof(x));
#endif
    piece_even(p, 1.0f);
}

ALWAYS_INLINE void piece_bf16(struct piece *p, const char *row, int64_t at)
{
    const uint16_t *h = (const uint16_t *) (const void *) row + at;
    float x[32];

    for (int i = 0; i < 32; i++)
        x[i] = bf16_to_f32(h[i]);
    memcpy(p->x, x, sizeof(x));
    piece_even(p, 1.0f);
}

// The block of a row that holds value `at`.
#define BLOCK_OF(type, row, at)                   \
    ((const struct type *) (const void *) (row) + \
     (at) / (sizeof(struct type) > 64 ? 256 : 32))

ALWAYS_INLINE void piece_q8_0(struct piece *p, const char *row, int64_t at)
{
    const struct quant_q8_0 *b = BLOCK_OF(quant_q8_0, row, at);
#if defined(__AVX2__)
    // From memory, where no half has to be fetched out of a register.
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        p->x[i] = (v8) _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(
            _mm_loadl_epi64((const void *) (b->q + 8 * i))));
#else
    bytes_widen(p->x, bytes_load((const uint8_t *) b->q));
#endif
    piece_even(p, scale_of(b->d));
}

ALWAYS_INLINE void piece_q4_0(struct piece *p, const char *row, int64_t at)
{
    const struct quant_q4_0 *b = BLOCK_OF(quant_q4_0, row, at);
    const struct nibbles q = nibbles_load(b->q);
    halves_widen(p->x, q.low - 8, q.high - 8);
    piece_even(p, scale_of(b->d));
}

ALWAYS_INLINE void piece_q4_1(struct piece *p, const char *row, int64_t at)
{
    const struct quant_q4_1 *b = BLOCK_OF(quant_q4_1, row, at);
    const struct nibbles q = nibbles_load(b->q);
    halves_widen(p->x, q.low, q.high);
    piece_scale(p, scale_of(b->d), -scale_of(b->m));
}

ALWAYS_INLINE void piece_q5_0(struct piece *p, const char *row, int64_t at)
{
    const struct quant_q5_0 *b = BLOCK_OF(quant_q5_0, row, at);
    const struct nibbles q = nibbles_load_5(b->q, b->high);
    halves_widen(p->x, q.low - 16, q.high - 16);
    piece_even(p, scale_of(b->d));
}

ALWAYS_INLINE void piece_q5_1(struct piece *p, const char *row, int64_t at)
{
    const struct quant_q5_1 *b = BLOCK_OF(quant_q5_1, row, at);
    const struct nibbles q = nibbles_load_5(b->q, b->high);
    halves_widen(p->x, q.low, q.high);
    piece_scale(p, scale_of(b->d), -scale_of(b->m));
}

ALWAYS_INLINE void piece_iq4_nl(struct piece *p, const char *row, int64_t at)
{
    const struct quant_iq4_nl *b = BLOCK_OF(quant_iq4_nl, row, at);
    const struct nibbles q = nibbles_load(b->q);
    halves_widen(p->x, lookup_16(quant_iq4_table, q.low),
                 lookup_16(quant_iq4_table, q.high));
    piece_even(p, scale_of(b->d));
}

// Scale and min of a piece of q4_k or q5_k.
ALWAYS_INLINE void piece_scale_6(struct piece *p, uint16_t d, uint16_t m,
                                 const uint8_t scales[12], int64_t j)
{
    uint8_t s, t;
    quant_scales_6(&s, &t, scales, j);
    piece_scale(p, scale_of(d) * (float) s, scale_of(m) * (float) t);
}

ALWAYS_INLINE void piece_q4_k(struct piece *p, const char *row, int64_t at)
{
    const struct quant_q4_k *b = BLOCK_OF(quant_q4_k, row, at);
    const int j = (int) (at / 32 % 8);
    const u8x32 q = bytes_load(b->q + j / 2 * 32);
    bytes_widen(p->x, bytes_field(q, j % 2 * 4, 15));
    piece_scale_6(p, b->d, b->m, b->scales, j);
}

ALWAYS_INLINE void piece_q5_k(struct piece *p, const char *row, int64_t at)
{
    const struct quant_q5_k *b = BLOCK_OF(quant_q5_k, row, at);
    const int j = (int) (at / 32 % 8);
    const u8x32 q = bytes_load(b->q + j / 2 * 32);
    const u8x32 high = bytes_field(bytes_load(b->high), j, 1);
    bytes_widen(p->x, (bytes_field(q, j % 2 * 4, 15) | bytes_up(high, 4)));
    piece_scale_6(p, b->d, b->m, b->scales, j);
}

ALWAYS_INLINE void piece_q2_k(struct piece *p, const char *row, int64_t at)
{
    const struct quant_q2_k *b = BLOCK_OF(quant_q2_k, row, at);
    const int j = (int) (at / 32 % 8);
    const u8x32 q = bytes_load(b->q + j / 4 * 32);
    const float d = scale_of(b->d);
    const float m = scale_of(b->m);

    bytes_widen(p->x, bytes_field(q, j % 4 * 2, 3));
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        p->scale[i] = d * (float) (b->scales[2 * j + i] & 15);
        p->min[i] = m * (float) (b->scales[2 * j + i] >> 4);
    }
}

ALWAYS_INLINE void piece_q3_k(struct piece *p, const char *row, int64_t at)
{
    const struct quant_q3_k *b = BLOCK_OF(quant_q3_k, row, at);
    const int j = (int) (at / 32 % 8);
    const u8x32 q = bytes_load(b->q + j / 4 * 32);
    const u8x32 high = bytes_field(bytes_load(b->high), j, 1);
    const float d = scale_of(b->d);

    bytes_widen(p->x, ((bytes_field(q, j % 4 * 2, 3) | bytes_up(high, 2)) - 4));
    piece_scale(p, 0.0f, 0.0f);
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++)
        p->scale[i] = d * (float) quant_scale_q3(b->scales, 2 * j + i);
}

ALWAYS_INLINE void piece_q6_k(struct piece *p, const char *row, int64_t at)
{
    const struct quant_q6_k *b = BLOCK_OF(quant_q6_k, row, at);
    const int j = (int) (at / 32 % 8);
    const u8x32 q = bytes_load(b->q + j / 4 * 64 + j % 2 * 32);
    const u8x32 high = bytes_load(b->high + j / 4 * 32);
    const float d = scale_of(b->d);

    bytes_widen(p->x, ((bytes_field(q, j % 4 / 2 * 4, 15) |
                        bytes_up(bytes_field(high, j % 4 * 2, 3), 4)) -
                       32));
    piece_scale(p, 0.0f, 0.0f);
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++)
        p->scale[i] = d * (float) b->scales[2 * j + i];
}

#undef BLOCK_OF

// The piece at value `at` of a row, a multiple of 32. `type` is constant where
// this is used, and all but its row falls away.
ALWAYS_INLINE struct piece piece_of(enum dtype type, const char *row,
                                    int64_t at)
{
    struct piece p;

    p.is_even = false;
    switch (type) {
#define WEIGHT(name, gguf, block, bytes) \
    case DTYPE_##name:                   \
        piece_##name(&p, row, at);       \
        break;
#include "engine/tensor/dtypes.def"
    case DTYPE_i32:
    case DTYPE_COUNT:
        __builtin_unreachable();
    }
    return p;
}

#if defined(__AVX2__)
/*
 * Scales of a whole block
 */

ALWAYS_INLINE v8 scale_8(uint16_t h)
{
    return (v8) _mm256_cvtph_ps(_mm_set1_epi16((short) h));
}

// Scales and minima of q4_k and q5_k, eight at a time; quant_scales_6(). `head`
// is where d, m and the twelve bytes are.
ALWAYS_INLINE void scales_6(v8 *scale, v8 *min, const void *head)
{
    const uint16_t *d = head;
    const __m128i x = _mm_loadu_si128(head);
    // s 0 to 3, s 4 to 7, t 0 to 3, t 4 to 7: all six bits, or the low four and
    // what stands above them.
    const __m128i low =
        _mm_srlv_epi32(_mm_shuffle_epi32(x, 0xed), _mm_setr_epi32(0, 0, 0, 4));
    const __m128i high = _mm_srli_epi32(_mm_shuffle_epi32(x, 0xa5), 2);
    const __m128i is_high = _mm_setr_epi32(0, 0x30303030, 0, 0x30303030);
    const __m128i six =
        _mm_and_si128(_mm_or_si128(_mm_and_si128(is_high, high),
                                   _mm_andnot_si128(is_high, low)),
                      _mm_set1_epi8(0x3f));

    *scale = scale_8(d[0]) * (v8) _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(six));
    *min = scale_8(d[1]) * (v8) _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(
                               _mm_unpackhi_epi64(six, six)));
}

// Those of q6_k, of 16 values each.
ALWAYS_INLINE void scales_q6(v8 *first, v8 *last, const struct quant_q6_k *b)
{
    const v8 d = scale_8(b->d);

    *first = d * (v8) _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(
                     _mm_loadl_epi64((const void *) b->scales)));
    *last = d * (v8) _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(
                    _mm_loadl_epi64((const void *) (b->scales + 8))));
}
#endif

/*
 * Rows
 */

// 32 values from value `at` on, a multiple of 32.
ALWAYS_INLINE void decode_32(v8 out[4], enum dtype type, const char *row,
                             int64_t at)
{
    const struct piece p = piece_of(type, row, at);

#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        out[i] = p.scale[i / 2] * p.x[i] - p.min[i / 2];
}

// The same as numbers and the scale to multiply them with: where one scale
// serves them all, the product is left to a sum over them.
ALWAYS_INLINE float decode_raw(v8 out[4], enum dtype type, const char *row,
                               int64_t at)
{
    const struct piece p = piece_of(type, row, at);

    if (p.is_even) {
        memcpy(out, p.x, sizeof(p.x));
        return p.scale[0];
    }
    decode_32(out, type, row, at);
    return 1.0f;
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

/*
 * Rows of an adapter: f32, or bf16 if `is_half`
 */

ALWAYS_INLINE v8 low_8(const void *x, bool is_half, int64_t at)
{
    if (!is_half)
        return v8_load((const float *) x + at);
#if defined(__AVX2__)
    return (v8) _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(
                                      (const void *) ((const uint16_t *) x +
                                                      at))),
                                  16);
#else
    uint32_t bits[8];
    for (int i = 0; i < 8; i++)
        bits[i] = (uint32_t) ((const uint16_t *) x)[at + i] << 16;
    v8 out;
    memcpy(&out, bits, sizeof(out));
    return out;
#endif
}

// The first n of them, and zeros.
ALWAYS_INLINE v8 low_some(const void *x, bool is_half, int64_t at, int64_t n)
{
    uint32_t bytes[8] = {0};
    const size_t size = is_half ? 2 : 4;

    memcpy(bytes, (const char *) x + (size_t) at * size, (size_t) n * size);
    return low_8(bytes, is_half, 0);
}
