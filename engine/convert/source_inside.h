// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Inside of source.c, for the readers of its formats.
 */

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/base/json.h"
#include "engine/convert/source.h"
#include "engine/formats/safetensors.h"

#include <stdbool.h>

struct gguf_set;

struct source {
    struct arena *arena;
    const struct source_file *files;
    uint32_t n_files;
    bool is_gguf;
    // GGUF
    struct gguf **parts;
    uint32_t n_parts;
    struct gguf_set *set;
    // safetensors
    struct safetensors **shards;
    uint32_t n_shards;

    struct source_tensor *tensors;
    uint32_t n_tensors, tensors_size;
    uint32_t n_skipped;
};

const struct source_file *source_find_file(const struct source *s,
                                           const char *name);
// A file of JSON. -ENOENT when there is none.
int source_text(const struct source_file **out, const struct source *s,
                const char *name, struct error *err);
// A JSON file that is an object; its tree lives as long as the source. -ENOENT
// when there is none.
int source_json(const struct json **out, struct source *s, const char *name,
                struct error *err);
// A new tensor with this name, or NULL: then `err` says why.
struct source_tensor *source_add(struct source *s, const char *name,
                                 struct error *err);

int source_read_hf(struct source *s, struct gguf_writer *w, const char *name,
                   struct error *err);

/*
 * Architectures of Hugging Face
 */

enum hf_arch_bit {
#define ARCH(model_type, id, arch, flags) HF_ARCH_BIT_##model_type,
#include "engine/convert/hf_archs.def"
};

enum {
#define ARCH(model_type, id, arch, flags) \
    HF_##id = 1u << HF_ARCH_BIT_##model_type,
#include "engine/convert/hf_archs.def"
};

enum hf_flags {
    HF_PERMUTE = 1,  // rows of q and k
    HF_PLUS_ONE = 2, // gains of norms
    HF_HEAD = 4,     // GGUF wants a head, also where it is the embeddings
};

struct hf_arch {
    const char *model_type; // of config.json
    const char *arch;       // of GGUF
    uint32_t bit;           // HF_LLAMA
    uint32_t flags;
};

// What the tensors' and the tokenizer's readers want to know.
struct hf_config {
    const struct hf_arch *arch;
    const struct json *root; // config.json
    const struct json *text; // where the language model is described
    uint32_t n_blocks, width, n_heads, n_kv_heads, head_dim, n_vocab;
    bool is_tied;
    float rope_base;
};

// Reads config.json, puts its keys.
int hf_config_read(struct hf_config *out, struct source *s,
                   struct gguf_writer *w, const char *name, struct error *err);
// Adds the tensors of all shards, and those that follow from the config.
int hf_tensors_read(struct source *s, const struct hf_config *c,
                    struct error *err);
// Frequencies of rotary embeddings that the config describes.
int hf_rope_tensors(struct source *s, const struct hf_config *c,
                    struct error *err);
// Reads tokenizer.json and its companions, puts its keys.
int hf_tokenizer_read(struct source *s, const struct hf_config *c,
                      struct gguf_writer *w, struct error *err);

// A number of a config: -ENOENT when it is absent or null, -EINVAL with a
// sentence when it is no whole number from 1 to max.
int hf_get_count(uint32_t *out, const struct json *object, const char *key,
                 uint32_t max, struct error *err);
int hf_get_float(float *out, const struct json *object, const char *key,
                 struct error *err);
