// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Products of rounded operands, whatever their shape
 */

#include "engine/cpu/cpu_kernels.h"

// alpha * (a p^T) q^T, p (R,K) and q (N,R) both f32 or both bf16
struct rounded_low {
    const void *p, *q;
    enum dtype type;
    int64_t rank;
    float alpha;
    uint32_t *pairs; // of p: cpu_lora_plan().p_floats of them, room
};

// y (M,N) = alpha * op(a) (M,K) (op(b) + op(d)) (K,N) + c, see cpu_kernels.h.
// d and c may be NULL, c may be y.
struct rounded_product {
    float *y;
    const float *a;
    const char *b;
    const float *d, *c;
    enum dtype b_type;
    int64_t m, n, k;
    bool trans_a, trans_b;
    float alpha;
    int64_t ldy; // 0: n. Not with c
    // Rows of pairs of bf16 in place of a, lda apart, with zeros up to a
    // multiple of 32 values; or NULL. On Arm two rows by turns, four values of
    // each, with zeros up to a multiple of 8.
    const uint32_t *pairs;
    int64_t lda;
    // What alpha, trans_b and rows that are no pairs may have added, or NULL.
    const struct rounded_low *low;
};

// `scratch` has cpu_rounded_floats() floats; none for pairs.
void matmul_rounded(const struct rounded_product *p, void *scratch,
                    struct pool *pool);
