// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_kernels.h"
#include "engine/tensor/quant.h"

#include <string.h>

// Operators that move rows by number. None of them computes anything.

KERNEL_embed(embed_c)
{
    const size_t row_bytes = dtype_row_bytes(w_type, cols);

    for (int64_t t = 0; t < rows; t++) {
        float *yt = y + t * cols;
        const int32_t id = tokens[t];
        if (id < 0 || id >= vocab)
            memset(yt, 0, (size_t) cols * sizeof(*yt));
        else
            quant_decode(w_type, yt, (const char *) w + (size_t) id * row_bytes,
                         cols);
    }
}

KERNEL_rows(rows_c)
{
    for (int64_t i = 0; i < n_rows; i++) {
        float *yi = y + i * cols;
        const int32_t t = index[i];
        if (t < 0 || t >= rows)
            memset(yi, 0, (size_t) cols * sizeof(*yi));
        else
            memcpy(yi, x + t * cols, (size_t) cols * sizeof(*yi));
    }
}

KERNEL_kv_store(kv_store_c)
{
    for (int64_t t = 0; t < rows; t++)
        if (pos[t] >= 0 && pos[t] < length)
            memcpy(cache + pos[t] * cols, x + t * cols,
                   (size_t) cols * sizeof(*x));
}
