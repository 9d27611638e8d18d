// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * What somebody may have meant
 *
 * Of the words that could stand there, the one of which a slip or two made what
 * was typed: a letter too many, too few, wrong, or two in the wrong order.
 */

#include <stddef.h>

struct suggest {
    const char *typed;
    size_t typed_bytes;
    const char *best; // NULL: nothing is near; ends at best_bytes
    size_t best_bytes;
    size_t slips; // that lie between
};

void suggest_init(struct suggest *s, const char *typed, size_t bytes);
// Of words that are equally near, the first stays.
void suggest_consider(struct suggest *s, const char *word, size_t bytes);
