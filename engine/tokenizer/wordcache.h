// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Word cache
 *
 * The tokens of short words that were met lately: a slot holds the last word
 * that hashed to it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct token_list;
struct wordcache;

int wordcache_create(struct wordcache **out); // -ENOMEM
void wordcache_destroy(struct wordcache *c);

// Appends the tokens of `word` if they are known: 1, 0 when not, or what
// token_list_add() returns.
int wordcache_find(const struct wordcache *c, struct token_list *out,
                   const char *word, size_t bytes);
// Nothing happens where it is too long.
void wordcache_put(struct wordcache *c, const char *word, size_t bytes,
                   const int32_t *ids, size_t count);
