// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * A tiny model file for tests
 *
 * A GGUF of the llama architecture with random weights, two blocks of width
 * 32, and a byte-level tokenizer with the control tokens of a chat: small
 * enough that a test may train it. Lives in memory only.
 */

#include "tests/support/bytetok.h"

#include <stdint.h>

enum {
    TINYFILE_CONTEXT = 96,
    TINYFILE_VOCAB = BYTETOK_VOCAB,
};

// A descriptor of the file; another seed is another model. Asserts on failure.
int tinyfile_create(uint64_t seed);
