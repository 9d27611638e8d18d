// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/split.h"
#include "engine/cpu/vec.h"

struct swiglu {
    float *y;
    const float *dy;
    const float *gate;
    const float *up;
    float *dgate;
    float *dup;
    int64_t count;
};

ALWAYS_INLINE vec sigmoid(vec x)
{
    return 1.0f / (1.0f + vec_exp(-x));
}

static void forward_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct swiglu *s = ctx;
    const int64_t end = split_end(s->count, SPLIT_VALUES, task);
    int64_t i = task * (int64_t) SPLIT_VALUES;

    for (; i + LANES <= end; i += LANES) {
        const vec g = vec_load(s->gate + i);
        vec_store(s->y + i, g * sigmoid(g) * vec_load(s->up + i));
    }
    if (i < end) {
        const vec g = vec_load_some(s->gate + i, end - i);
        const vec u = vec_load_some(s->up + i, end - i);
        vec_store_some(s->y + i, g * sigmoid(g) * u, end - i);
    }
}

KERNEL_swiglu(VEC_NAME(swiglu))
{
    struct swiglu s = {.y = y, .gate = gate, .up = up, .count = count};
    pool_run(pool, split_tasks(count, SPLIT_VALUES), forward_task, &s);
}

struct grads {
    vec gate;
    vec up;
};

ALWAYS_INLINE struct grads grads_of(vec dy, vec g, vec u)
{
    const vec s = sigmoid(g);
    const vec gs = g * s;
    return (struct grads){dy * u * (s + gs * (1.0f - s)), dy * gs};
}

static void back_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct swiglu *s = ctx;
    const int64_t end = split_end(s->count, SPLIT_VALUES, task);
    int64_t i = task * (int64_t) SPLIT_VALUES;

    for (; i + LANES <= end; i += LANES) {
        const struct grads d =
            grads_of(vec_load(s->dy + i), vec_load(s->gate + i),
                     vec_load(s->up + i));
        if (s->dgate)
            vec_store(s->dgate + i, d.gate);
        if (s->dup)
            vec_store(s->dup + i, d.up);
    }
    if (i < end) {
        const int64_t n = end - i;
        const struct grads d =
            grads_of(vec_load_some(s->dy + i, n), vec_load_some(s->gate + i, n),
                     vec_load_some(s->up + i, n));
        if (s->dgate)
            vec_store_some(s->dgate + i, d.gate, n);
        if (s->dup)
            vec_store_some(s->dup + i, d.up, n);
    }
}

KERNEL_swiglu_back(VEC_NAME(swiglu_back))
{
    struct swiglu s = {.dy = dy,
                       .gate = gate,
                       .up = up,
                       .dgate = dgate,
                       .dup = dup,
                       .count = count};
    pool_run(pool, split_tasks(count, SPLIT_VALUES), back_task, &s);
}
