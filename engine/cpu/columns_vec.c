// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/decode.h"
#include "engine/cpu/split.h"

#include <math.h>

struct columns {
    float *y;
    const float *a;
    const float *b;
    const float *r; // factors of the rows, or NULL
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

// Sums over many rows: short ones in floats, which are added up in doubles, as
// the plain version does for each product.
enum {
    DOT_COLUMNS = 64, // of a task
    DOT_ROWS = 32,    // of a short sum
};

static void dot_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct columns *s = ctx;
    const int64_t first = (int64_t) task * DOT_COLUMNS;
    const int64_t n = split_end(s->cols, DOT_COLUMNS, task) - first;
    double total[DOT_COLUMNS] = {0};

    for (int64_t t = 0; t < s->rows;) {
        const int64_t end = t + DOT_ROWS < s->rows ? t + DOT_ROWS : s->rows;
        float sum[DOT_COLUMNS] = {0};
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

KERNEL_dot_columns(VEC_NAME(dot_columns))
{
    struct columns s = {.y = w, .a = a, .b = b, .rows = rows, .cols = cols};
    pool_run(pool, split_tasks(cols, DOT_COLUMNS), dot_task, &s);
}

KERNEL_rmsnorm_dw(VEC_NAME(rmsnorm_dw))
{
    struct columns s =
        {.y = dw, .a = dy, .b = x, .r = rstd, .rows = rows, .cols = cols};
    pool_run(pool, split_tasks(cols, DOT_COLUMNS), dot_task, &s);
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

// Squares of `n` values: eight sums side by side.
ALWAYS_INLINE double squares(const float *x, int64_t n)
{
    vec acc[2] = {{0}};
    int64_t i = 0;

    for (; i + 2 * LANES <= n; i += 2 * LANES)
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++) {
            const vec v = vec_load(x + i + j * LANES);
            acc[j] += v * v;
        }
    double sum = (double) vec_sum(acc[0] + acc[1]);
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
