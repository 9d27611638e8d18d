// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/half.h"
#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/ints.h"
#include "engine/tensor/quant.h"

#include <math.h>
#include <string.h>

// y (M,N) = alpha * op(a) (M,K) (op(b) + op(d)) (K,N) + c (M,N), a tile of
// outputs at a time, so that each part of b is decoded once for 16 rows of y.
struct product {
    float *y;
    const float *a;
    const void *b;
    enum dtype b_type;
    const float *d, *c; // or NULL
    // Of lora: z (M,R), which meets q (N,R) behind the depth; or NULL.
    const float *z;
    const void *q;
    enum dtype q_type;
    int64_t rank;
    int64_t m, n, k;
    bool trans_a, trans_b, is_rounded;
    float alpha;
};

enum {
    TILE_M = 16,
    TILE_N = 64,
    TILE_K = 64,
};

// tile[k][n] = op(b)[k0 + k][n0 + n]; what lies outside stays as it was.
static void load_b(float tile[TILE_K][TILE_N], const void *b, enum dtype type,
                   bool trans, int64_t k0, int64_t ks, int64_t n0, int64_t ns,
                   int64_t k, int64_t n)
{
    const char *bytes = b;

    if (!trans) {
        for (int64_t i = 0; i < ks; i++) {
            const size_t at = (size_t) (k0 + i) * dtype_row_bytes(type, n);
            quant_decode_part(type, tile[i], bytes + at, n0, ns);
        }
        return;
    }
    for (int64_t j = 0; j < ns; j++) {
        float column[TILE_K];
        const size_t at = (size_t) (n0 + j) * dtype_row_bytes(type, k);
        quant_decode_part(type, column, bytes + at, k0, ks);
        for (int64_t i = 0; i < ks; i++)
            tile[i][j] = column[i];
    }
}

// tile += op(d), where load_b() put op(b)
static void add_d(float tile[TILE_K][TILE_N], const struct product *x,
                  int64_t k0, int64_t ks, int64_t n0, int64_t ns)
{
    for (int64_t i = 0; i < ks; i++)
        for (int64_t j = 0; j < ns; j++)
            tile[i][j] += x->trans_b ? x->d[(n0 + j) * x->k + k0 + i]
                                     : x->d[(k0 + i) * x->n + n0 + j];
}

static float rounded(float x)
{
    return bf16_to_f32(bf16_from_f32(x));
}

// acc += alpha z q^T of a tile
static void add_low(double acc[TILE_M][TILE_N], const struct product *x,
                    int64_t m0, int64_t ms, int64_t n0, int64_t ns)
{
    const size_t row_bytes = dtype_row_bytes(x->q_type, x->rank);
    float q[OP_LORA_RANK_MAX];

    for (int64_t j = 0; j < ns; j++) {
        quant_decode(x->q_type, q,
                     (const char *) x->q + (size_t) (n0 + j) * row_bytes,
                     x->rank);
        for (int64_t i = 0; i < ms; i++)
            for (int64_t p = 0; p < x->rank; p++) {
                const float z = x->z[(m0 + i) * x->rank + p];
                acc[i][j] += (double) (x->is_rounded ? rounded(z) : z) *
                             (x->is_rounded ? rounded(q[p]) : q[p]);
            }
    }
}

static void product_tile(const struct product *x, int64_t m0, int64_t n0)
{
    float bt[TILE_K][TILE_N] = {{0}};
    double acc[TILE_M][TILE_N] = {{0}};
    const int64_t ns = min(TILE_N, x->n - n0);
    const int64_t ms = min(TILE_M, x->m - m0);

    for (int64_t k0 = 0; k0 < x->k; k0 += TILE_K) {
        const int64_t ks = min(TILE_K, x->k - k0);
        load_b(bt, x->b, x->b_type, x->trans_b, k0, ks, n0, ns, x->k, x->n);
        if (x->d)
            add_d(bt, x, k0, ks, n0, ns);
        for (int64_t i = 0; x->is_rounded && i < TILE_K * TILE_N; i++)
            bt[i / TILE_N][i % TILE_N] = rounded(bt[i / TILE_N][i % TILE_N]);
        for (int64_t i = 0; i < ms; i++)
            for (int64_t p = 0; p < ks; p++) {
                const float stored = x->trans_a
                                         ? x->a[(k0 + p) * x->m + m0 + i]
                                         : x->a[(m0 + i) * x->k + k0 + p];
                const double a = x->is_rounded ? rounded(stored) : stored;
                for (int64_t j = 0; j < TILE_N; j++)
                    acc[i][j] += a * bt[p][j];
            }
    }
    if (x->z)
        add_low(acc, x, m0, ms, n0, ns);
    for (int64_t i = 0; i < ms; i++)
        for (int64_t j = 0; j < ns; j++) {
            const int64_t at = (m0 + i) * x->n + n0 + j;
            x->y[at] =
                (float) (x->alpha * acc[i][j] + (x->c ? x->c[at] : 0.0f));
        }
}

static void product(const struct product *x)
{
    for (int64_t n0 = 0; n0 < x->n; n0 += TILE_N)
        for (int64_t m0 = 0; m0 < x->m; m0 += TILE_M)
            product_tile(x, m0, n0);
}

// out (N) = x (N), in blocks of 32, see cpu_rounds_rows()
static void round_rows(float *out, const float *x, int64_t n)
{
    for (int64_t at = 0; at < n; at += 32) {
        float most = 0.0f;
        for (int i = 0; i < 32; i++) {
            const float size = fabsf(x[at + i]);
            most = size <= most ? most : size; // NaN stays
        }
        const bool is_nothing = most < CPU_ROWS8_TINY;
        const float d = is_nothing ? 0.0f : most / 127.0f;
        const float by = is_nothing ? 0.0f : 127.0f / most;
        for (int i = 0; i < 32; i++)
            out[at + i] = d * rintf(x[at + i] * by);
    }
}

KERNEL_matmul(matmul_c)
{
    if (cpu_rounds_rows(precision, m, k, trans_a, trans_b, b_type)) {
        round_rows(scratch, a, m * k);
        a = scratch;
    }
    product(&(struct product){
        .y = y,
        .a = a,
        .b = b,
        .b_type = b_type,
        .c = c,
        .m = m,
        .n = n,
        .k = k,
        .trans_a = trans_a,
        .trans_b = trans_b,
        .is_rounded = op_rounds(precision, m, n, k),
        .alpha = alpha,
    });
}

KERNEL_matmul_delta(matmul_delta_c)
{
    product(&(struct product){
        .y = y,
        .a = a,
        .b = b,
        .b_type = b_type,
        .d = d,
        .c = c,
        .m = m,
        .n = n,
        .k = k,
        .trans_b = trans_b,
        .is_rounded = op_rounds(precision, m, n, k),
        .alpha = alpha,
    });
}

KERNEL_matmul_lora(matmul_lora_c)
{
    const struct cpu_lora_plan plan =
        cpu_lora_plan(m, n, k, rank, b_type, low_type, precision);
    const bool is_rounded = op_rounds(precision, m, n, k);
    float *z = scratch;

    product(&(struct product){
        .y = z,
        .a = a,
        .b = p,
        .b_type = low_type,
        .m = m,
        .n = rank,
        .k = k,
        .trans_b = true,
        .is_rounded = is_rounded,
        .alpha = alpha,
    });
    if (cpu_rounds_rows(precision, m, k, false, true, b_type)) {
        float *whole = z + plan.z_floats;
        round_rows(whole, a, m * k);
        a = whole;
    }
    product(&(struct product){
        .y = y,
        .a = a,
        .b = b,
        .b_type = b_type,
        .c = c,
        .z = z,
        .q = q,
        .q_type = low_type,
        .rank = rank,
        .m = m,
        .n = n,
        .k = k,
        .trans_b = true,
        .is_rounded = is_rounded,
        .alpha = 1.0f,
    });
}

KERNEL_matmul_copies(matmul_copies_c)
{
    for (int64_t d = 0; d < copies; d++)
        matmul_c(y + d * m * n, a + d * m * k, b + d * n * k, DTYPE_f32,
                 c ? c + d * m * n : NULL, m, n, k, false, true, alpha,
                 precision, scratch, pool);
}
