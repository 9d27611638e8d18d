// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/vec.h"

/*
 * Many products of one small shape. Where the sums are short, as in LoRA's
 * second product, COLS rows of b are turned once and stay in the cache while
 * all rows of a pass by; a task is a part of a copy.
 */
enum { COLS = 2 * LANES, DEPTH = 64, PART = 128 };

struct copies {
    float *y;
    const float *a, *b, *c;
    int64_t m, n, k, parts;
    float alpha;
};

// Eight numbers of each of COLS rows of b; whole registers are stored, since
// they are read back at once.
ALWAYS_INLINE void turn_8(float out[][COLS], const float *b, int64_t k)
{
    v8 r[COLS / 8][8];

#pragma GCC unroll 4
    for (int j = 0; j < COLS / 8; j++) {
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++)
            r[j][i] = v8_load(b + (8 * j + i) * k);
        v8_transpose(r[j]);
    }
#pragma GCC unroll 8
    for (int p = 0; p < 8; p++)
#if defined(CPU_ISA_AVX512)
#pragma GCC unroll 2
        for (int j = 0; j < COLS / 8; j += 2)
            vec_store(out[p] + 8 * j,
                      __builtin_shufflevector(r[j][p], r[j + 1][p], 0, 1, 2, 3,
                                              4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
                                              14, 15));
#else
#pragma GCC unroll 4
        for (int j = 0; j < COLS / 8; j++)
            v8_store(out[p] + 8 * j, r[j][p]);
#endif
}

// The others one by one.
ALWAYS_INLINE void turn(float out[][COLS], const float *b, int64_t k,
                        int64_t ns)
{
    int64_t p = 0;

    for (; ns == COLS && p + 8 <= k; p += 8)
        turn_8(out + p, b + p, k);
    for (; p < k; p++)
        for (int64_t j = 0; j < COLS; j++)
            out[p][j] = j < ns ? b[j * k + p] : 0.0f;
}

// y (M,N) in the columns n0 .. n0 + COLS - 1, or fewer at the end
ALWAYS_INLINE void columns(const struct copies *x, int64_t copy, int64_t n0)
{
    const int64_t n = x->n, k = x->k;
    const int64_t ns = n - n0 < COLS ? n - n0 : COLS;
    const float *b = x->b + (copy * n + n0) * k;
    float turned[DEPTH][COLS];

    turn(turned, b, k, ns);
    for (int64_t i = copy * x->m; i < (copy + 1) * x->m; i++) {
        const float *a = x->a + i * k;
        vec low = {0}, high = {0};
        for (int64_t p = 0; p < k; p++) {
            low += a[p] * vec_load(turned[p]);
            high += a[p] * vec_load(turned[p] + LANES);
        }
        float *y = x->y + i * n + n0;
        const float *c = x->c ? x->c + i * n + n0 : NULL;
        low *= x->alpha;
        high *= x->alpha;
        if (ns == COLS) {
            vec_store(y, c ? low + vec_load(c) : low);
            vec_store(y + LANES, c ? high + vec_load(c + LANES) : high);
            continue;
        }
        float sums[COLS];
        vec_store(sums, low);
        vec_store(sums + LANES, high);
        for (int64_t j = 0; j < ns; j++)
            y[j] = c ? sums[j] + c[j] : sums[j];
    }
}

static void copy_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct copies *x = ctx;
    const int64_t copy = task / x->parts;
    const int64_t first = task % x->parts * PART;
    const int64_t end = first + PART < x->n ? first + PART : x->n;

    for (int64_t n0 = first; n0 < end; n0 += COLS)
        columns(x, copy, n0);
}

KERNEL_matmul_copies(VEC_NAME(matmul_copies))
{
    struct copies x = {y, a, b, c, m, n, k, (n + PART - 1) / PART, alpha};

    if (k <= DEPTH && !op_rounds((uint8_t) precision, m, n, k)) {
        pool_run(pool, (uint32_t) (copies * x.parts), copy_task, &x);
        return;
    }
    for (int64_t d = 0; d < copies; d++)
        MATMUL(y + d * m * n, a + d * m * k, b + d * n * k, DTYPE_f32,
               c ? c + d * m * n : NULL, m, n, k, false, true, alpha, precision,
               scratch, pool);
}
