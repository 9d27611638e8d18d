// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/matmul_vec.h"

KERNEL_matmul(VEC_NAME(matmul))
{
    const struct cpu_matmul_plan plan =
        cpu_matmul_plan(m, n, k, trans_a, trans_b, b_type);
    struct product pr = {
        .y = y,
        .a = a,
        .b = b,
        .c = c,
        .b_type = b_type,
        .m = m,
        .n = n,
        .k = k,
        .trans_a = trans_a,
        .trans_b = trans_b,
        .is_a_packed = plan.is_a_packed,
        .alpha = alpha,
        .pa = scratch,
        .pb = scratch ? (float *) scratch + plan.a_floats : NULL,
    };

    switch (plan.path) {
    case CPU_MATMUL_TILES:
        VEC_NAME(matmul_tiles)(&pr, &plan, pool);
        break;
    case CPU_MATMUL_GEMV:
        VEC_NAME(matmul_gemv)(&pr, pool);
        break;
    case CPU_MATMUL_DOTS:
        VEC_NAME(matmul_dots)(&pr, pool);
        break;
    case CPU_MATMUL_OUTER:
        VEC_NAME(matmul_outer)(&pr, pool);
        break;
    }
}
