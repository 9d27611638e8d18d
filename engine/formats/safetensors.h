// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * safetensors files
 *
 * u64 length, that many bytes of JSON, then the tensors' bytes. A file that
 * loads is consistent: offsets cover the data without gap or overlap, and
 * shapes agree with them. Shapes are in the file's order: ne[0] outermost.
 */

#include "engine/tensor/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct safetensors;

enum { SAFETENSORS_DIMS_MAX = 8 };

struct safetensors_tensor {
    const char *name; // NUL-terminated, holds no other NUL
    const char *type; // as in the file: "F32"
    bool is_known;    // then dtype is set
    enum dtype dtype;
    uint32_t n_dims; // 0 for a scalar
    int64_t ne[SAFETENSORS_DIMS_MAX];
    const void *data; // may be unaligned; of `bytes` bytes
    size_t bytes;
};

// The fd is not kept; memory is borrowed until safetensors_destroy().
int safetensors_load(struct safetensors **out, const char *path,
                     struct error *err);
int safetensors_load_fd(struct safetensors **out, int fd, struct error *err);
int safetensors_load_memory(struct safetensors **out, const void *data,
                            size_t bytes, struct error *err);
void safetensors_destroy(struct safetensors *s);

// An entry of __metadata__, or NULL.
const char *safetensors_metadata(const struct safetensors *s, const char *key);
uint32_t safetensors_n_tensors(const struct safetensors *s);
const struct safetensors_tensor *safetensors_tensor_at(
    const struct safetensors *s, uint32_t i);
// NULL when there is none.
const struct safetensors_tensor *safetensors_find(const struct safetensors *s,
                                                  const char *name);
// The tensor's values as floats: F32, F16 and BF16.
int safetensors_read_f32(float *out, const struct safetensors_tensor *t,
                         struct error *err);

// Writes `count` tensors in this order, at the current offset of `fd`; uses
// name, dtype (f32, f16, bf16, i32), n_dims, ne and data of each.
// `metadata` is key, value, ..., NULL; or NULL for none.
int safetensors_save_fd(int fd, const struct safetensors_tensor *tensors,
                        uint32_t count, const char *const *metadata,
                        struct error *err);
