// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/choose.h"
#include "engine/cpu/cpu_kernels.h"

#include <math.h>

/*
 * What is kept of a product's input for the gradient of its weight. VeLoRA
 * (Miles et al., arXiv 2405.17991): a row is cut into sub-tokens, and of each
 * only its part along a fixed direction stays. WTA-CRS (choose.c): some rows
 * stay.
 */

// Only gradients, which are nodes of their own, read what was kept.
KERNEL_matmul_kept(matmul_kept_c)
{
    matmul_c(y, a, b, b_type, c, m, n, k, false, true, alpha, precision,
             scratch, pool);
}

static bool is_zero(const float *v, int64_t size)
{
    for (int64_t i = 0; i < size; i++)
        if (v[i] != 0)
            return false;
    return true;
}

KERNEL_subtoken_mean(subtoken_mean_c)
{
    double *sum = scratch;
    double square = 0.0;

    if (!is_zero(v, size))
        return;
    for (int64_t i = 0; i < size; i++)
        sum[i] = 0.0;
    for (int64_t at = 0; at < rows * cols; at += size)
        for (int64_t i = 0; i < size; i++)
            sum[i] += x[at + i];
    for (int64_t i = 0; i < size; i++)
        square += sum[i] * sum[i];
    // Anything but zero, which would mean that there was no batch yet.
    for (int64_t i = 0; i < size; i++)
        v[i] = square > 0.0 ? (float) (sum[i] / sqrt(square))
                            : 1.0f / sqrtf((float) size);
}

KERNEL_subtoken_dot(subtoken_dot_c)
{
    for (int64_t g = 0; g < rows * (cols / size); g++) {
        double sum = 0.0;
        for (int64_t i = 0; i < size; i++)
            sum += (double) x[g * size + i] * v[i];
        z[g] = (float) (alpha * sum);
    }
}

KERNEL_subtoken_spread(subtoken_spread_c)
{
    for (int64_t g = 0; g < rows * (cols / size); g++)
        for (int64_t i = 0; i < size; i++)
            y[g * size + i] = z[g] * v[i];
}

KERNEL_choose_rows(choose_rows_c)
{
    const struct cpu_choose room = cpu_choose_room(scratch, n_rows);

    for (int64_t t = 0; t < n_rows; t++) {
        double sum = 0.0;
        for (int64_t i = 0; i < cols; i++)
            sum += (double) x[t * cols + i] * x[t * cols + i];
        room.lengths[t] = sqrt(sum);
    }
    cpu_choose(&room, rows, norms, draw, stream, n_chosen, n_rows);
    for (int64_t j = 0; j < n_chosen; j++)
        for (int64_t i = 0; i < cols; i++)
            xs[j * cols + i] = room.factors[j] * x[rows[j] * cols + i];
}

KERNEL_row_squares(row_squares_c)
{
    double *squares = scratch;
    double total = 0.0;

    for (int64_t t = 0; t < rows; t++) {
        squares[t] = 0.0;
        for (int64_t i = 0; i < cols; i++)
            squares[t] += (double) x[t * cols + i] * x[t * cols + i];
        total += squares[t];
    }
    for (int64_t t = 0; t < rows; t++) {
        const double share = total > 0.0 ? squares[t] / total : 0.0;
        y[t] = (float) ((sum ? sum[t] : 0.0) + (double) rows * share);
    }
}
