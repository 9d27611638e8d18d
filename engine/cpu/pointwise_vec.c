// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/split.h"
#include "engine/cpu/vec.h"

// The compiler makes vectors of these loops; what matters is that several
// threads wait for memory.

struct operands {
    float *y;
    const float *a;
    const float *b;
    float alpha;
    int64_t count;
};

static void add_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct operands *o = ctx;
    const int64_t end = split_end(o->count, SPLIT_VALUES, task);

    for (int64_t i = task * (int64_t) SPLIT_VALUES; i < end; i++)
        o->y[i] = o->a[i] + o->b[i];
}

static void scale_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct operands *o = ctx;
    const int64_t end = split_end(o->count, SPLIT_VALUES, task);

    for (int64_t i = task * (int64_t) SPLIT_VALUES; i < end; i++)
        o->y[i] = o->alpha * o->a[i];
}

KERNEL_add(VEC_NAME(add))
{
    struct operands o = {.y = y, .a = a, .b = b, .count = count};
    pool_run(pool, split_tasks(count, SPLIT_VALUES), add_task, &o);
}

KERNEL_accumulate(VEC_NAME(accumulate))
{
    struct operands o = {.y = sum, .a = sum, .b = g, .count = count};
    pool_run(pool, split_tasks(count, SPLIT_VALUES), add_task, &o);
}

KERNEL_scale(VEC_NAME(scale))
{
    struct operands o = {.y = y, .a = x, .alpha = alpha, .count = count};
    pool_run(pool, split_tasks(count, SPLIT_VALUES), scale_task, &o);
}

static void cap_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct operands *o = ctx;
    const int64_t end = split_end(o->count, SPLIT_VALUES, task);
    int64_t i = task * (int64_t) SPLIT_VALUES;

    for (; i + LANES <= end; i += LANES)
        vec_store(o->y + i,
                  o->alpha * vec_tanh(vec_load(o->a + i) * (1.0f / o->alpha)));
    if (i < end)
        vec_store_some(o->y + i,
                       o->alpha * vec_tanh(vec_load_some(o->a + i, end - i) *
                                           (1.0f / o->alpha)),
                       end - i);
}

static void cap_back_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct operands *o = ctx;
    const int64_t end = split_end(o->count, SPLIT_VALUES, task);
    const float cap = o->alpha;
    const float part = 1.0f / (cap * cap);

    // In factors, the first of which is exact where it is small.
    for (int64_t i = task * (int64_t) SPLIT_VALUES; i < end; i++)
        o->y[i] = o->a[i] * ((cap - o->b[i]) * (cap + o->b[i]) * part);
}

KERNEL_soft_cap(VEC_NAME(soft_cap))
{
    struct operands o = {.y = y, .a = x, .alpha = cap, .count = count};
    pool_run(pool, split_tasks(count, SPLIT_VALUES), cap_task, &o);
}

KERNEL_soft_cap_back(VEC_NAME(soft_cap_back))
{
    struct operands o = {.y = dx,
                         .a = dy,
                         .b = y,
                         .alpha = cap,
                         .count = count};
    pool_run(pool, split_tasks(count, SPLIT_VALUES), cap_back_task, &o);
}
