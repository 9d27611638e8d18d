// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * A tiny directory of Hugging Face's for tests
 *
 * config.json, tokenizer.json and safetensors of two blocks, of any of the
 * architectures that can be converted, in memory. Each value is a small number
 * that follows from the tensor's name and its place. Everything may be changed
 * before hfdir_files().
 */

#include "engine/base/str.h"
#include "engine/convert/source.h"

enum {
    HFDIR_WIDTH = 16,
    HFDIR_HEADS = 4,
    HFDIR_KV_HEADS = 2,
    HFDIR_HEAD_DIM = 4,
    HFDIR_FFN = 32,
    HFDIR_VOCAB = 24,
    HFDIR_BLOCKS = 2,
    HFDIR_FILES_MAX = 8,
};

struct hfdir {
    struct str config, tokenizer, tokenizer_config, index;
    struct str shards[2]; // whole files
    bool is_sharded;
    // Of the tensors, while they are made
    struct str headers[2], data[2];
    struct source_file files[HFDIR_FILES_MAX];
};

// `model_type` as in config.json; `more` is put into it, as
// ",\"rope_theta\":1e6", or "". Aborts on failure.
void hfdir_init(struct hfdir *d, const char *model_type, const char *more,
                bool is_sharded);
// One more tensor, before hfdir_files(). `ne` as in safetensors.
void hfdir_tensor(struct hfdir *d, const char *name, int n_dims, const int *ne);
// Closes the shards; how many files there are. They live until finish.
uint32_t hfdir_files(struct hfdir *d);
void hfdir_finish(struct hfdir *d);
// The value at `i` of a tensor.
float hfdir_value(const char *name, int64_t i);
