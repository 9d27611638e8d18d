// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/matmul_vec.h"

/*
 * Gradients of LoRA: few (K,R), R at most 16, times wide (K,W): out (R,W) or,
 * when the few are the columns of y, its transpose.
 */

enum {
    OUTER_ROWS = 4,
    OUTER_VECS = 3,
    OUTER_COLS = OUTER_VECS * LANES,
    OUTER_TASK = 96, // columns
    OUTER_DEPTH = 64,
    OUTER_FEW = 16,
};

_Static_assert(OUTER_TASK % OUTER_COLS == 0, "strips fill a task");

// t (rows,OUTER_COLS) += few^T wide over `depth` rows of both.
ALWAYS_INLINE void outer_tile(float *t, const float *few, int64_t ldf,
                              const float *wide, int64_t ldw, int64_t depth,
                              int rows)
{
    vec acc[OUTER_ROWS][OUTER_VECS];

#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < OUTER_VECS; j++)
            acc[i][j] = vec_load(t + i * OUTER_TASK + j * LANES);
    for (; depth > 0; depth--, few += ldf, wide += ldw) {
        vec v[OUTER_VECS];
#pragma GCC unroll 4
        for (int j = 0; j < OUTER_VECS; j++)
            v[j] = vec_load(wide + j * LANES);
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
            for (int j = 0; j < OUTER_VECS; j++)
                acc[i][j] += few[i] * v[j];
    }
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < OUTER_VECS; j++)
            vec_store(t + i * OUTER_TASK + j * LANES, acc[i][j]);
}

// All rows of the few, a tile's worth at a time.
static void outer_strip(float *t, const float *few, int64_t r,
                        const float *wide, int64_t ldw, int64_t depth)
{
    for (int64_t i = 0; i < r; i += OUTER_ROWS) {
        float *ti = t + i * OUTER_TASK;
        switch (min(OUTER_ROWS, r - i)) {
        case 1:
            outer_tile(ti, few + i, r, wide, ldw, depth, 1);
            break;
        case 2:
            outer_tile(ti, few + i, r, wide, ldw, depth, 2);
            break;
        case 3:
            outer_tile(ti, few + i, r, wide, ldw, depth, 3);
            break;
        default:
            outer_tile(ti, few + i, r, wide, ldw, depth, OUTER_ROWS);
            break;
        }
    }
}

static void outer_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct product *pr = ctx;
    const bool few_is_a = pr->m <= OUTER_FEW;
    const float *b = (const float *) (const void *) pr->b;
    const float *few = few_is_a ? pr->a : b;
    const int64_t r = few_is_a ? pr->m : pr->n;
    const int64_t ldw = few_is_a ? pr->n : pr->m;
    const int64_t j0 = task * (int64_t) OUTER_TASK;
    const int64_t cols = min(OUTER_TASK, ldw - j0);
    const float *wide = (few_is_a ? b : pr->a) + j0;
    float t[OUTER_FEW * OUTER_TASK] = {0};
    float edge[OUTER_DEPTH * OUTER_COLS] = {0};

    for (int64_t p = 0; p < pr->k; p += OUTER_DEPTH) {
        const int64_t depth = min(OUTER_DEPTH, pr->k - p);
        const float *w = wide + p * ldw;
        int64_t j = 0;
        for (; j + OUTER_COLS <= cols; j += OUTER_COLS)
            outer_strip(t + j, few + p * r, r, w + j, ldw, depth);
        if (j == cols)
            continue;
        for (int64_t i = 0; i < depth; i++)
            memcpy(edge + i * OUTER_COLS, w + i * ldw + j,
                   (size_t) (cols - j) * sizeof(float));
        outer_strip(t + j, few + p * r, r, edge, OUTER_COLS, depth);
    }
    for (int64_t i = 0; i < r; i++)
        for (int64_t j = 0; j < cols; j++) {
            const int64_t at =
                few_is_a ? i * pr->n + j0 + j : (j0 + j) * pr->n + i;
            pr->y[at] =
                pr->alpha * t[i * OUTER_TASK + j] + (pr->c ? pr->c[at] : 0.0f);
        }
}

void VEC_NAME(matmul_outer)(struct product *pr, struct pool *pool)
{
    const int64_t wide = pr->m <= OUTER_FEW ? pr->n : pr->m;
    pool_run(pool, parts(wide, OUTER_TASK), outer_task, pr);
}
