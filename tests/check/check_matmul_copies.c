// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/check/check.h"

#include <math.h>
#include <stdio.h>

static const struct copies_case {
    int64_t copies, m, n, k;
    enum precision precision;
} cases[] = {
    {1, 1, 1, 1, PRECISION_F32},     {3, 5, 7, 3, PRECISION_F32},
    {16, 4, 200, 8, PRECISION_F32},  {2, 33, 300, 8, PRECISION_F32},
    {4, 9, 31, 64, PRECISION_F32},   {3, 7, 8, 96, PRECISION_F32},
    {2, 40, 50, 65, PRECISION_F32},  {2, 33, 300, 8, PRECISION_BF16},
    {3, 20, 40, 24, PRECISION_BF16}, {2, 17, 33, 130, PRECISION_BF16},
};

static bool check_case(KERNEL_matmul_copies((*ref)),
                       KERNEL_matmul_copies((*fn)), const char *isa,
                       const struct copies_case *p, int addend)
{
    const int64_t m = p->m, n = p->n, k = p->k;
    const int64_t count = p->copies * m * n;
    struct instr in = {.op = OP_matmul_copies, .n_in = 2, .n_out = 1};
    in.attr.copies = (uint32_t) p->copies;
    in.attr.precision = (uint8_t) p->precision;
    in.in[0] = check_operand(DTYPE_f32, p->copies * m, k);
    in.in[1] = check_operand(DTYPE_f32, p->copies * n, k);
    in.out[0] = check_operand(DTYPE_f32, p->copies * m, n);
    const float *a = check_random(p->copies * m * k, 1.0f);
    const float *b = check_random(p->copies * n * k, 1.0f);
    const float *add = check_random(count, 1.0f);
    float *want = check_room(count);
    float *first = NULL;
    bool ok = true;

    ref(want, a, b, addend ? add : NULL, p->copies, m, n, k, 0.75f,
        check_precision(isa, p->precision), check_scratch(&in), NULL);
    for (int i = 0; i < CHECK_POOLS; i++) {
        float *y = addend == 2 ? check_copy(add, count) : check_room(count);
        const float *c = addend == 2 ? y : addend ? add : NULL;
        fn(y, a, b, c, p->copies, m, n, k, 0.75f, p->precision,
           check_scratch(&in), check_pools[i]);
        first = first ? first : y;
        ok &= check_close(want, y, count, sqrtf((float) k), 2e-6f,
                          "matmul_copies_%s %lld x %lldx%lldx%lld", isa,
                          (long long) p->copies, (long long) m, (long long) n,
                          (long long) k);
        ok &= check_same(first, y, count, "matmul_copies_%s", isa);
    }
    return check_end("matmul_copies") && ok;
}

// Each case with nothing to add, with c, and with y itself.
int check_matmul_copies(KERNEL_matmul_copies((*ref)),
                        KERNEL_matmul_copies((*fn)), const char *isa,
                        bool bench)
{
    bool ok = true;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (int addend = 0; addend < 3; addend++)
            ok &= check_case(ref, fn, isa, &cases[i], addend);
    if (bench) {
        const float *a = check_random(16 * 16 * 8, 1.0f);
        const float *b = check_random(16 * 3072 * 8, 1.0f);
        float *y = check_random(16 * 16 * 3072, 1.0f);
        char name[64];
        snprintf(name, sizeof(name), "matmul_copies_%s", isa);
        CHECK_BENCH(name, 2 * 16 * 16 * 8 * 3072,
                    4 * (2 * 16 * 16 * 3072 + 16 * 3072 * 8),
                    fn(y, a, b, y, 16, 16, 3072, 8, 1.0f, PRECISION_F32, NULL,
                       NULL));
    }
    return !ok;
}
