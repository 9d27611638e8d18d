// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Quantised rows
 *
 * The definition of every storage type: a row of floats to bytes and back, in
 * plain C. Kernels are tested against it, and must decode to the same bits:
 * each value is rounded once, because scales times numbers fit into a float.
 */

#include "engine/tensor/dtype.h"

#include <stdint.h>

// d and m are binary16. Blocks of 32 values: in those of 4 or 5 bits, low
// nibbles are values 0 to 15 and high ones 16 to 31; `high` has the fifth bit
// of value i in bit i.
struct quant_q8_0 {
    uint16_t d;
    int8_t q[32]; // x = d * q
};

struct quant_q4_0 {
    uint16_t d;
    uint8_t q[16]; // x = d * (q - 8)
};

struct quant_q4_1 {
    uint16_t d, m;
    uint8_t q[16]; // x = d * q + m
};

struct quant_q5_0 {
    uint16_t d;
    uint8_t high[4];
    uint8_t q[16]; // x = d * (q - 16)
};

struct quant_q5_1 {
    uint16_t d, m;
    uint8_t high[4];
    uint8_t q[16]; // x = d * q + m
};

struct quant_iq4_nl {
    uint16_t d;
    uint8_t q[16]; // x = d * quant_iq4_table[q]
};

extern const int8_t quant_iq4_table[16];

/*
 * Blocks of 256 values: pieces of 32 with one scale, or groups of 16. Numbers
 * of a piece lie in the same bits of 32 bytes:
 *
 *     q4_k, q5_k   bytes 32 * (piece / 2), nibble piece % 2
 *     q2_k, q3_k   bytes 32 * (piece / 4), bits 2 * (piece % 4)
 *     q6_k         bytes 64 * (piece / 4) + 32 * (piece % 2), nibble
 *                  piece % 4 / 2; fifth and sixth bit as in q2_k, in `high`
 */
struct quant_q2_k {
    uint8_t scales[16]; // s in the low nibble, t in the high one
    uint8_t q[64];      // x = d * s * q - m * t
    uint16_t d, m;
};

struct quant_q3_k {
    uint8_t high[32];   // bit piece of byte i: the third bit of value i
    uint8_t q[64];      // x = d * (s - 32) * (q - 4)
    uint8_t scales[12]; // low nibbles of all s, then their high pairs of bits
    uint16_t d;
};

struct quant_q4_k {
    uint16_t d, m;
    uint8_t scales[12]; // quant_scales_6()
    uint8_t q[128];     // x = d * s * q - m * t
};

struct quant_q5_k {
    uint16_t d, m;
    uint8_t scales[12];
    uint8_t high[32]; // bit piece of byte i: the fifth bit of value i
    uint8_t q[128];   // x = d * s * q - m * t
};

struct quant_q6_k {
    uint8_t q[128]; // x = d * scale * (q - 32)
    uint8_t high[64];
    int8_t scales[16];
    uint16_t d;
};

enum { QUANT_BLOCK_MAX = 256 };

// The scale and the minimum of piece `j` of q4_k and q5_k: six bits each.
static inline void quant_scales_6(uint8_t *s, uint8_t *t,
                                  const uint8_t scales[12], int64_t j)
{
    if (j < 4) {
        *s = scales[j] & 63;
        *t = scales[j + 4] & 63;
    } else {
        *s = (uint8_t) ((scales[j + 4] & 15) | (scales[j - 4] >> 6 << 4));
        *t = (uint8_t) (scales[j + 4] >> 4 | (scales[j] >> 6 << 4));
    }
}

// The scale of group `j` of 16 of q3_k: six bits, 32 is none.
static inline int quant_scale_q3(const uint8_t scales[12], int64_t j)
{
    const int low = scales[j % 8] >> (j / 8 * 4) & 15;
    const int high = scales[8 + j % 4] >> (j / 4 * 2) & 3;
    return (low | high << 4) - 32;
}

// `n` values, whole blocks. Not for i32. `dst` of dtype_row_bytes() bytes;
// both sides aligned for their type. What is not finite makes its own block
// meaningless, and no other.
void quant_encode(enum dtype type, void *dst, const float *src, int64_t n);
void quant_decode(enum dtype type, float *dst, const void *src, int64_t n);
// Values at .. at + n of a row, wherever its blocks begin.
void quant_decode_part(enum dtype type, float *dst, const void *row, int64_t at,
                       int64_t n);
