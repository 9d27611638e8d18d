// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_kernels.h"

#include <math.h>
#include <string.h>

KERNEL_add(add_c)
{
    for (int64_t i = 0; i < count; i++)
        y[i] = a[i] + b[i];
}

KERNEL_scale(scale_c)
{
    for (int64_t i = 0; i < count; i++)
        y[i] = alpha * x[i];
}

// Gemma Team, arXiv 2408.00118, 2
KERNEL_soft_cap(soft_cap_c)
{
    for (int64_t i = 0; i < count; i++)
        y[i] = (float) (cap * tanh((double) x[i] / cap));
}

KERNEL_soft_cap_back(soft_cap_back_c)
{
    for (int64_t i = 0; i < count; i++) {
        const double z = (double) y[i] / cap;
        dx[i] = (float) (dy[i] * (1.0 - z * z));
    }
}

KERNEL_accumulate(accumulate_c)
{
    for (int64_t i = 0; i < count; i++)
        sum[i] += g[i];
}

KERNEL_zero(zero_c)
{
    memset(x, 0, (size_t) count * sizeof(*x));
}
