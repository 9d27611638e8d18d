// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_kernels.h"
#include "engine/ir/op.h"
#include "engine/tensor/quant.h"

#include <math.h>
#include <string.h>

// Operators that treat a matrix column by column, or measure its rows.

KERNEL_scale_columns(scale_columns_c)
{
    for (int64_t t = 0; t < rows; t++)
        for (int64_t i = 0; i < cols; i++)
            y[t * cols + i] = x[t * cols + i] * w[i];
}

KERNEL_add_columns(add_columns_c)
{
    for (int64_t t = 0; t < rows; t++)
        for (int64_t i = 0; i < cols; i++)
            y[t * cols + i] = x[t * cols + i] + bias[i];
}

KERNEL_split(split_c)
{
    for (int64_t t = 0; t < rows; t++, x += a_cols + b_cols) {
        if (a)
            memcpy(a + t * a_cols, x, (size_t) a_cols * sizeof(*a));
        if (b)
            memcpy(b + t * b_cols, x + a_cols, (size_t) b_cols * sizeof(*b));
    }
}

KERNEL_join(join_c)
{
    for (int64_t t = 0; t < rows; t++, y += a_cols + b_cols) {
        memcpy(y, a + t * a_cols, (size_t) a_cols * sizeof(*y));
        memcpy(y + a_cols, b + t * b_cols, (size_t) b_cols * sizeof(*y));
    }
}

KERNEL_dot_columns(dot_columns_c)
{
    for (int64_t i = 0; i < cols; i++) {
        double sum = 0.0;
        for (int64_t t = 0; t < rows; t++)
            sum += (double) a[t * cols + i] * b[t * cols + i];
        w[i] = (float) sum;
    }
}

KERNEL_columns(columns_c)
{
    int64_t from, to;

    for (int64_t t = 0; t < rows; t++)
        for (int e = 0; e < 8; e++) {
            if (part != 0 && !(part >> e & 1))
                continue;
            op_part_range(&from, &to, cols, e);
            memcpy(y, x + t * cols + from, (size_t) (to - from) * sizeof(*y));
            y += to - from;
        }
}

KERNEL_columns_back(columns_back_c)
{
    int64_t from, to;

    for (int64_t t = 0; t < rows; t++)
        for (int e = 0; e < 8; e++) {
            op_part_range(&from, &to, cols, e);
            float *at = dx + t * cols + from;
            if (part != 0 && !(part >> e & 1)) {
                memset(at, 0, (size_t) (to - from) * sizeof(*at));
                continue;
            }
            memcpy(at, dy, (size_t) (to - from) * sizeof(*at));
            dy += to - from;
        }
}

// Liu et al., arXiv 2402.09353: each row keeps its length, which learns on its
// own, whatever b a adds to it. y, rows of w and b (O)  a (R,I)
KERNEL_row_ratio(row_ratio_c)
{
    const size_t row_bytes = dtype_row_bytes(w_type, cols);
    float *row = scratch;

    for (int64_t o = 0; o < rows; o++) {
        double before = 0.0, after = 0.0;
        quant_decode(w_type, row, (const char *) w + (size_t) o * row_bytes,
                     cols);
        for (int64_t i = 0; i < cols; i++) {
            double sum = 0.0;
            for (int64_t k = 0; k < rank; k++)
                sum += (double) b[o * rank + k] * a[k * cols + i];
            const double v = row[i] + alpha * sum;
            before += (double) row[i] * row[i];
            after += v * v;
        }
        y[o] = after > 0.0 ? (float) sqrt(before / after) : 1.0f;
    }
}
