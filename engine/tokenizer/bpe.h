// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Byte pair encoding
 *
 * Turns a word, which is bytes, into token ids: every byte is a token, and the
 * pair of neighbours whose merge has the lowest rank becomes one token, the
 * leftmost first, until no pair has one. Words that come again are taken from
 * a cache.
 */

#include <stddef.h>
#include <stdint.h>

struct bpe;
struct textmap;
struct token_list;

// `byte_ids` is copied. At most `n_merges` merges can be added.
int bpe_create(struct bpe **out, const int32_t byte_ids[256],
               uint32_t n_merges);
void bpe_destroy(struct bpe *b);
// A word that is one of these is that token, whatever merges make of it.
// Borrowed until bpe_destroy().
void bpe_set_words(struct bpe *b, const struct textmap *words);

// The next rank. A pair that is there already keeps its lower rank.
void bpe_add_merge(struct bpe *b, int32_t left, int32_t right, int32_t id);

// Appends to `out`; -ENOMEM, or -E2BIG past the list's limit.
int bpe_encode(struct bpe *b, struct token_list *out, const char *word,
               size_t bytes);
