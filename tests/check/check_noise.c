// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/check/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// Learning without gradients. Noise is the same to the last bit everywhere.

enum { COPIES = 5 };
static const int32_t queries[COPIES] = {3, 3, 0, 65535, 3};
static const float sizes[COPIES] = {1e-2f, -1e-2f, 0.0f, 0.3f, 1.0f};
static const int64_t counts[] = {1, 3, 64, 127, 129, 2048, 2049, 24576, 40001};

enum { COUNTS = sizeof(counts) / sizeof(counts[0]) };

static struct cpu_noise noise_of(int kind, const int32_t *draw,
                                 const float *limit)
{
    return (struct cpu_noise){draw, 7, (enum noise) kind, limit};
}

int check_perturb(KERNEL_perturb((*ref)), KERNEL_perturb((*fn)),
                  const char *isa, bool bench)
{
    static const int32_t draw[4] = {-5, 9, 1234567, 2};
    static const float half = 0.5f;
    bool ok = true;

    for (int c = 0; c < 4 * COUNTS; c++) {
        const int64_t n = counts[c / 4];
        const struct cpu_noise noise =
            noise_of(c & 1, draw, c & 2 ? &half : NULL);
        const float *x = check_random(n, 1.0f);
        float *want = check_room(COPIES * n);
        ref(want, x, noise, queries, sizes, COPIES, n, NULL);
        for (int64_t i = 0; i < n; i++)
            ok &= want[2 * n + i] == x[i];
        for (int i = 0; i < CHECK_POOLS; i++) {
            float *y = check_room(COPIES * n);
            fn(y, x, noise, queries, sizes, COPIES, n, check_pools[i]);
            ok &= check_same(want, y, COPIES * n, "perturb_%s n=%lld", isa,
                             (long long) n);
        }
    }
    for (int kind = 0; kind < NOISE_KINDS && bench; kind++) {
        const int64_t n = 24576; // (3072, 8)
        const float *x = check_random(n, 1.0f);
        float *y = check_room(2 * n);
        char name[64];
        snprintf(name, sizeof(name), "perturb_%s %s", isa,
                 kind ? "rademacher" : "gaussian");
        CHECK_BENCH(name, 2 * n, 12 * n,
                    fn(y, x, noise_of(kind, draw, NULL), queries, sizes, 2, n,
                       NULL));
    }
    return !ok;
}

int check_noise_sum(KERNEL_noise_sum((*ref)), KERNEL_noise_sum((*fn)),
                    const char *isa, bool bench)
{
    static const int32_t draw[4] = {1, 0, 0, 0};
    static const float half = 0.5f;
    bool ok = true;

    for (int c = 0; c < 4 * COUNTS; c++) {
        const int64_t n = counts[c / 4];
        const struct cpu_noise noise =
            noise_of(c & 1, draw, c & 2 ? &half : NULL);
        const float *x = check_random(n, 1.0f);
        float *want = check_room(n);
        ref(want, x, noise, queries, sizes, COPIES, n, NULL);
        for (int64_t i = 0; i < n && c & 2; i++)
            ok &= fabsf(x[i]) <= half || want[i] == 0.0f;
        for (int i = 0; i < CHECK_POOLS; i++) {
            float *g = check_room(n);
            fn(g, x, noise, queries, sizes, COPIES, n, check_pools[i]);
            ok &= check_same(want, g, n, "noise_sum_%s n=%lld", isa,
                             (long long) n);
        }
    }
    (void) bench;
    return !ok;
}

int check_matmul_copies(KERNEL_matmul_copies((*ref)),
                        KERNEL_matmul_copies((*fn)), const char *isa,
                        bool bench)
{
    static const struct {
        int64_t copies, m, n, k;
    } cases[] = {{1, 1, 1, 1},    {3, 5, 7, 3},   {16, 4, 200, 8},
                 {2, 33, 300, 8}, {4, 9, 31, 64}, {3, 7, 8, 96},
                 {2, 40, 50, 65}};
    bool ok = true;

    for (size_t c = 0; c < 3 * sizeof(cases) / sizeof(cases[0]); c++) {
        const int64_t copies = cases[c / 3].copies;
        const int64_t m = cases[c / 3].m;
        const int64_t n = cases[c / 3].n;
        const int64_t k = cases[c / 3].k;
        const int64_t count = copies * m * n;
        const int addend = (int) (c % 3); // 0: none, 1: c, 2: y itself
        struct instr in = {.op = OP_matmul_copies, .n_in = 2, .n_out = 1};
        in.attr.copies = (uint32_t) copies;
        in.in[0] = check_operand(DTYPE_f32, copies * m, k);
        in.in[1] = check_operand(DTYPE_f32, copies * n, k);
        in.out[0] = check_operand(DTYPE_f32, copies * m, n);
        const float *a = check_random(copies * m * k, 1.0f);
        const float *b = check_random(copies * n * k, 1.0f);
        const float *add = check_random(count, 1.0f);
        float *want = check_room(count);
        float *first = NULL;
        ref(want, a, b, addend ? add : NULL, copies, m, n, k, 0.75f,
            PRECISION_F32, check_scratch(&in), NULL);
        for (int i = 0; i < CHECK_POOLS; i++) {
            float *y = addend == 2 ? check_copy(add, count) : check_room(count);
            fn(y, a, b,
               addend == 2 ? y
               : addend    ? add
                           : NULL,
               copies, m, n, k, 0.75f, PRECISION_F32, check_scratch(&in),
               check_pools[i]);
            first = first ? first : y;
            ok &= check_close(want, y, count, sqrtf((float) k), 2e-6f,
                              "matmul_copies_%s case %d", isa, (int) c);
            ok &= check_same(first, y, count, "matmul_copies_%s", isa);
        }
    }
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

int check_momentum(KERNEL_momentum((*ref)), KERNEL_momentum((*fn)),
                   const char *isa, bool bench)
{
    const float hyper[ADAMW_HYPERS] =
        {[ADAMW_LR] = 0.5f, [ADAMW_BETA1] = 0.75f, [ADAMW_DECAY] = 0.25f};
    const float *p0 = check_random(40001, 1.0f);
    const float *m0 = check_random(40001, 1.0f);
    const float *g = check_random(40001, 1.0f);
    bool ok = true;

    for (int i = 0; i < CHECK_POOLS; i++) {
        float *p = check_copy(p0, 40001), *m = check_copy(m0, 40001);
        fn(p, m, g, hyper, 40001, check_pools[i]);
        for (int j = 0; j < 40001; j++) {
            const double want_m = 0.75 * m0[j] + g[j];
            const double want_p = p0[j] - 0.5 * (want_m + 0.25 * p0[j]);
            ok &= fabs(m[j] - want_m) < 1e-6 && fabs(p[j] - want_p) < 1e-6;
        }
    }
    if (!ok)
        printf("momentum_%s is wrong\n", isa);
    (void) ref;
    (void) bench;
    return !ok;
}
