// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/check/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// Kernels of what is kept of inputs for gradients.

static const struct {
    int64_t rows, groups, size;
} shapes[] = {{1, 1, 1},  {3, 2, 5},    {7, 4, 16},
              {5, 3, 37}, {70, 32, 12}, {2, 1, 20000}};

enum { SHAPES = sizeof(shapes) / sizeof(shapes[0]) };

// The bytes of a plain product, with and without a summand, which may be y.
int check_matmul_kept(KERNEL_matmul_kept((*ref)), KERNEL_matmul_kept((*fn)),
                      const char *isa, bool bench)
{
    const int64_t m = 5, n = 7, k = 33;
    const float *a = check_random(m * k, 1.0f);
    const float *b = check_random(n * k, 1.0f);
    const float *c = check_random(m * n, 1.0f);
    const struct instr in = {
        .op = OP_matmul_kept,
        .in = {check_operand(DTYPE_f32, m, k), check_operand(DTYPE_f32, n, k)},
        .out = {check_operand(DTYPE_f32, m, n)},
    };
    bool ok = true;

    for (int i = 0; i < 3; i++) {
        float *want = check_room(m * n);
        float *y = i == 2 ? check_copy(c, m * n) : check_room(m * n);
        const float *sum = i == 0 ? NULL : i == 1 ? c : y;
        matmul_c(want, a, b, DTYPE_f32, i ? c : NULL, m, n, k, false, true,
                 0.5f, check_scratch(&in), NULL);
        fn(y, a, b, DTYPE_f32, sum, m, n, k, 0.5f, check_scratch(&in), NULL);
        ok &= check_same(want, y, m * n, "matmul_kept_%s", isa);
    }
    (void) ref;
    (void) bench;
    return !ok;
}

// From nothing, a mean of length 1; from something, that.
int check_subtoken_mean(KERNEL_subtoken_mean((*ref)),
                        KERNEL_subtoken_mean((*fn)), const char *isa,
                        bool bench)
{
    bool ok = true;

    for (int s = 0; s < SHAPES; s++) {
        const int64_t size = shapes[s].size;
        const int64_t cols = shapes[s].groups * size;
        const int64_t rows = shapes[s].rows;
        const float *x = check_random(rows * cols, 1.0f);
        const struct instr in = {
            .op = OP_subtoken_mean,
            .in = {check_operand(DTYPE_f32, rows, cols),
                   check_operand(DTYPE_f32, 1, size)},
        };
        float *want = check_room(size);
        float *v = check_room(size);
        double square = 0;
        for (int64_t i = 0; i < size; i++) {
            double sum = 0;
            for (int64_t at = i; at < rows * cols; at += size)
                sum += (double) x[at];
            want[i] = (float) sum;
            square += sum * sum;
        }
        for (int64_t i = 0; i < size; i++)
            want[i] = (float) ((double) want[i] / sqrt(square));
        memset(v, 0, (size_t) size * sizeof(*v));
        fn(v, x, rows, cols, size, check_scratch(&in), NULL);
        ok &= check_close(want, v, size, 1.0f, 1e-6f, "subtoken_mean_%s", isa);
        const float *kept = check_copy(v, size);
        fn(v, check_random(rows * cols, 2.0f), rows, cols, size,
           check_scratch(&in), NULL);
        ok &= check_same(kept, v, size, "subtoken_mean_%s again", isa);
        float *zeros = check_room(rows * cols);
        memset(zeros, 0, (size_t) (rows * cols) * sizeof(*zeros));
        memset(v, 0, (size_t) size * sizeof(*v));
        fn(v, zeros, rows, cols, size, check_scratch(&in), NULL);
        for (int64_t i = 0; i < size; i++)
            ok &= fabs(v[i] * sqrt((double) size) - 1) < 1e-6;
    }
    (void) ref;
    (void) bench;
    return !ok;
}

int check_subtoken_dot(KERNEL_subtoken_dot((*ref)), KERNEL_subtoken_dot((*fn)),
                       const char *isa, bool bench)
{
    bool ok = true;

    for (int s = 0; s < SHAPES; s++) {
        const int64_t rows = shapes[s].rows;
        const int64_t size = shapes[s].size;
        const int64_t cols = shapes[s].groups * size;
        const int64_t n = rows * shapes[s].groups;
        const float *x = check_random(rows * cols, 1.0f);
        const float *v = check_random(size, 1.0f);
        float *want = check_room(n);
        ref(want, x, v, rows, cols, size, 0.25f, NULL);
        for (int i = 0; i < CHECK_POOLS; i++) {
            float *z = check_room(n);
            fn(z, x, v, rows, cols, size, 0.25f, check_pools[i]);
            ok &= check_close(want, z, n, sqrtf((float) size), 2e-6f,
                              "subtoken_dot_%s", isa);
        }
    }
    if (bench) {
        const float *x = check_random(256 * 384, 1.0f);
        float *z = check_room(256 * 32);
        char name[64];
        snprintf(name, sizeof(name), "subtoken_dot_%s", isa);
        CHECK_BENCH(name, 2 * 256 * 384, 4 * 256 * 384,
                    fn(z, x, x, 256, 384, 12, 1, NULL));
    }
    return !ok;
}

int check_subtoken_spread(KERNEL_subtoken_spread((*ref)),
                          KERNEL_subtoken_spread((*fn)), const char *isa,
                          bool bench)
{
    bool ok = true;

    for (int s = 0; s < SHAPES; s++) {
        const int64_t rows = shapes[s].rows;
        const int64_t size = shapes[s].size;
        const int64_t cols = shapes[s].groups * size;
        const float *z = check_random(rows * shapes[s].groups, 1.0f);
        const float *v = check_random(size, 1.0f);
        float *want = check_room(rows * cols);
        for (int64_t i = 0; i < rows * cols; i++)
            want[i] = z[i / size] * v[i % size];
        for (int i = 0; i < CHECK_POOLS; i++) {
            float *y = check_room(rows * cols);
            fn(y, z, v, rows, cols, size, check_pools[i]);
            ok &= check_same(want, y, rows * cols, "subtoken_spread_%s", isa);
        }
    }
    (void) ref;
    (void) bench;
    return !ok;
}
