// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Products of rounded operands, whatever their shape
 */

#include "engine/cpu/cpu_kernels.h"

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
    // multiple of 32 values; or NULL.
    const uint32_t *pairs;
    int64_t lda;
};

// `scratch` has cpu_rounded_floats() floats; none for pairs.
void matmul_rounded(const struct rounded_product *p, void *scratch,
                    struct pool *pool);
