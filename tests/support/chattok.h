// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * A tokenizer with the special tokens of a chat format, for tests
 *
 * Byte level, with one merge: of two line feeds.
 */

#include "engine/tokenizer/chat.h"

struct chattok {
    struct tokenizer *t;
    struct chat chat;
};

// `specials` are divided by blanks and may begin with "<s>" and "</s>", which
// are the ends of a sequence. `jinja` may be NULL. 0 or a negative errno.
int chattok_create(struct chattok *out, const char *specials,
                   const char *jinja);
// The same as SentencePiece has it: bytes, and a blank of its own that comes
// before texts.
int chattok_create_spm(struct chattok *out, const char *specials,
                       const char *jinja);
void chattok_finish(struct chattok *c);
