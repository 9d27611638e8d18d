// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_kernels.h"

#include <math.h>

KERNEL_momentum(momentum_c)
{
    const float beta = hyper[ADAMW_BETA1];
    const float rate = hyper[ADAMW_LR];
    const float decay = hyper[ADAMW_DECAY];

    for (int64_t i = 0; i < count; i++) {
        m[i] = beta * m[i] + g[i];
        p[i] -= rate * (m[i] + decay * p[i]);
    }
}

// Loshchilov & Hutter, arXiv 1711.05101. p, m, v, g of one shape.
KERNEL_adamw(adamw_c)
{
    const double beta1 = hyper[ADAMW_BETA1];
    const double beta2 = hyper[ADAMW_BETA2];
    const double clip = hyper[ADAMW_CLIP];
    double scale = 1.0;

    if (clip > 0.0) {
        double ss = 0.0;
        for (int64_t i = 0; i < count; i++)
            ss += (double) g[i] * g[i];
        if (sqrt(ss) > clip)
            scale = clip / sqrt(ss);
    }
    for (int64_t i = 0; i < count; i++) {
        const double gi = scale * g[i];
        const double mi = beta1 * m[i] + (1.0 - beta1) * gi;
        const double vi = beta2 * v[i] + (1.0 - beta2) * gi * gi;
        const double step =
            mi / hyper[ADAMW_CORRECT1] /
            (sqrt(vi / hyper[ADAMW_CORRECT2]) + (double) hyper[ADAMW_EPS]);
        p[i] = (float) (p[i] - hyper[ADAMW_LR] *
                                   (step + (double) hyper[ADAMW_DECAY] * p[i]));
        m[i] = (float) mi;
        v[i] = (float) vi;
    }
}
