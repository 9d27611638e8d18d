// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/matmul_vec.h"

/*
 * Few columns, as in x A^T with A of LoRA: rows of a times rows of op(b)^T,
 * which is small and decoded first.
 */

enum {
    DOTS_COLS = 4,
    DOTS_ROWS = TILE_VECS == 4 ? 4 : 2, // what registers hold sums of
    DOTS_SUMS = DOTS_ROWS * DOTS_COLS,
    DOTS_TASK = 64, // rows
};

static void dots_pack(const struct product *pr, enum dtype type)
{
    const int64_t padded = (pr->n + DOTS_COLS - 1) / DOTS_COLS * DOTS_COLS;
    const size_t row_bytes = dtype_row_bytes(type, pr->trans_b ? pr->k : pr->n);

    memset(pr->pb + pr->n * pr->k, 0,
           (size_t) ((padded - pr->n) * pr->k) * sizeof(float));
    if (pr->trans_b) {
        for (int64_t j = 0; j < pr->n; j++)
            decode(pr->pb + j * pr->k, type, pr->b + (size_t) j * row_bytes, 0,
                   pr->k);
        return;
    }
    for (int64_t p = 0; p < pr->k; p++) {
        float x[32];
        decode_rest(x, type, pr->b + (size_t) p * row_bytes, 0, pr->n);
        for (int64_t j = 0; j < pr->n; j++)
            pr->pb[j * pr->k + p] = x[j];
    }
}

// DOTS_ROWS rows of a with DOTS_COLS rows of the packed b.
ALWAYS_INLINE void dots(float out[DOTS_SUMS], const float *const a[DOTS_ROWS],
                        const float *b, int64_t k)
{
    vec acc[DOTS_SUMS] = {{0}};
    int64_t p = 0;

    for (; p + LANES <= k; p += LANES) {
        vec x[DOTS_ROWS];
#pragma GCC unroll 4
        for (int i = 0; i < DOTS_ROWS; i++)
            x[i] = vec_load(a[i] + p);
#pragma GCC unroll 4
        for (int j = 0; j < DOTS_COLS; j++) {
            const vec w = vec_load(b + j * k + p);
#pragma GCC unroll 4
            for (int i = 0; i < DOTS_ROWS; i++)
                acc[i * DOTS_COLS + j] += x[i] * w;
        }
    }
#pragma GCC unroll 2
    for (int i = 0; i < DOTS_SUMS; i += 8)
        v8_store(out + i, vec_sums(acc + i));
    for (; p < k; p++)
        for (int i = 0; i < DOTS_SUMS; i++)
            out[i] += a[i / DOTS_COLS][p] * b[i % DOTS_COLS * k + p];
}

static void dots_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct product *pr = ctx;
    const int64_t i0 = task * (int64_t) DOTS_TASK;
    const int64_t i1 = min(pr->m, i0 + DOTS_TASK);

    for (int64_t i = i0; i < i1; i += DOTS_ROWS)
        for (int64_t j0 = 0; j0 < pr->n; j0 += DOTS_COLS) {
            const int64_t rows = min(DOTS_ROWS, i1 - i);
            const int64_t cols = min(DOTS_COLS, pr->n - j0);
            const float *a[DOTS_ROWS];
            float out[DOTS_SUMS];
            for (int64_t r = 0; r < DOTS_ROWS; r++) // the last one again
                a[r] = pr->a + (i + min(r, rows - 1)) * pr->k;
            dots(out, a, pr->pb + j0 * pr->k, pr->k);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t j = 0; j < cols; j++) {
                    const int64_t at = (i + r) * pr->n + j0 + j;
                    pr->y[at] = pr->alpha * out[r * DOTS_COLS + j] +
                                (pr->c ? pr->c[at] : 0.0f);
                }
        }
}

void VEC_NAME(matmul_dots)(struct product *pr, struct pool *pool)
{
    switch (pr->b_type) {
#define WEIGHT(name, gguf, block, bytes) \
    case DTYPE_##name:                   \
        dots_pack(pr, DTYPE_##name);     \
        break;
#include "engine/tensor/dtypes.def"
    case DTYPE_i32:
    case DTYPE_COUNT:
        break;
    }
    pool_run(pool, parts(pr->m, DOTS_TASK), dots_task, pr);
}
