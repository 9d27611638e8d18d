// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Sums of products, along rows and down columns, for *_vec.c files
 */

#include "engine/cpu/split.h"
#include "engine/cpu/vec.h"

enum { SUM_CHAINS = 4 };

// The sum of a b, or of a b c, over as many of n values as fill `chains`
// registers at a time: sums side by side, which hide the latency of one
// addition. *done says how many that are; the others are left to the caller.
ALWAYS_INLINE float sum_products(int64_t *done, const float *a, const float *b,
                                 const float *c, int64_t n, int chains)
{
    vec acc[SUM_CHAINS] = {{0}};
    int64_t i = 0;

    for (; i + chains * LANES <= n; i += chains * LANES)
#pragma GCC unroll 4
        for (int j = 0; j < chains; j++) {
            vec v = vec_load(a + i + j * LANES) * vec_load(b + i + j * LANES);
            if (c)
                v *= vec_load(c + i + j * LANES);
            acc[j] += v;
        }
    *done = i;
#pragma GCC unroll 2
    for (int step = 1; step < chains; step *= 2)
#pragma GCC unroll 4
        for (int j = 0; j < chains; j += 2 * step)
            acc[j] += acc[j + step];
    return vec_sum(acc[0]);
}

/*
 * Down columns: short sums in floats, which are added up in doubles, as the
 * plain versions do for each product.
 */

enum {
    SUM_COLUMNS = 64, // of a task
    SUM_ROWS = 32,    // of a short sum
};

// y (C) = sum over rows of a (T,C) * b (T,C) * r (T); r may be NULL: ones.
struct column_sums {
    float *y;
    const float *a, *b, *r;
    int64_t rows, cols;
};

static void __attribute__((unused))
column_sums_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct column_sums *s = ctx;
    const int64_t first = (int64_t) task * SUM_COLUMNS;
    const int64_t n = split_end(s->cols, SUM_COLUMNS, task) - first;
    double total[SUM_COLUMNS] = {0};

    for (int64_t t = 0; t < s->rows;) {
        const int64_t end = t + SUM_ROWS < s->rows ? t + SUM_ROWS : s->rows;
        float sum[SUM_COLUMNS] = {0};
        for (; t < end; t++) {
            const float *a = s->a + t * s->cols + first;
            const float *b = s->b + t * s->cols + first;
            const float r = s->r ? s->r[t] : 1.0f;
            for (int64_t i = 0; i < n; i++)
                sum[i] += a[i] * b[i] * r;
        }
        for (int64_t i = 0; i < n; i++)
            total[i] += sum[i];
    }
    for (int64_t i = 0; i < n; i++)
        s->y[first + i] = (float) total[i];
}
