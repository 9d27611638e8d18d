// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Models to convert
 *
 * The files of a model, whatever it came as, read as GGUF would have them:
 * tensors by GGUF's names, and metadata that are written at once. A GGUF file,
 * the parts of a split one, or a directory as Hugging Face's tools write it:
 * config.json, tokenizer.json and safetensors, perhaps with an index.
 *
 * Nothing is read but the files that are given; names that a file mentions are
 * looked up among these alone.
 */

#include "engine/formats/gguf.h"

struct error;
struct source;

enum { SOURCE_FILES_MAX = 512 };

struct source_file {
    const char *name; // in its directory, without a path
    const void *data; // mapped; aligned to 8 bytes
    size_t bytes;
};

// What has to be done to the values of a tensor.
enum source_fix {
    SOURCE_FIX_NONE,
    // Rows of the heads' first halves and second halves take turns, as rotary
    // embeddings of GGUF's llama architecture want them.
    SOURCE_FIX_PERMUTE,
    SOURCE_FIX_PLUS_ONE, // gains that are stored as their distance from 1
};

struct source_tensor {
    char name[GGUF_NAME_BYTES];
    enum dtype dtype;
    uint32_t n_dims;
    int64_t ne[GGUF_DIMS_MAX]; // as in GGUF: ne[0] is contiguous
    const void *data;          // may be unaligned
    size_t bytes;
    enum source_fix fix;
    uint32_t heads; // of PERMUTE
};

// Puts the metadata, but general.file_type and general.quantization_version,
// into `w`. `name` is what the model is called where it does not say so itself.
// Files are borrowed until destroy.
int source_create(struct source **out, struct gguf_writer *w,
                  const struct source_file *files, uint32_t n_files,
                  const char *name, struct error *err);
void source_destroy(struct source *s); // accepts NULL

const char *source_format(const struct source *s); // "GGUF" or "safetensors"
uint32_t source_n_tensors(const struct source *s);
const struct source_tensor *source_tensor_at(const struct source *s,
                                             uint32_t i);
// Tensors that have no place in GGUF and were left out: how many.
uint32_t source_n_skipped(const struct source *s);

// Row `row` of a tensor, as floats.
void source_row(float *out, const struct source_tensor *t, int64_t row);
// Where the bytes of a row lie; with the order of rows corrected.
const void *source_row_bytes(const struct source_tensor *t, int64_t row);
int64_t source_rows(const struct source_tensor *t);
