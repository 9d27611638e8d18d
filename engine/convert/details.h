// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * What a model's file says of itself, for people
 */

#include "engine/formats/gguf.h"

struct model_config;

enum {
    DETAILS_TYPES_MAX = 16,
    DETAILS_SPECIALS_MAX = 8,
    DETAILS_TEXT_BYTES = 64,
    DETAILS_TEMPLATE_BYTES = 2048,
};

struct model_details {
    struct {
        char name[16]; // "q4_k"
        uint32_t n_tensors;
        uint64_t bytes;
    } types[DETAILS_TYPES_MAX]; // most bytes first
    uint32_t n_types;
    char tokenizer[80]; // "gpt2, llama-bpe"
    char license[DETAILS_TEXT_BYTES];
    struct {
        char role[8]; // "bos"
        uint32_t id;
        char text[DETAILS_TEXT_BYTES];
    } specials[DETAILS_SPECIALS_MAX];
    uint32_t n_specials;
    size_t template_bytes;                      // 0: it has none
    char template_head[DETAILS_TEMPLATE_BYTES]; // whole characters
    size_t template_head_bytes;
};

void details_read(struct model_details *out, const struct gguf *file);
// Memory of generation over the whole context, beside the mapped file: caches
// and what a piece of a prompt takes.
uint64_t details_generate_bytes(const struct model_config *m);
