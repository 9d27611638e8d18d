// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Text map
 *
 * From texts to the ids that have them. It holds ids only; whoever owns the
 * texts says what they are, so that they are in memory once.
 */

#include <stddef.h>
#include <stdint.h>

typedef const char *textmap_text_fn(const void *owner, int32_t id,
                                    size_t *bytes);

// Start from {0}, or finish before.
struct textmap {
    int32_t *slots; // negative: empty
    uint32_t mask;
    textmap_text_fn *text;
    const void *owner;
};

// Room for `count` ids. -ENOMEM.
int textmap_init(struct textmap *m, uint32_t count, textmap_text_fn *text,
                 const void *owner);
void textmap_finish(struct textmap *m);

// Of equal texts the first that was added is found.
void textmap_add(struct textmap *m, int32_t id);
// The id, or -1.
int32_t textmap_find(const struct textmap *m, const char *text, size_t bytes);
