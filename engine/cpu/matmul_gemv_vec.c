// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/matmul_vec.h"

/*
 * Few rows: generation reads all weights for each token, so what counts is to
 * read them once, as they are. Rows of b that are shorter than a block are
 * those of an adapter.
 */

enum {
    GEMV_ROWS = 4,     // of a
    GEMV_COLS = 4,     // of y: rows of b
    GEMV_TASK = 32768, // weights
};

// Rows m0 .. of a with rows j .. of b. Several rows of b side by side hide the
// latency of the sums when a has few.
ALWAYS_INLINE void gemv_block(const struct product *pr, enum dtype type,
                              int64_t m0, int64_t j0, int rows, int cols)
{
    const size_t row_bytes = dtype_row_bytes(type, pr->k);
    const char *b = pr->b + (size_t) j0 * row_bytes;
    const float *a = pr->a + m0 * pr->k;
    v8 acc[GEMV_ROWS][GEMV_COLS] = {{{0}}};
    int64_t p = 0;

    for (; p + 32 <= pr->k; p += 32)
#pragma GCC unroll 4
        for (int j = 0; j < cols; j++) {
            v8 w[4];
            const float scale =
                decode_raw(w, type, b + (size_t) j * row_bytes, p);
#pragma GCC unroll 4
            for (int i = 0; i < rows; i++) {
                v8 s = w[0] * v8_load(a + i * pr->k + p);
#pragma GCC unroll 4
                for (int q = 1; q < 4; q++)
                    s += w[q] * v8_load(a + i * pr->k + p + 8 * q);
                acc[i][j] += scale * s;
            }
        }
#pragma GCC unroll 4
    for (int j = 0; j < cols; j++)
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            const int64_t at = (m0 + i) * pr->n + j0 + j;
            float sum = v8_sum(acc[i][j]);
            if (p < pr->k) {
                float w[32];
                decode_rest(w, type, b + (size_t) j * row_bytes, p, pr->k - p);
                for (int64_t q = 0; q < pr->k - p; q++)
                    sum += w[q] * a[i * pr->k + p + q];
            }
            pr->y[at] = pr->alpha * sum + (pr->c ? pr->c[at] : 0.0f);
        }
}

ALWAYS_INLINE void gemv_rows(const struct product *pr, enum dtype type,
                             int64_t j0, int64_t j1)
{
    // Decoding the others takes longer than a sum's latency, and four decoders
    // of each side by side take long to compile.
    const bool is_plain = type == DTYPE_f32 || type == DTYPE_f16 ||
                          type == DTYPE_bf16 || type == DTYPE_q8_0 ||
                          type == DTYPE_q4_0;

    for (int64_t m0 = 0; m0 < pr->m; m0 += GEMV_ROWS) {
        const int64_t rows = min(GEMV_ROWS, pr->m - m0);
        int64_t j = j0;
        for (; is_plain && rows == 1 && j + GEMV_COLS <= j1; j += GEMV_COLS)
            gemv_block(pr, type, m0, j, 1, GEMV_COLS);
        for (; rows == GEMV_ROWS && j < j1; j++)
            gemv_block(pr, type, m0, j, GEMV_ROWS, 1);
        for (; j < j1; j++)
            for (int64_t i = 0; i < rows; i++)
                gemv_block(pr, type, m0 + i, j, 1, 1);
    }
}

// Rows of b of 8, 16 or 24 numbers: sums of eight rows are added up together.
ALWAYS_INLINE void shallow_rows(const struct product *pr, bool is_half,
                                int64_t j0, int64_t j1)
{
    for (int64_t i = 0; i < pr->m; i++)
        for (int64_t j = j0; j < j1; j += 8) {
            const int64_t at = i * pr->n + j;
            const int64_t n = min(8, j1 - j);
            v8 s[8] = {{0}};
            for (int64_t q = 0; q < n; q++)
                for (int64_t p = 0; p < pr->k; p += 8)
                    s[q] += v8_load(pr->a + i * pr->k + p) *
                            low_8(pr->b, is_half, (j + q) * pr->k + p);
            const v8 sum = v8_sums(s);
            for (int64_t q = 0; q < n; q++)
                pr->y[at + q] =
                    pr->alpha * sum[q] + (pr->c ? pr->c[at + q] : 0.0f);
        }
}

static void gemv_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct product *pr = ctx;
    const int64_t j0 = task * pr->ns;
    const int64_t j1 = min(pr->n, j0 + pr->ns);

    if (pr->k < 32) {
        if (pr->b_type == DTYPE_bf16)
            shallow_rows(pr, true, j0, j1);
        else
            shallow_rows(pr, false, j0, j1);
        return;
    }
    switch (pr->b_type) {
#define WEIGHT(name, gguf, block, bytes)     \
    case DTYPE_##name:                       \
        gemv_rows(pr, DTYPE_##name, j0, j1); \
        break;
#include "engine/tensor/dtypes.def"
    case DTYPE_i32:
    case DTYPE_COUNT:
        break;
    }
}

void VEC_NAME(matmul_gemv)(struct product *pr, struct pool *pool)
{
    pr->ns = GEMV_TASK / pr->k + 1;
    pool_run(pool, parts(pr->n, pr->ns), gemv_task, pr);
}
