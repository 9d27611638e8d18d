// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/split.h"
#include "engine/cpu/vec.h"

// y = g sigmoid(z(g)) up, see gated_c.c. Which z it is, is a constant of each
// loop.
enum gate_kind { SILU, GELU };

struct gated {
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

ALWAYS_INLINE vec inner(vec g, enum gate_kind kind)
{
    return kind == SILU ? g
                        : g * (1.59576912f + (1.59576912f * 0.044715f) * g * g);
}

ALWAYS_INLINE vec slope(vec g, enum gate_kind kind)
{
    return kind == SILU ? vec_set(1.0f)
                        : 1.59576912f + (3 * 1.59576912f * 0.044715f) * g * g;
}

ALWAYS_INLINE void forward(const struct gated *s, uint32_t task,
                           enum gate_kind kind)
{
    const int64_t end = split_end(s->count, SPLIT_VALUES, task);
    int64_t i = task * (int64_t) SPLIT_VALUES;

    for (; i + LANES <= end; i += LANES) {
        const vec g = vec_load(s->gate + i);
        vec_store(s->y + i, g * sigmoid(inner(g, kind)) * vec_load(s->up + i));
    }
    if (i < end) {
        const vec g = vec_load_some(s->gate + i, end - i);
        const vec u = vec_load_some(s->up + i, end - i);
        vec_store_some(s->y + i, g * sigmoid(inner(g, kind)) * u, end - i);
    }
}

static void swiglu_task(void *ctx, uint32_t task, uint32_t worker)
{
    forward(ctx, task, SILU);
}

static void geglu_task(void *ctx, uint32_t task, uint32_t worker)
{
    forward(ctx, task, GELU);
}

KERNEL_swiglu(VEC_NAME(swiglu))
{
    struct gated s = {.y = y, .gate = gate, .up = up, .count = count};
    pool_run(pool, split_tasks(count, SPLIT_VALUES), swiglu_task, &s);
}

KERNEL_geglu(VEC_NAME(geglu))
{
    struct gated s = {.y = y, .gate = gate, .up = up, .count = count};
    pool_run(pool, split_tasks(count, SPLIT_VALUES), geglu_task, &s);
}

struct grads {
    vec gate;
    vec up;
};

ALWAYS_INLINE struct grads grads_of(vec dy, vec g, vec u, enum gate_kind kind)
{
    const vec s = sigmoid(inner(g, kind));
    const vec gs = g * s;
    return (struct grads){dy * u * (s + gs * (1.0f - s) * slope(g, kind)),
                          dy * gs};
}

ALWAYS_INLINE void back(const struct gated *s, uint32_t task,
                        enum gate_kind kind)
{
    const int64_t end = split_end(s->count, SPLIT_VALUES, task);
    int64_t i = task * (int64_t) SPLIT_VALUES;

    for (; i + LANES <= end; i += LANES) {
        const struct grads d =
            grads_of(vec_load(s->dy + i), vec_load(s->gate + i),
                     vec_load(s->up + i), kind);
        if (s->dgate)
            vec_store(s->dgate + i, d.gate);
        if (s->dup)
            vec_store(s->dup + i, d.up);
    }
    if (i < end) {
        const int64_t n = end - i;
        const struct grads d =
            grads_of(vec_load_some(s->dy + i, n), vec_load_some(s->gate + i, n),
                     vec_load_some(s->up + i, n), kind);
        if (s->dgate)
            vec_store_some(s->dgate + i, d.gate, n);
        if (s->dup)
            vec_store_some(s->dup + i, d.up, n);
    }
}

static void swiglu_back_task(void *ctx, uint32_t task, uint32_t worker)
{
    back(ctx, task, SILU);
}

static void geglu_back_task(void *ctx, uint32_t task, uint32_t worker)
{
    back(ctx, task, GELU);
}

KERNEL_swiglu_back(VEC_NAME(swiglu_back))
{
    struct gated s = {.dy = dy,
                      .gate = gate,
                      .up = up,
                      .dgate = dgate,
                      .dup = dup,
                      .count = count};
    pool_run(pool, split_tasks(count, SPLIT_VALUES), swiglu_back_task, &s);
}

KERNEL_geglu_back(VEC_NAME(geglu_back))
{
    struct gated s = {.dy = dy,
                      .gate = gate,
                      .up = up,
                      .dgate = dgate,
                      .dup = dup,
                      .count = count};
    pool_run(pool, split_tasks(count, SPLIT_VALUES), geglu_back_task, &s);
}
