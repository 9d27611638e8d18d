// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Products of few rows that are rounded to eight bits, see cpu_rounds_rows()
 */

#include "engine/cpu/cpu_kernels.h"

// alpha * (a p^T) q^T, p (R,K) and q (N,R) both f32 or both bf16
struct rows8_low {
    const void *p, *q;
    enum dtype type;
    int64_t rank;
    int64_t ld; // between rows of z: the rank, up to a multiple of 8
    float alpha;
    float *z; // (M,ld), room
};

// y (M,N) = alpha * round(a) (M,K) b^T + c; b (N,K), M small.
struct rows8_product {
    float *y;
    const float *a;
    const char *b;
    enum dtype b_type;
    const float *c; // or NULL
    int64_t m, n, k;
    float alpha;
    const struct rows8_low *low; // is added to it; or NULL
};

// `scratch` of M * K floats. matmul_rows8_one: M is 1. On Arm one does for all
// M.
#define MATMUL_ROWS8(name)                                           \
    void name(const struct rows8_product *p, void *restrict scratch, \
              struct pool *pool)

#ifdef CPU_HAVE_NEONDOT
MATMUL_ROWS8(matmul_rows8_neondot);
#endif
#ifdef CPU_HAVE_AVX2
MATMUL_ROWS8(matmul_rows8_one_avx2);
MATMUL_ROWS8(matmul_rows8_avx2);
#endif
#ifdef CPU_HAVE_AVX512
MATMUL_ROWS8(matmul_rows8_one_avx512);
MATMUL_ROWS8(matmul_rows8_avx512);
#endif
#ifdef CPU_HAVE_AVX512BF16
MATMUL_ROWS8(matmul_rows8_one_avx512bf16);
MATMUL_ROWS8(matmul_rows8_avx512bf16);
#endif
