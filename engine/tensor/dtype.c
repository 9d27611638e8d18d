// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/tensor/dtype.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

const struct dtype_info dtype_infos[DTYPE_COUNT] = {
#define DTYPE(name, gguf, block, bytes) \
    [DTYPE_##name] = {#name, gguf, block, bytes},
#include "engine/tensor/dtypes.def"
};

// The space before the first name is left out.
static const char weight_names[] =
#define WEIGHT(name, gguf, block, bytes) " " #name
#include "engine/tensor/dtypes.def"
    ;
const char *const dtype_weight_names = weight_names + 1;

bool dtype_is_weight(enum dtype type)
{
    return type != DTYPE_i32;
}

size_t dtype_row_bytes(enum dtype type, int64_t values)
{
    const struct dtype_info *d = &dtype_infos[type];

    assert(values >= 0 && values % d->block == 0);
    return (size_t) (values / d->block) * d->block_bytes;
}

int dtype_find(enum dtype *out, const char *name)
{
    for (int i = 0; i < DTYPE_COUNT; i++) {
        if (strcmp(dtype_infos[i].name, name) == 0) {
            *out = (enum dtype) i;
            return 0;
        }
    }
    return -ENOENT;
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
