// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Conversion of models
 *
 * Any source as one GGUF file, its weights as they are or of another type.
 * Rows are made and written piece by piece: of a model of any size some
 * megabytes are in memory, beside what is mapped.
 */

#include "engine/convert/details.h"
#include "engine/convert/source.h"

#include <stdatomic.h>

struct pool;

enum convert_type {
    CONVERT_KEEP, // as they are
    CONVERT_F32,
    CONVERT_F16,
    CONVERT_BF16,
    CONVERT_Q8_0,
    CONVERT_Q4_0,
    CONVERT_Q4_K, // with the mixture that is called Q4_K_M
    CONVERT_TYPES
};

const char *convert_type_name(enum convert_type type); // "q4_k"
// -EINVAL with a sentence for a name that is none of them.
int convert_type_parse(enum convert_type *out, const char *name,
                       struct error *err);

// What a tensor becomes. `is_head`: its values make the logits.
struct convert_place {
    const char *name;
    uint32_t n_dims;
    int64_t columns;
    enum dtype dtype; // now
    uint32_t n_blocks;
    bool is_tied; // token_embd.weight is the head, too
};
enum dtype convert_choose(enum convert_type type,
                          const struct convert_place *p);

struct convert_params {
    enum convert_type type;
    const char *name;        // of a model that has none in itself
    struct pool *pool;       // NULL: the caller's thread
    const atomic_bool *stop; // NULL: never
    // Told at most every few megabytes. May be NULL.
    void (*progress)(void *user, uint64_t done, uint64_t total);
    void *user;
};

struct convert_result {
    char format[16]; // of the source
    uint32_t n_tensors, n_skipped;
    uint32_t n_fallback; // rows whose length the type's blocks do not divide
    uint64_t bytes;      // of tensors
    // convert_fds() alone: a look at the result, and why it cannot be a base
    // model, or "".
    struct model_details details;
    char notice[512];
};

// At the offset of `fd`; does not fsync.
int convert_files(struct convert_result *out, int fd,
                  const struct source_file *files, uint32_t n_files,
                  const struct convert_params *params, struct error *err);

struct convert_fd {
    const char *name;
    int fd;
};

// The same; `out_fd` is an empty regular file that can be read, too.
int convert_fds(struct convert_result *out, int out_fd,
                const struct convert_fd *in, uint32_t n, uint32_t threads,
                const struct convert_params *params, struct error *err);
