// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * GGUF files
 *
 * Reader of versions 2 and 3 over a read-only mapping, and writer. A file that
 * loads is consistent: keys and names are unique, every length was checked,
 * and the bytes of every tensor of a known type lie inside the file. Tensors
 * of types that this build does not know may be in the table; they are refused
 * when someone asks for them.
 *
 * Dimensions here are in the file's order: ne[0] is the contiguous one.
 */

#include "engine/tensor/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct gguf;

enum {
    GGUF_NAME_BYTES = 64, // a tensor's name, with its NUL
    GGUF_DIMS_MAX = 4,
};

enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STR,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPE_COUNT
};

struct gguf_tensor {
    char name[GGUF_NAME_BYTES];
    uint32_t n_dims;
    int64_t ne[GGUF_DIMS_MAX]; // 1 beyond n_dims
    uint32_t type_id;          // as in the file
    bool is_known;             // then dtype, data and bytes are set
    enum dtype dtype;
    const void *data; // in the mapping, aligned to 8 bytes
    size_t bytes;
};

// The fd is not kept. Memory is borrowed until gguf_destroy() and must be
// aligned to 8 bytes.
int gguf_load(struct gguf **out, const char *path, struct error *err);
int gguf_load_fd(struct gguf **out, int fd, struct error *err);
int gguf_load_memory(struct gguf **out, const void *data, size_t bytes,
                     struct error *err);
// The same for one file of a model that is split into several: see gguf_set.h.
// The others refuse it.
int gguf_load_part_fd(struct gguf **out, int fd, struct error *err);
int gguf_load_part_memory(struct gguf **out, const void *data, size_t bytes,
                          struct error *err);
void gguf_destroy(struct gguf *g);

// The whole file, as mapped: tensors' data point into it.
const void *gguf_mapping(const struct gguf *g, size_t *bytes);

/*
 * Metadata. -ENOENT when the key is absent, -EINVAL when its value is of
 * another type or does not fit; both with a sentence. Integers are taken from
 * any integer type, f32 also from f64. Strings are NUL-terminated and hold no
 * other NUL; they live as long as the file.
 */
bool gguf_has(const struct gguf *g, const char *key);
int gguf_get_u32(uint32_t *out, const struct gguf *g, const char *key,
                 struct error *err);
int gguf_get_f32(float *out, const struct gguf *g, const char *key,
                 struct error *err);
int gguf_get_bool(bool *out, const struct gguf *g, const char *key,
                  struct error *err);
int gguf_get_str(const char **out, const struct gguf *g, const char *key,
                 struct error *err);

// An array, read through the functions below.
struct gguf_array {
    enum gguf_type type;
    uint64_t count;
    const unsigned char *data;
};

// `type` is what the elements must be.
int gguf_get_array(struct gguf_array *out, const struct gguf *g,
                   const char *key, enum gguf_type type, struct error *err);
int32_t gguf_array_i32(const struct gguf_array *a, uint64_t i);
float gguf_array_f32(const struct gguf_array *a, uint64_t i);
// Strings one after the other: call at most `count` times, starting with
// *cursor = 0. Not NUL-terminated.
const char *gguf_array_next(const struct gguf_array *a, size_t *cursor,
                            size_t *bytes);

// Pairs in the order of the file, as bytes that gguf_writer_pair() takes.
uint32_t gguf_n_pairs(const struct gguf *g);
const void *gguf_pair_at(const struct gguf *g, uint32_t i, const char **key,
                         size_t *bytes);

uint32_t gguf_n_tensors(const struct gguf *g);
const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, uint32_t i);
// NULL when there is none; may be of an unknown type.
const struct gguf_tensor *gguf_find(const struct gguf *g, const char *name);
// -ENOENT, or -ENOTSUP for a type that this build cannot read.
int gguf_get_tensor(const struct gguf_tensor **out, const struct gguf *g,
                    const char *name, struct error *err);

/*
 * Writer, of version 3. Metadata is copied; a tensor's data are borrowed until
 * the writer is destroyed. Failures are kept and come out of gguf_writer_save:
 * -ENOMEM, or -EINVAL for a name that is too long or used twice.
 */
struct gguf_writer;

int gguf_writer_create(struct gguf_writer **out);
void gguf_writer_destroy(struct gguf_writer *w);
void gguf_writer_u32(struct gguf_writer *w, const char *key, uint32_t value);
void gguf_writer_f32(struct gguf_writer *w, const char *key, float value);
void gguf_writer_bool(struct gguf_writer *w, const char *key, bool value);
void gguf_writer_str(struct gguf_writer *w, const char *key, const char *text);
void gguf_writer_strs(struct gguf_writer *w, const char *key,
                      const char *const *texts, uint32_t count);
void gguf_writer_i32s(struct gguf_writer *w, const char *key,
                      const int32_t *values, uint32_t count);
void gguf_writer_f32s(struct gguf_writer *w, const char *key,
                      const float *values, uint32_t count);
// A pair of another file, as gguf_pair_at() gives it.
void gguf_writer_pair(struct gguf_writer *w, const void *pair, size_t bytes);
// `ne` in the file's order, n_dims of them. Without `data` the source is asked
// for them when the file is written: *data lives until it is asked again.
typedef int gguf_writer_source_fn(const void **data, void *user,
                                  const char *name, struct error *err);
void gguf_writer_source(struct gguf_writer *w, gguf_writer_source_fn *source,
                        void *user);
// The same for tensors that are made piece by piece: *data and *bytes (at least
// one) from byte `at` of the tensor with this name and number on.
typedef int gguf_writer_part_fn(const void **data, size_t *bytes, void *user,
                                uint32_t tensor, uint64_t at,
                                struct error *err);
void gguf_writer_parts(struct gguf_writer *w, gguf_writer_part_fn *part,
                       void *user);
void gguf_writer_tensor(struct gguf_writer *w, const char *name,
                        enum dtype type, uint32_t n_dims, const int64_t *ne,
                        const void *data);
// Bytes of the tensors, with the padding between them.
uint64_t gguf_writer_data_bytes(const struct gguf_writer *w);
// From the current offset of `fd`; does not fsync.
int gguf_writer_save_fd(struct gguf_writer *w, int fd, struct error *err);
// Atomically: see file_write_atomic().
int gguf_writer_save(struct gguf_writer *w, int dirfd, const char *name,
                     struct error *err);
