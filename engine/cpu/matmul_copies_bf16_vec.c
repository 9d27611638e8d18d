// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/bf16.h"
#include "engine/cpu/cpu_kernels.h"

// Long sums are rounded, one copy after the other.
KERNEL_matmul_copies(VEC_NAME(matmul_copies))
{
    if (!op_rounds((uint8_t) precision, m, n, k)) {
        BASE_NAME(matmul_copies)
        (y, a, b, c, copies, m, n, k, alpha, PRECISION_F32, scratch, pool);
        return;
    }
    for (int64_t d = 0; d < copies; d++)
        MATMUL(y + d * m * n, a + d * m * k, b + d * n * k, DTYPE_f32,
               c ? c + d * m * n : NULL, m, n, k, false, true, alpha, precision,
               scratch, pool);
}
