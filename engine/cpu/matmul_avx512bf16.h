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
};

// `scratch` has cpu_rounded_floats() floats.
void matmul_rounded(const struct rounded_product *p, void *scratch,
                    struct pool *pool);
