// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_kernels.h"

#include <math.h>

// Zhang & Sennrich, arXiv 1910.07467. x, y, dx, dy (T,C)  w, dw (C)  rstd (T)

KERNEL_rmsnorm(rmsnorm_c)
{
    for (int64_t t = 0; t < rows; t++) {
        const float *xt = x + t * cols;
        float *yt = y + t * cols;

        double ss = 0.0;
        for (int64_t i = 0; i < cols; i++)
            ss += (double) xt[i] * xt[i];
        const float r = (float) (1.0 / sqrt(ss / (double) cols + eps));

        for (int64_t i = 0; i < cols; i++)
            yt[i] = xt[i] * r * w[i];
        if (rstd)
            rstd[t] = r;
    }
}

// y_i = r x_i w_i, and dr / dx_j = -r^3 x_j / C, so
// dx_j = r (w_j dy_j - x_j r^2 / C * sum_i dy_i w_i x_i)
KERNEL_rmsnorm_dx(rmsnorm_dx_c)
{
    for (int64_t t = 0; t < rows; t++) {
        const float *xt = x + t * cols;
        const float *dyt = dy + t * cols;
        float *dxt = dx + t * cols;
        const double r = rstd[t];

        double dot = 0.0;
        for (int64_t i = 0; i < cols; i++)
            dot += (double) dyt[i] * w[i] * xt[i];
        const double pull = dot * r * r / (double) cols;

        for (int64_t i = 0; i < cols; i++)
            dxt[i] = (float) (r * ((double) w[i] * dyt[i] - xt[i] * pull));
    }
}

KERNEL_rmsnorm_dw(rmsnorm_dw_c)
{
    for (int64_t i = 0; i < cols; i++) {
        double sum = 0.0;
        for (int64_t t = 0; t < rows; t++)
            sum += (double) dy[t * cols + i] * x[t * cols + i] * rstd[t];
        dw[i] = (float) sum;
    }
}
