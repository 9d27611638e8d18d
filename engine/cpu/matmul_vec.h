// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * The paths of a product, for matmul_*_vec.c files
 *
 * y (M,N) = alpha * op(a) (M,K) op(b) (K,N) + c (M,N). cpu_matmul_plan() says
 * which path a shape takes; each has a file. Only tiles know of d.
 */

#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/decode.h"
#include "engine/cpu/ints.h"

struct product {
    float *y;
    const float *a;
    const char *b;
    const float *c; // or NULL
    enum dtype b_type;
    int64_t m, n, k;
    bool trans_a, trans_b, is_a_packed;
    float alpha;
    const float *d; // (K,N) as b is stored, added to b; or NULL
    float *pa, *pb; // packed parts
    // Of tiles: the part at hand: rows m0 .. m0 + ms, and so on.
    int64_t m0, ms, n0, ns, k0, ks;
    uint32_t a_tasks; // of the packing step, before those of b
};

void VEC_NAME(matmul_tiles)(struct product *pr,
                            const struct cpu_matmul_plan *plan,
                            struct pool *pool);
void VEC_NAME(matmul_gemv)(struct product *pr, struct pool *pool);
void VEC_NAME(matmul_dots)(struct product *pr, struct pool *pool);
void VEC_NAME(matmul_outer)(struct product *pr, struct pool *pool);
