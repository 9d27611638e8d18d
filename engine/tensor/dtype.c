// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/tensor/dtype.h"

#include <assert.h>
#include <errno.h>

const struct dtype_info dtype_infos[DTYPE_COUNT] = {
#define DTYPE(name, gguf, block, bytes) \
    [DTYPE_##name] = {#name, gguf, block, bytes},
#include "engine/tensor/dtypes.def"
#undef DTYPE
};

size_t dtype_row_bytes(enum dtype type, int64_t values)
{
    const struct dtype_info *d = &dtype_infos[type];

    assert(values >= 0 && values % d->block == 0);
    return (size_t) (values / d->block) * d->block_bytes;
}

int dtype_from_gguf(enum dtype *out, uint32_t gguf_type)
{
    for (int i = 0; i < DTYPE_COUNT; i++) {
        if (dtype_infos[i].gguf_type == gguf_type) {
            *out = (enum dtype) i;
            return 0;
        }
    }
    return -ENOENT;
}
