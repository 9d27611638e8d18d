// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Pre-tokenizer
 *
 * Cuts text into the pieces inside which byte-level BPE may merge, as the
 * regular expression of GPT-2 does:
 *
 *   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * A byte that is not part of well-formed UTF-8 counts as one character that is
 * neither letter, number nor space.
 */

#include "engine/tokenizer/unicode_table.h"

#include <stddef.h>
#include <stdint.h>

// The length of the first piece; `bytes` is not 0.
size_t pretokenize_gpt2(const char *text, size_t bytes);

enum unicode_class pretokenize_class(uint32_t c);
