// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/matmul_vec.h"
#include "engine/cpu/matmul_rows8.h"

static void run(struct product *pr, const struct cpu_matmul_plan *plan,
                float *scratch, struct pool *pool)
{
    pr->is_a_packed = plan->is_a_packed;
    pr->pa = scratch;
    pr->pb = scratch ? scratch + plan->a_floats : NULL;
    switch (plan->path) {
    case CPU_MATMUL_TILES:
        VEC_NAME(matmul_tiles)(pr, plan, pool);
        break;
    case CPU_MATMUL_GEMV:
        VEC_NAME(matmul_gemv)(pr, pool);
        break;
    case CPU_MATMUL_DOTS:
        VEC_NAME(matmul_dots)(pr, pool);
        break;
    case CPU_MATMUL_OUTER:
        VEC_NAME(matmul_outer)(pr, pool);
        break;
    }
}

KERNEL_matmul(VEC_NAME(matmul))
{
#if defined(__AVX2__)
    if (cpu_rounds_rows(precision, m, k, trans_a, trans_b, b_type)) {
        const struct rows8_product p = {y, a, b, b_type, c,
                                        m, n, k, alpha,  NULL};
        VEC_NAME(matmul_rows8)(&p, scratch, pool);
        return;
    }
#endif
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
        .alpha = alpha,
    };
    run(&pr, &plan, scratch, pool);
}

// What is not made of tiles is small: two products.
KERNEL_matmul_delta(VEC_NAME(matmul_delta))
{
    const struct cpu_matmul_plan plan =
        cpu_matmul_plan(m, n, k, false, trans_b, b_type);
    struct product pr = {
        .y = y,
        .a = a,
        .b = b,
        .c = c,
        .b_type = b_type,
        .m = m,
        .n = n,
        .k = k,
        .trans_b = trans_b,
        .alpha = alpha,
        .d = plan.path == CPU_MATMUL_TILES ? d : NULL,
    };
    run(&pr, &plan, scratch, pool);
    if (!pr.d)
        MATMUL(y, a, d, DTYPE_f32, y, m, n, k, false, trans_b, alpha, precision,
               scratch, pool);
}

// Rounded to eight bits one product, else three.
KERNEL_matmul_lora(VEC_NAME(matmul_lora))
{
    const struct cpu_lora_plan plan =
        cpu_lora_plan(m, n, k, rank, b_type, low_type, precision);
    float *z = scratch;
    float *rest = z + plan.z_floats;

#if defined(__AVX2__)
    if (cpu_rounds_rows(precision, m, k, false, true, b_type)) {
        const struct rows8_low low = {p, q, low_type, rank, plan.ld, alpha, z};
        const struct rows8_product r = {y, a, b, b_type, c, m, n, k, 1, &low};
        VEC_NAME(matmul_rows8)(&r, rest, pool);
        return;
    }
#endif
    MATMUL(z, a, p, low_type, NULL, m, rank, k, false, true, 1.0f,
           PRECISION_F32, rest, pool);
    MATMUL(y, a, b, b_type, c, m, n, k, false, true, 1.0f, PRECISION_F32, rest,
           pool);
    MATMUL(y, z, q, low_type, y, m, n, rank, false, true, alpha, PRECISION_F32,
           rest, pool);
}
