// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Quantised rows
 *
 * The definition of every storage type: a row of floats to bytes and back, in
 * plain C. Kernels are tested against it, and must decode to the same bits.
 */

#include "engine/tensor/dtype.h"

#include <stdint.h>

// Blocks of 32 values, as in GGUF. d is binary16.
struct quant_q8_0 {
    uint16_t d;
    int8_t q[32]; // x = d * q
};

struct quant_q4_0 {
    uint16_t d;
    // Low nibbles are values 0 to 15, high ones 16 to 31; x = d * (q - 8).
    uint8_t q[16];
};

// `n` values, whole blocks. Not for i32. `dst` of dtype_row_bytes() bytes;
// both sides aligned for their type.
void quant_encode(enum dtype type, void *dst, const float *src, int64_t n);
void quant_decode(enum dtype type, float *dst, const void *src, int64_t n);
