// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Pre-tokenizers
 *
 * Cut text into the words inside which byte-level BPE may merge. Each one is a
 * row of pretokenizers.def: its names in GGUF files, and its stages. A stage
 * says where the first piece ends of what it is given; what one stage cuts off
 * is given to the next. Together they do what the regular expressions of the
 * models' tokenizers do.
 *
 * A byte that is not part of well-formed UTF-8 counts as one symbol.
 */

#include <stdbool.h>
#include <stddef.h>

struct str;

enum { PRETOKENIZE_STAGES = 6 };

// The length of the first piece; `bytes` is not 0.
typedef size_t pretokenize_fn(const unsigned char *p, size_t bytes);

struct pretokenizer {
    const char *names; // with a blank between; the first is the usual one
    pretokenize_fn *stages[PRETOKENIZE_STAGES + 1]; // up to NULL
    bool ignore_merges; // a word that is a token is that token
    bool adds_bos;      // where the file does not say
};

// NULL when there is none.
const struct pretokenizer *pretokenizer_find(const char *name);
// All names, for people.
void pretokenizer_names(struct str *out);
const struct pretokenizer *pretokenizer_at(unsigned i); // NULL past the end

// Start from pretokenize_start().
struct pretokenize {
    const struct pretokenizer *pre;
    const unsigned char *at;
    size_t left[PRETOKENIZE_STAGES + 1]; // of the text, and of each stage
};

void pretokenize_start(struct pretokenize *p, const struct pretokenizer *pre,
                       const char *text, size_t bytes);
// The length of the next word, which begins at p->at before the call; 0 at the
// end.
size_t pretokenize_next(struct pretokenize *p);
