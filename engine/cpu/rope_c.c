// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_kernels.h"

#include <math.h>

// Su et al., arXiv 2104.09864. x, y (T,H*D)  pos (T). Turning back by the same
// angles is the gradient: the matrix is orthogonal, times gain. A `slower` that
// is small where waves are short and large where they are long makes positions
// beyond those of training look like them: Ding et al., arXiv 2402.13753.
KERNEL_rope(rope_c)
{
    const int64_t half = rope_dims / 2;
    const double m = gain;

    for (int64_t t = 0; t < rows; t++)
        for (int64_t h = 0; h < n_heads; h++) {
            const float *xh = x + (t * n_heads + h) * head_dim;
            float *yh = y + (t * n_heads + h) * head_dim;

            for (int64_t i = 0; i < half; i++) {
                const double angle =
                    sign * (double) pos[t] *
                    pow((double) base, -2.0 * (double) i / (double) rope_dims) /
                    ((double) slow * (slower ? (double) slower[i] : 1.0));
                const double c = m * cos(angle);
                const double s = m * sin(angle);
                const int64_t i0 = mode == ROPE_PAIRS ? 2 * i : i;
                const int64_t i1 = mode == ROPE_PAIRS ? 2 * i + 1 : i + half;
                const double x0 = xh[i0];
                const double x1 = xh[i1];
                yh[i0] = (float) (x0 * c - x1 * s);
                yh[i1] = (float) (x0 * s + x1 * c);
            }
            for (int64_t i = rope_dims; i < head_dim; i++)
                yh[i] = xh[i];
        }
}
