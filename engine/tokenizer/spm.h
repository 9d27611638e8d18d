// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * SentencePiece BPE
 *
 * Characters are joined to tokens, and these to longer ones: of all neighbours
 * whose texts together are a token, those first whose token has the highest
 * score, and the leftmost of these. A character that is part of no token is
 * written as its bytes. There is no other table than the tokens themselves.
 *
 * Blanks are blanks here; U+2581, as which SentencePiece writes them, is taken
 * for one.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct spm;
struct textmap;
struct token_list;

struct spm_params {
    const struct textmap *texts; // borrowed until spm_destroy(), as the scores
    const float *scores;         // of each id
    int32_t byte_ids[256];
    size_t longest; // bytes of a text
    // No text has a blank behind another character: so each word can be taken
    // alone.
    bool has_words;
};

int spm_create(struct spm **out, const struct spm_params *params); // -ENOMEM
void spm_destroy(struct spm *s);

// Appends to `out`; with `space` as if the text began with one more.
// -ENOMEM, or -E2BIG past the list's limit.
int spm_encode(struct spm *s, struct token_list *out, const char *text,
               size_t bytes, bool space);
