// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Adapter
 *
 * What a scheme lets learn, in memory: the tensors in the order of
 * scheme_params(), in one allocation of floats. Files are GGUF, as llama.cpp's
 * --lora loads, and PEFT (adapter_model.safetensors with adapter_config.json),
 * as transformers loads. What is no plain LoRA is GGUF of a layout of ours:
 * adapter.type is "pockd", the key pockd.scheme holds the scheme as JSON, and
 * tensors are named as in struct param.
 *
 * Loading accepts adapters made elsewhere when both halves of each linear are
 * there, with finite numbers. Errors name the tensor.
 */

#include "engine/base/hash.h"
#include "engine/models/scheme.h"
#include "engine/train/privacy.h"

#include <stddef.h>
#include <stdint.h>

struct error;
struct str;

struct adapter {
    struct scheme scheme;
    char arch[32];
    // Of the base, what the names of its tensors hang on; see model.h.
    bool is_qkv_fused, is_gate_fused;
    uint8_t norms;
    char base_sha256[HASH_HEX]; // of the base's file; "" when unknown
    uint32_t n_blocks;          // of the base model
    uint32_t n_params;
    struct param *params;
    size_t *starts; // n_params + 1: in floats, from `data`
    float *data;
    // Of one that was learned without gradients: what it can be rebuilt from
    // (journal.h), as hexadecimal text; NULL: nothing. Kept by GGUF files.
    char *journal;
    // What it gives away of any one record, where a promise was kept through
    // all that it was learned from; see privacy.h. Kept by GGUF files.
    struct privacy privacy;
};

// All zero. `base_sha256` may be NULL.
int adapter_create(struct adapter **out, const struct model_config *m,
                   const struct scheme *scheme, const char *base_sha256,
                   struct error *err);
void adapter_destroy(struct adapter *a);

// How an adapter begins: A is normal with variance 1 / inputs, all else is
// zero, and so it is nothing (Hu et al., arXiv 2106.09685).
int adapter_begin(float *values, const struct model_config *config,
                  const struct scheme *scheme, uint64_t seed);

// The floats of param i, row-major (ne[0], ne[1]).
float *adapter_param(const struct adapter *a, uint32_t i);
size_t adapter_floats(const struct adapter *a);

// Is it a LoRA and nothing else, as files of others can hold it? -ENOTSUP and
// a sentence that names a tensor and the formats that would do.
int adapter_check_lora(const struct adapter *a, const char *format,
                       struct error *err);
int adapter_check_peft(const struct adapter *a, struct error *err);

/*
 * GGUF. `name` is general.name. Saving to an fd writes at its offset and does
 * not fsync; saving by name is atomic. When both the file and the caller know
 * the base's hash (it may be NULL), they must agree.
 */
int adapter_save_gguf_fd(const struct adapter *a, const char *name, int fd,
                         struct error *err);
int adapter_save_gguf(const struct adapter *a, const char *name, int dirfd,
                      const char *file, struct error *err);
int adapter_load_gguf_fd(struct adapter **out, const struct model_config *m,
                         const char *base_sha256, int fd, struct error *err);
int adapter_load_gguf_memory(struct adapter **out, const struct model_config *m,
                             const char *base_sha256, const void *data,
                             size_t bytes, struct error *err);

/*
 * PEFT. The two files apart, for those who have fds only, or both in a
 * directory. `base_name` is base_model_name_or_path. Rows of q and k are put
 * into Hugging Face order where the architecture's GGUF differs.
 */
int adapter_save_peft_fd(const struct adapter *a, const struct model_config *m,
                         int fd, struct error *err);
void adapter_peft_config(const struct adapter *a, const char *base_name,
                         struct str *out);
int adapter_save_peft(const struct adapter *a, const struct model_config *m,
                      const char *base_name, int dirfd, struct error *err);
// `config` is the text of adapter_config.json.
int adapter_load_peft_fd(struct adapter **out, const struct model_config *m,
                         const char *base_sha256, const char *config,
                         size_t config_bytes, int tensors_fd,
                         struct error *err);
int adapter_load_peft_memory(struct adapter **out, const struct model_config *m,
                             const char *base_sha256, const char *config,
                             size_t config_bytes, const void *data,
                             size_t bytes, struct error *err);
