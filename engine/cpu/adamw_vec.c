// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/split.h"
#include "engine/cpu/sums.h"
#include "engine/cpu/vec.h"

#include <math.h>

struct adamw {
    float *p, *m, *v;
    const float *g;
    int64_t count;
    double *squares; // of the gradient, a sum for each task
    float beta1, beta2, scale, rate, eps, decay, root2;
};

static void norm_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct adamw *a = ctx;
    const int64_t first = task * (int64_t) SPLIT_VALUES;
    const int64_t n = split_end(a->count, SPLIT_VALUES, task) - first;
    const float *g = a->g + first;
    int64_t i;
    double sum = (double) sum_products(&i, g, g, NULL, n, 1);

    for (; i < n; i++)
        sum += (double) g[i] * g[i];
    a->squares[task] = sum;
}

static void update_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct adamw *a = ctx;
    const int64_t end = split_end(a->count, SPLIT_VALUES, task);
    float *restrict p = a->p;
    float *restrict m = a->m;
    float *restrict v = a->v;
    const float *restrict g = a->g;

    for (int64_t i = task * (int64_t) SPLIT_VALUES; i < end; i++) {
        const float gi = a->scale * g[i];
        m[i] = a->beta1 * m[i] + (1.0f - a->beta1) * gi;
        v[i] = a->beta2 * v[i] + (1.0f - a->beta2) * gi * gi;
        p[i] -= a->decay * p[i] +
                a->rate * m[i] / (sqrtf(v[i]) * a->root2 + a->eps);
    }
}

KERNEL_adamw(VEC_NAME(adamw))
{
    const uint32_t tasks = split_tasks(count, SPLIT_VALUES);
    struct adamw a = {
        .p = p,
        .m = m,
        .v = v,
        .g = g,
        .count = count,
        .squares = scratch,
        .beta1 = hyper[ADAMW_BETA1],
        .beta2 = hyper[ADAMW_BETA2],
        .scale = 1.0f,
        .rate = hyper[ADAMW_LR] / hyper[ADAMW_CORRECT1],
        .eps = hyper[ADAMW_EPS],
        .decay = hyper[ADAMW_LR] * hyper[ADAMW_DECAY],
        .root2 = 1.0f / sqrtf(hyper[ADAMW_CORRECT2]),
    };
    const double clip = hyper[ADAMW_CLIP];

    if (clip > 0.0) {
        double sum = 0.0;
        pool_run(pool, tasks, norm_task, &a);
        for (uint32_t i = 0; i < tasks; i++)
            sum += a.squares[i];
        if (sqrt(sum) > clip)
            a.scale = (float) (clip / sqrt(sum));
    }
    pool_run(pool, tasks, update_task, &a);
}
