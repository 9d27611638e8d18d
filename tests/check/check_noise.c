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
