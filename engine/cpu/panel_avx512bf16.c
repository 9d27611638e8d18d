// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/panel_bf16.h"

#include "engine/cpu/bf16.h"
#include "engine/cpu/ints.h"
#include "engine/cpu/numbers.h"

/*
 * Weights become pairs of bf16. Most types hold whole numbers, and decoding
 * them is mostly moving bytes: they change places as bytes, while four of them
 * go into a register's 32 bits, and a permutation puts each one into the
 * mantissa of a float that stands for `above` plus the number. Times the scale
 * minus `above` times it, in one step, is the value. Neither is rounded on the
 * way, unless there is a minimum, which shares a last digit with `above`.
 */

enum { AHEAD = 48 }; // rows of b (K,N) that are asked for before they are read

/*
 * Any type
 */

// Values at .. at + 32 of a row; `at` is a multiple of 32.
ALWAYS_INLINE void decode_2x16(__m512 out[2], enum dtype type, const char *row,
                               int64_t at)
{
    if (type == DTYPE_f32) {
        const float *x = (const float *) (const void *) row + at;
        out[0] = _mm512_loadu_ps(x);
        out[1] = _mm512_loadu_ps(x + 16);
    } else {
        v8 x[4];
        decode_32(x, type, row, at);
        memcpy(out, x, sizeof(x));
    }
}

// The same for n < 32 values of which the rest is zero, and with d added.
ALWAYS_INLINE void decode_sum(__m512 out[2], enum dtype type, const char *row,
                              int64_t at, int64_t n, const float *d)
{
    if (n == 32) {
        decode_2x16(out, type, row, at);
    } else {
        float x[32] = {0};
        decode_rest(x, type, row, at, n);
        memcpy(out, x, sizeof(x));
    }
    if (d) {
        out[0] += _mm512_maskz_loadu_ps(lanes(n), d);
        out[1] += _mm512_maskz_loadu_ps(lanes(n - 16), d + 16);
    }
}

// The pairs of 16 rows, the first `depth` values of each.
ALWAYS_INLINE void store_turned_pairs(pair *out, __m512i rows[16],
                                      int64_t depth)
{
    transpose_pairs(rows);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        if (2 * i < depth)
            store_pairs(out + i * PANEL_COLS, rows[i]);
}

/*
 * Whole numbers
 */

ALWAYS_INLINE bool is_numbers(enum dtype type)
{
    switch ((int) type) {
#define TYPE(name) case DTYPE_##name:
        CPU_ROWS8_TYPES(TYPE)
#undef TYPE
        return true;
    default:
        return false;
    }
}

// What a float stands for without its number, which has eight bits or fewer.
ALWAYS_INLINE float above(enum dtype type)
{
    return type == DTYPE_q8_0 ? 32768.0f : 128.0f;
}

// Sixteen floats of bytes without a sign: byte order[4 * i] of them for lane i.
ALWAYS_INLINE __m512 floats_of(enum dtype type, __m512i bytes, __m512i order)
{
    return (__m512) (type == DTYPE_q8_0
                         ? _mm512_mask_permutexvar_epi8(_mm512_set1_epi32(
                                                            0x47000000),
                                                        0x2222222222222222,
                                                        order, bytes)
                         : _mm512_mask_permutexvar_epi8(_mm512_set1_epi32(
                                                            0x43000000),
                                                        0x4444444444444444,
                                                        order, bytes));
}

ALWAYS_INLINE __m512i without_sign(enum dtype type, __m512i bytes)
{
    return type == DTYPE_q8_0 ? _mm512_xor_si512(bytes, _mm512_set1_epi8(-128))
                              : bytes;
}

// Values are x * scale + add for each lane of floats_of().
struct line {
    __m512 scale, add;
};

ALWAYS_INLINE struct line line_of(enum dtype type, __m512 scale, __m512 min)
{
    return (struct line){scale,
                         scale * -(above(type) + (float) zero_of(type)) - min};
}

ALWAYS_INLINE __m512 values_of(enum dtype type, __m512i bytes, __m512i order,
                               struct line l)
{
    return _mm512_fmadd_ps(floats_of(type, bytes, order), l.scale, l.add);
}

/*
 * Columns of op(b) are rows of b (N,K), 16 of them at a time
 */

// Lanes 8 * half .. 8 * half + 8 of x, each twice.
ALWAYS_INLINE __m512 twice(__m512 x, int half)
{
    const __m512i order =
        _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    return _mm512_permutexvar_ps(_mm512_add_epi32(order,
                                                  _mm512_set1_epi32(8 * half)),
                                 x);
}

// Where a piece of 16 rows is: of each four rows the first's block. So few
// addresses stay in registers.
struct rows {
    const char *four[4];
    int64_t bytes; // from row to row
};

// The halves `at` bytes behind the beginning of four rows' blocks. The first
// comes with what stands behind it: gcc 12 loads one alone by a mask register.
ALWAYS_INLINE __m128i halves_4(const char *p, int64_t bytes)
{
    __m128i x = _mm_loadu_si32(p);

#define HALF(i) *(const uint16_t *) (const void *) (p + (i) *bytes)
    x = _mm_insert_epi16(x, HALF(1), 1);
    x = _mm_insert_epi16(x, HALF(2), 2);
    return _mm_insert_epi16(x, HALF(3), 3);
#undef HALF
}

ALWAYS_INLINE __m512 halves_16(const struct rows *r, int64_t at)
{
    __m128i x[4];

#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        x[i] = halves_4(r->four[i] + at, r->bytes);
    return _mm512_cvtph_ps(_mm256_set_m128i(_mm_unpacklo_epi64(x[2], x[3]),
                                            _mm_unpacklo_epi64(x[0], x[1])));
}

// Of a block of 256 of 16 rows: scales of each 32 values, or each 16, minima of
// each 32.
struct scales {
    _Alignas(64) float scale[16][16], min[8][16];
};

ALWAYS_INLINE void store_turned(float out[8][16], int at, v8 rows[8])
{
    v8_transpose(rows);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        v8_store(out[i] + at, rows[i]);
}

ALWAYS_INLINE void load_scales(struct scales *s, enum dtype type,
                               const struct rows *r)
{
#pragma GCC unroll 2
    for (int at = 0; at < 16; at += 8) {
        v8 x[8], y[8];
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            const char *b = r->four[(at + i) / 4] + (at + i) % 4 * r->bytes;
            if (type != DTYPE_q6_k) {
                scales_6(&x[i], &y[i], b);
                continue;
            }
            scales_q6(&x[i], &y[i], (const void *) b);
        }
        store_turned(s->scale, at, x);
        store_turned(type == DTYPE_q6_k ? s->scale + 8 : s->min, at, y);
    }
}

// Of half a piece; lane i is row i.
ALWAYS_INLINE struct line rows_line(enum dtype type, const struct scales *s,
                                    const struct rows *r, uint32_t piece,
                                    int half)
{
    if (type == DTYPE_q6_k)
        return line_of(type, _mm512_load_ps(s->scale[2 * piece + half]),
                       _mm512_setzero_ps());
    if (is_large(type))
        return line_of(type, _mm512_load_ps(s->scale[piece]),
                       _mm512_load_ps(s->min[piece]));
    return line_of(type, halves_16(r, 0),
                   type == DTYPE_q4_1 || type == DTYPE_q5_1
                       ? -halves_16(r, 2)
                       : _mm512_setzero_ps());
}

// Of each four rows, numbers 4 * c .. 4 * c + 4 and 16 more in y[c], row by row
// in each half.
ALWAYS_INLINE void turn_four(__m256i y[4], const __m256i x[4])
{
    const __m256i a = _mm256_unpacklo_epi32(x[0], x[1]);
    const __m256i b = _mm256_unpacklo_epi32(x[2], x[3]);
    const __m256i c = _mm256_unpackhi_epi32(x[0], x[1]);
    const __m256i d = _mm256_unpackhi_epi32(x[2], x[3]);

    y[0] = _mm256_unpacklo_epi64(a, b);
    y[1] = _mm256_unpackhi_epi64(a, b);
    y[2] = _mm256_unpacklo_epi64(c, d);
    y[3] = _mm256_unpackhi_epi64(c, d);
}

// A piece of 16 rows.
ALWAYS_INLINE void pack_piece(pair *out, enum dtype type,
                              const struct scales *s, const struct rows *r,
                              uint32_t piece)
{
    // Of eight rows, the first two of the numbers that are side by side.
    const __m512i first =
        _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 4, 5, 8, 9, 12, 13, 32, 33,
                                             36, 37, 40, 41, 44, 45),
                           _mm512_set1_epi32(0x01010101));
    struct line lines[2][2];
    __m256i y[4][4];

#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        const struct line l = rows_line(type, s, r, piece, i);
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++)
            lines[i][half] =
                (struct line){twice(l.scale, half), twice(l.add, half)};
    }
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++) {
        __m256i x[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            const char *row = r->four[g] + i * r->bytes;
            x[i] = numbers_of(type, row, piece);
        }
        turn_four(y[g], x);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        __m512i rows[2];
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++)
            rows[half] =
                without_sign(type, _mm512_inserti64x4(_mm512_castsi256_si512(
                                                          y[2 * half][c]),
                                                      y[2 * half + 1][c], 1));
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) { // 16 numbers, or two, further on
            const __m512i order =
                _mm512_add_epi8(first, _mm512_set1_epi8(
                                           (char) (i / 2 * 16 + i % 2 * 2)));
            store_pairs(out + (i / 2 * 8 + 2 * c + i % 2) * PANEL_COLS,
                        round_32(values_of(type, rows[0], order,
                                           lines[i / 2][0]),
                                 values_of(type, rows[1], order,
                                           lines[i / 2][1])));
        }
    }
}

ALWAYS_INLINE void pack_numbers(pair *out, enum dtype type, const char *b,
                                int64_t row_bytes, int64_t k0, int64_t ks)
{
    const uint32_t pieces = is_large(type) ? 8 : 1; // of a block
    uint32_t piece = (uint32_t) (k0 / 32) % pieces;
    struct rows r = {.bytes = row_bytes};
    struct scales s;

#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        r.four[i] = b + bytes_before(type, k0 - 32 * piece) + 4 * i * row_bytes;
    for (int64_t q = 0; q < ks; q += 32, out += 16 * PANEL_COLS) {
        if (is_large(type) && (q == 0 || piece == 0))
            load_scales(&s, type, &r);
        pack_piece(out, type, &s, &r, piece);
        piece = (piece + 1) % pieces;
#pragma GCC unroll 4
        for (int i = 0; i < 4 && piece == 0; i++)
            r.four[i] += block_bytes_of(type);
    }
}

// The same of any type, of rows that may be fewer and of `depth` values.
ALWAYS_INLINE void pack_any(pair *out, const struct rounded_product *p,
                            enum dtype type, int64_t j, int64_t at,
                            int64_t depth)
{
    const int64_t row_bytes = (int64_t) dtype_row_bytes(type, p->k);
    const float *d = p->d ? p->d + j * p->k + at : NULL;
    __m512i r[16];

    for (int64_t i = 0; i < 16; i++) {
        __m512 x[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
        if (j + i < p->n)
            decode_sum(x, type, p->b + (j + i) * row_bytes, at, depth,
                       d ? d + i * p->k : NULL);
        r[i] = round_32(x[0], x[1]);
    }
    store_turned_pairs(out, r, depth);
}

// 32 values of 16 rows of a type that is no numbers.
ALWAYS_INLINE void pack_floats(pair *out, enum dtype type, const char *b,
                               int64_t row_bytes, int64_t at)
{
    __m512i r[16];

#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
        const char *row = b + i * row_bytes;
        __m512 x[2];
        __builtin_prefetch(row + 16 * row_bytes + bytes_before(type, at), 0, 2);
        decode_2x16(x, type, row, at);
        r[i] = round_32(x[0], x[1]);
    }
    store_turned_pairs(out, r, 32);
}

ALWAYS_INLINE void pack_rows(pair *out, const struct rounded_product *p,
                             enum dtype type, int64_t j, int64_t k0, int64_t ks)
{
    const int64_t row_bytes = (int64_t) dtype_row_bytes(type, p->k);
    const char *b = p->b + j * row_bytes;
    const bool is_whole = p->n - j >= 16 && !p->d;

    if (is_numbers(type) && is_whole) {
        pack_numbers(out, type, b, row_bytes, k0, ks);
        return;
    }
    for (int64_t q = 0; q < ks; q += 32, out += 16 * PANEL_COLS) {
        const int64_t depth = min(32, ks - q);
        if (is_whole && depth == 32)
            pack_floats(out, type, b, row_bytes, k0 + q);
        else
            pack_any(out, p, type, j, k0 + q, depth);
    }
}

/*
 * They are columns of b (K,N), 32 of them at a time, of two rows
 */

ALWAYS_INLINE __m512 by_turns(float even, float odd)
{
    const __m128 x = _mm_setr_ps(even, odd, 0, 0);
    return (__m512) _mm512_broadcastq_epi64((__m128i) x);
}

ALWAYS_INLINE void pack_two_numbers(pair *out, enum dtype type, const char *b,
                                    int64_t row_bytes, int64_t j)
{
    // Of eight columns, both rows'.
    const __m512i first =
        _mm512_mullo_epi32(_mm512_setr_epi32(0, 32, 1, 33, 2, 34, 3, 35, 4, 36,
                                             5, 37, 6, 38, 7, 39),
                           _mm512_set1_epi32(0x01010101));
    const struct piece even = piece_of(type, b, j);
    const struct piece odd = piece_of(type, b + row_bytes, j);
    const __m512i x =
        without_sign(type,
                     _mm512_inserti64x4(_mm512_castsi256_si512(
                                            numbers_of(type, b, j / 32)),
                                        numbers_of(type, b + row_bytes, j / 32),
                                        1));

#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        const struct line l =
            line_of(type, by_turns(even.scale[i], odd.scale[i]),
                    by_turns(even.min[i], odd.min[i]));
        const __m512i order =
            _mm512_add_epi8(first, _mm512_set1_epi8((char) (16 * i)));
        const __m512i next =
            _mm512_add_epi8(first, _mm512_set1_epi8((char) (16 * i + 8)));
        store_pairs(out + 16 * i, round_32(values_of(type, x, order, l),
                                           values_of(type, x, next, l)));
    }
}

// The same of any type, of columns that may be fewer; the second row may be
// missing.
ALWAYS_INLINE void pack_two_rows(pair *out, enum dtype type, const char *b,
                                 int64_t row_bytes, int64_t j, int64_t rows,
                                 int64_t cols, const float *d, int64_t ldd)
{
    __m512 x[2][2] = {{_mm512_setzero_ps(), _mm512_setzero_ps()},
                      {_mm512_setzero_ps(), _mm512_setzero_ps()}};

    for (int64_t i = 0; i < rows && cols > 0; i++)
        decode_sum(x[i], type, b + i * row_bytes, j, cols,
                   d ? d + i * ldd : NULL);
    store_pairs(out, round_pairs(x[0][0], x[1][0]));
    store_pairs(out + 16, round_pairs(x[0][1], x[1][1]));
}

ALWAYS_INLINE void pack_columns(pair *out, const struct rounded_product *p,
                                enum dtype type, int64_t j, int64_t k0,
                                int64_t ks)
{
    const int64_t row_bytes = (int64_t) dtype_row_bytes(type, p->n);
    const char *b = p->b + k0 * row_bytes;
    const char *ahead = b + AHEAD * row_bytes + bytes_before(type, j);

    for (int64_t q = 0; q < ks;
         q += 2, b += 2 * row_bytes, ahead += 2 * row_bytes) {
        const int64_t rows = min(2, ks - q);
        const float *d = p->d ? p->d + (k0 + q) * p->n : NULL;
        // Places so far apart that the machine does not see them coming.
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++)
#pragma GCC unroll 4
            for (int64_t at = 0; at < bytes_before(type, 64); at += 64)
                __builtin_prefetch(ahead + i * row_bytes + at, 0, 3);
#pragma GCC unroll 2
        for (int64_t at = j; at < j + PANEL_COLS; at += 32, out += 32) {
            const int64_t cols = min(32, p->n - at);
            if (cols < 32 || rows < 2 || d)
                pack_two_rows(out, type, b, row_bytes, at, rows, cols,
                              d ? d + at : NULL, p->n);
            else if (is_numbers(type))
                pack_two_numbers(out, type, b, row_bytes, at);
            else
                pack_two_rows(out, type, b, row_bytes, at, 2, 32, NULL, 0);
        }
    }
}

/*
 * Panels
 */

ALWAYS_INLINE void pack_b(pair *out, const struct rounded_product *p,
                          enum dtype type, int64_t j, int64_t k0, int64_t ks)
{
    for (int64_t g = 0; g < PANEL_COLS && p->trans_b; g += 16)
        pack_rows(out + g, p, type, j + g, k0, ks);
    if (!p->trans_b)
        pack_columns(out, p, type, j, k0, ks);
}

static void pack_low(pair *out, const struct rounded_product *p, int64_t j)
{
    const struct rounded_low *low = p->low;

    for (int64_t g = j; g < j + PANEL_COLS; g += 16, out += 16)
        for (int64_t at = 0; at < low->rank; at += 32) {
            const int64_t n = min(32, low->rank - at);
            __m512i r[16];
            for (int i = 0; i < 16; i++) {
                const int64_t from = (g + i) * low->rank + at;
                r[i] = _mm512_setzero_si512();
                if (g + i >= p->n)
                    continue;
                if (low->type == DTYPE_bf16) {
                    r[i] = _mm512_maskz_loadu_epi16(lanes_32(n),
                                                    (const uint16_t *) low->q +
                                                        from);
                    continue;
                }
                const float *q = (const float *) low->q + from;
                r[i] = round_32(_mm512_maskz_loadu_ps(lanes(n), q),
                                _mm512_maskz_loadu_ps(lanes(n - 16), q + 16));
            }
            store_turned_pairs(out + at / 2 * PANEL_COLS, r, n);
        }
}

void panel_pack(pair *out, const struct rounded_product *p, int64_t j,
                int64_t k0, int64_t ks)
{
    switch (p->b_type) {
#define WEIGHT(name, gguf, block, bytes)         \
    case DTYPE_##name:                           \
        pack_b(out, p, DTYPE_##name, j, k0, ks); \
        break;
#include "engine/tensor/dtypes.def"
    case DTYPE_i32:
    case DTYPE_COUNT:
        break;
    }
    if (p->low && k0 + ks == p->k)
        pack_low(out + (ks + 1) / 2 * PANEL_COLS, p, j);
}
