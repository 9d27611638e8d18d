// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_kernels.h"
#include "engine/tensor/quant.h"

#include <string.h>

// y (M,N) = alpha * op(a) (M,K) op(b) (K,N) + c (M,N), a tile of outputs at a
// time, so that each part of b is decoded once for 16 rows of y.

enum {
    TILE_M = 16,
    TILE_N = 64, // whole blocks of every storage type
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
            size_t at = (size_t) (k0 + i) * dtype_row_bytes(type, n) +
                        dtype_row_bytes(type, n0);
            quant_decode(type, tile[i], bytes + at, ns);
        }
        return;
    }
    for (int64_t j = 0; j < ns; j++) {
        float column[TILE_K];
        size_t at = (size_t) (n0 + j) * dtype_row_bytes(type, k) +
                    dtype_row_bytes(type, k0);
        quant_decode(type, column, bytes + at, ks);
        for (int64_t i = 0; i < ks; i++)
            tile[i][j] = column[i];
    }
}

static int64_t min(int64_t x, int64_t y)
{
    return x < y ? x : y;
}

KERNEL_matmul(matmul_c)
{
    float bt[TILE_K][TILE_N] = {{0}};
    double acc[TILE_M][TILE_N];

    for (int64_t n0 = 0; n0 < n; n0 += TILE_N)
        for (int64_t m0 = 0; m0 < m; m0 += TILE_M) {
            const int64_t ns = min(TILE_N, n - n0);
            const int64_t ms = min(TILE_M, m - m0);

            memset(acc, 0, sizeof(acc));
            for (int64_t k0 = 0; k0 < k; k0 += TILE_K) {
                const int64_t ks = min(TILE_K, k - k0);
                load_b(bt, b, b_type, trans_b, k0, ks, n0, ns, k, n);
                for (int64_t i = 0; i < ms; i++)
                    for (int64_t p = 0; p < ks; p++) {
                        const double x = trans_a ? a[(k0 + p) * m + m0 + i]
                                                 : a[(m0 + i) * k + k0 + p];
                        for (int64_t j = 0; j < TILE_N; j++)
                            acc[i][j] += x * bt[p][j];
                    }
            }
            for (int64_t i = 0; i < ms; i++)
                for (int64_t j = 0; j < ns; j++) {
                    const int64_t at = (m0 + i) * n + n0 + j;
                    y[at] = (float) (alpha * acc[i][j] + (c ? c[at] : 0.0f));
                }
        }
}
