// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Tiny model files of every architecture, for tests
 *
 * A GGUF in F32 with a byte-level tokenizer, whose weights follow from a
 * tensor's name and a value's number: anyone can make the same ones, and values
 * of other programs on them need no weights beside them.
 */

#include "tests/support/bytetok.h"

#include <stddef.h>
#include <stdint.h>

enum { ARCHFILE_VOCAB = BYTETOK_VOCAB, ARCHFILE_CONTEXT = 64 };

struct archfile {
    const char *name; // of the variant
    const char *arch;
    uint32_t n_blocks, width, n_heads, n_kv_heads, head_dim, ffn_width;
    uint32_t rope_dims;
    uint32_t window;       // 0: no key
    float rope_linear;     // factor; 0: no key
    uint32_t rope_context; // longrope; 0: none
    uint8_t has_freqs;     // rope_freqs.weight
    uint8_t has_head;      // not tied
    uint8_t biases;        // bits 1 << enum model_linear
};

extern const struct archfile archfiles[];
extern const size_t archfile_count;
const struct archfile *archfile_find(const char *name); // NULL: none

// Value `i` of the tensor called `name`, from -0.5 to 0.5: a hash of both.
double archfile_value(const char *name, uint64_t i);

// A descriptor of the file, at its start. Asserts on failure.
int archfile_create(const struct archfile *a);
