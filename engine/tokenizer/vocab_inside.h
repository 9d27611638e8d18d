// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Vocabulary, for those who read one
 */

#include "engine/tokenizer/vocab.h"

struct textmap;

enum {
    VOCAB_MERGES_MAX = 1 << 20,
    VOCAB_NAME_MAX = UINT16_MAX,
};

int vocab_no_memory(struct error *err);

// An empty one, with its arena.
int vocab_create(struct vocab **out);
// From the names of tokens to their ids; textmap_finish() it.
int vocab_map_names(struct textmap *m, const struct vocab *v);
// A merge of two names; -EINVAL with a sentence. `names` as above.
int vocab_add_merge(struct vocab *v, const struct textmap *names,
                    const char *left, size_t left_bytes, const char *right,
                    size_t right_bytes, struct error *err);
// What follows from all the rest. Last.
void vocab_settle(struct vocab *v, const struct textmap *names);
