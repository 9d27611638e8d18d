// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/split.h"
#include "engine/cpu/sums.h"
#include "engine/cpu/vec.h"

#include <math.h>

struct norm {
    float *y;
    float *rstd;
    const float *dy;
    const float *x;
    const float *w;
    const float *r;
    int64_t rows, cols;
    float eps;
};

// The sum of a b, or of a b c.
ALWAYS_INLINE float dot(const float *a, const float *b, const float *c,
                        int64_t n)
{
    int64_t i;
    float sum = sum_products(&i, a, b, c, n, SUM_CHAINS);

    for (; i < n; i++)
        sum += a[i] * b[i] * (c ? c[i] : 1.0f);
    return sum;
}

static void forward_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct norm *s = ctx;
    const int64_t unit = split_rows(s->cols);
    const int64_t end = split_end(s->rows, unit, task);

    for (int64_t t = task * unit; t < end; t++) {
        const float *x = s->x + t * s->cols;
        float *restrict y = s->y + t * s->cols;
        const float r =
            1.0f / sqrtf(dot(x, x, NULL, s->cols) / (float) s->cols + s->eps);

        for (int64_t i = 0; i < s->cols; i++)
            y[i] = x[i] * r * s->w[i];
        if (s->rstd)
            s->rstd[t] = r;
    }
}

KERNEL_rmsnorm(VEC_NAME(rmsnorm))
{
    struct norm s = {.y = y,
                     .rstd = rstd,
                     .x = x,
                     .w = w,
                     .rows = rows,
                     .cols = cols,
                     .eps = eps};
    pool_run(pool, split_tasks(rows, split_rows(cols)), forward_task, &s);
}

static void dx_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct norm *s = ctx;
    const int64_t unit = split_rows(s->cols);
    const int64_t end = split_end(s->rows, unit, task);

    for (int64_t t = task * unit; t < end; t++) {
        const float *x = s->x + t * s->cols;
        const float *dy = s->dy + t * s->cols;
        float *dx = s->y + t * s->cols; // may be dy
        const float r = s->r[t];
        const float pull = dot(dy, s->w, x, s->cols) * r * r / (float) s->cols;

        for (int64_t i = 0; i < s->cols; i++)
            dx[i] = r * (s->w[i] * dy[i] - x[i] * pull);
    }
}

KERNEL_rmsnorm_dx(VEC_NAME(rmsnorm_dx))
{
    struct norm s = {.y = dx,
                     .dy = dy,
                     .x = x,
                     .w = w,
                     .r = rstd,
                     .rows = rows,
                     .cols = cols};
    pool_run(pool, split_tasks(rows, split_rows(cols)), dx_task, &s);
}

KERNEL_rmsnorm_dw(VEC_NAME(rmsnorm_dw))
{
    struct column_sums s =
        {.y = dw, .a = dy, .b = x, .r = rstd, .rows = rows, .cols = cols};
    pool_run(pool, split_tasks(cols, SUM_COLUMNS), column_sums_task, &s);
}
