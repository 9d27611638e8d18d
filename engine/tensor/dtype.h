// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Storage types
 *
 * Quantised types hold rows in blocks along the contiguous dimension; a row is
 * a whole number of blocks. Values by type: FORMATS of llama.cpp's ggml, block
 * layouts in quant.h.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dtype {
#define DTYPE(name, gguf, block, bytes) DTYPE_##name,
#include "engine/tensor/dtypes.def"
    DTYPE_COUNT
};

struct dtype_info {
    const char *name;
    uint32_t gguf_type;
    uint32_t block; // values in a block
    uint32_t block_bytes;
};

extern const struct dtype_info dtype_infos[DTYPE_COUNT];
// Names of the types that weights may have, with spaces between them.
extern const char *const dtype_weight_names;

// Bytes of a row of `values` values, which must be whole blocks.
size_t dtype_row_bytes(enum dtype type, int64_t values);
// May weights be of this type?
bool dtype_is_weight(enum dtype type);
// -ENOENT for a type that this build does not know.
int dtype_find(enum dtype *out, const char *name);
int dtype_from_gguf(enum dtype *out, uint32_t gguf_type);
