// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/decode.h"
#include "engine/cpu/split.h"
#include "engine/cpu/sums.h"

#include <math.h>

struct columns {
    float *y;
    const float *a;
    const float *b;
    int64_t rows, cols;
};

static void scale_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct columns *s = ctx;
    const int64_t unit = split_rows(s->cols);
    const int64_t end = split_end(s->rows, unit, task);

    for (int64_t t = task * unit; t < end; t++) {
        const float *x = s->a + t * s->cols;
        float *y = s->y + t * s->cols; // may be x
        for (int64_t i = 0; i < s->cols; i++)
            y[i] = x[i] * s->b[i];
    }
}

KERNEL_scale_columns(VEC_NAME(scale_columns))
{
    struct columns s = {.y = y, .a = x, .b = w, .rows = rows, .cols = cols};
    pool_run(pool, split_tasks(rows, split_rows(cols)), scale_task, &s);
}

static void shift_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct columns *s = ctx;
    const int64_t unit = split_rows(s->cols);
    const int64_t end = split_end(s->rows, unit, task);

    for (int64_t t = task * unit; t < end; t++) {
        const float *x = s->a + t * s->cols;
        float *y = s->y + t * s->cols; // may be x
        for (int64_t i = 0; i < s->cols; i++)
            y[i] = x[i] + s->b[i];
    }
}

KERNEL_add_columns(VEC_NAME(add_columns))
{
    struct columns s = {.y = y, .a = x, .b = bias, .rows = rows, .cols = cols};
    pool_run(pool, split_tasks(rows, split_rows(cols)), shift_task, &s);
}

KERNEL_dot_columns(VEC_NAME(dot_columns))
{
    struct column_sums s = {.y = w, .a = a, .b = b, .rows = rows, .cols = cols};
    pool_run(pool, split_tasks(cols, SUM_COLUMNS), column_sums_task, &s);
}

struct ratio {
    float *y;
    const float *a;
    const float *b;
    const char *w;
    float *scratch; // of each thread: a row of w, a row of the sum
    enum dtype type;
    int64_t rows, cols, rank;
    float alpha;
};

static double squares(const float *x, int64_t n)
{
    int64_t i;
    double sum = (double) sum_products(&i, x, x, NULL, n, 2);

    for (; i < n; i++)
        sum += (double) (x[i] * x[i]);
    return sum;
}

static void ratio_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct ratio *s = ctx;
    const int64_t n = s->cols;
    const int64_t unit = split_rows(n);
    const int64_t end = split_end(s->rows, unit, task);
    float *row = s->scratch + (int64_t) worker * 2 * ((n + 15) / 16 * 16);
    float *sum = row + (n + 15) / 16 * 16;

    for (int64_t o = task * unit; o < end; o++) {
        decode(row, s->type, s->w + (size_t) o * dtype_row_bytes(s->type, n), 0,
               n);
        for (int64_t i = 0; i < n; i++)
            sum[i] = row[i];
        for (int64_t k = 0; k < s->rank; k++) {
            const float b = s->alpha * s->b[o * s->rank + k];
            const float *a = s->a + k * n;
            for (int64_t i = 0; i < n; i++)
                sum[i] += b * a[i];
        }
        const double after = squares(sum, n);
        s->y[o] = after > 0 ? (float) sqrt(squares(row, n) / after) : 1.0f;
    }
}

KERNEL_row_ratio(VEC_NAME(row_ratio))
{
    struct ratio s = {
        .y = y,
        .a = a,
        .b = b,
        .w = w,
        .scratch = scratch,
        .type = w_type,
        .rows = rows,
        .cols = cols,
        .rank = rank,
        .alpha = alpha,
    };
    pool_run(pool, split_tasks(rows, split_rows(cols)), ratio_task, &s);
}
