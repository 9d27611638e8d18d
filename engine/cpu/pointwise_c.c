// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_kernels.h"

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

KERNEL_accumulate(accumulate_c)
{
    for (int64_t i = 0; i < count; i++)
        sum[i] += g[i];
}

KERNEL_zero(zero_c)
{
    memset(x, 0, (size_t) count * sizeof(*x));
}
