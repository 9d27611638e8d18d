// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/choose.h"
#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/split.h"
#include "engine/cpu/vec.h"

#include <math.h>

enum {
    WIDE = 16,
    NARROW = 4,        // few lanes for short rows, which end soon
    NARROW_UNTIL = 64, // values
};

struct subtokens {
    float *y;
    const float *x;
    const float *v;
    int64_t rows, cols, size;
    float alpha;
};

// Lane by lane, so that the compiler need not change the order of a sum.
ALWAYS_INLINE float dot_lanes(const float *a, const float *b, int64_t n,
                              int lanes)
{
    float sums[WIDE] = {0};
    float sum = 0;
    int64_t i = 0;

    for (; i + lanes <= n; i += lanes)
        for (int k = 0; k < lanes; k++)
            sums[k] += a[i + k] * b[i + k];
    for (int k = 0; k < lanes; k++)
        sum += sums[k];
    for (; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static float dot(const float *a, const float *b, int64_t n)
{
    return n < NARROW_UNTIL ? dot_lanes(a, b, n, NARROW)
                            : dot_lanes(a, b, n, WIDE);
}

static void dot_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct subtokens *s = ctx;
    const int64_t unit = split_rows(s->cols);
    const int64_t groups = s->cols / s->size;
    const int64_t end = split_end(s->rows, unit, task) * groups;

    for (int64_t g = task * unit * groups; g < end; g++)
        s->y[g] = s->alpha * dot(s->x + g * s->size, s->v, s->size);
}

KERNEL_subtoken_dot(VEC_NAME(subtoken_dot))
{
    struct subtokens s = {z, x, v, rows, cols, size, alpha};
    pool_run(pool, split_tasks(rows, split_rows(cols)), dot_task, &s);
}

static void spread_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct subtokens *s = ctx;
    const int64_t unit = split_rows(s->cols);
    const int64_t groups = s->cols / s->size;
    const int64_t end = split_end(s->rows, unit, task) * groups;

    for (int64_t g = task * unit * groups; g < end; g++) {
        float *y = s->y + g * s->size;
        const float z = s->x[g];
        for (int64_t i = 0; i < s->size; i++)
            y[i] = z * s->v[i];
    }
}

KERNEL_subtoken_spread(VEC_NAME(subtoken_spread))
{
    struct subtokens s = {y, z, v, rows, cols, size, 1};
    pool_run(pool, split_tasks(rows, split_rows(cols)), spread_task, &s);
}

struct lengths {
    double *squares;
    const float *x;
    int64_t rows, cols;
};

static void squares_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct lengths *s = ctx;
    const int64_t unit = split_rows(s->cols);
    const int64_t end = split_end(s->rows, unit, task);

    for (int64_t t = task * unit; t < end; t++) {
        const float *x = s->x + t * s->cols;
        s->squares[t] = (double) dot(x, x, s->cols);
    }
}

struct copies {
    float *xs;
    const float *x;
    const int32_t *rows;
    const float *factors;
    int64_t n, cols;
};

static void copy_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct copies *s = ctx;
    const int64_t unit = split_rows(s->cols);
    const int64_t end = split_end(s->n, unit, task);

    for (int64_t j = task * unit; j < end; j++) {
        const float *x = s->x + s->rows[j] * s->cols;
        float *xs = s->xs + j * s->cols;
        const float factor = s->factors[j];
        for (int64_t i = 0; i < s->cols; i++)
            xs[i] = factor * x[i];
    }
}

KERNEL_choose_rows(VEC_NAME(choose_rows))
{
    const struct cpu_choose room = cpu_choose_room(scratch, n_rows);
    struct lengths s = {room.lengths, x, n_rows, cols};
    struct copies c = {xs, x, rows, room.factors, n_chosen, cols};

    pool_run(pool, split_tasks(n_rows, split_rows(cols)), squares_task, &s);
    for (int64_t t = 0; t < n_rows; t++)
        room.lengths[t] = sqrt(room.lengths[t]);
    cpu_choose(&room, rows, norms, draw, stream, n_chosen, n_rows);
    pool_run(pool, split_tasks(n_chosen, split_rows(cols)), copy_task, &c);
}

KERNEL_row_squares(VEC_NAME(row_squares))
{
    double *squares = scratch;
    struct lengths s = {squares, x, rows, cols};
    double total = 0;

    pool_run(pool, split_tasks(rows, split_rows(cols)), squares_task, &s);
    for (int64_t t = 0; t < rows; t++)
        total += squares[t];
    for (int64_t t = 0; t < rows; t++) {
        const double share = total > 0 ? squares[t] / total : 0;
        y[t] = (float) ((sum ? (double) sum[t] : 0) + (double) rows * share);
    }
}
