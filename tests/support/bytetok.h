// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * A tokenizer for model files of tests
 *
 * Byte level, with the control tokens of a chat and one merge. A larger
 * vocabulary is filled up with tokens that no text gives.
 */

#include <stdint.h>

struct gguf_writer;

enum { BYTETOK_VOCAB = 4 + 256 + 1 }; // control, bytes, one merge

// How a byte-level vocabulary writes this byte, ending in NUL.
void bytetok_letter(char out[3], int byte);
// n_vocab >= BYTETOK_VOCAB. Asserts when memory is out.
void bytetok_add(struct gguf_writer *w, uint32_t n_vocab);
