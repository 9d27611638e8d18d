// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Chat formats
 *
 * What stands around a message in models of others: one row each, for
 * chat.c. Prefixes and suffixes are texts with these in between:
 *
 *   TOKEN("x")  the special token x, which the model must have
 *   MAYBE("x")  the special token x, or its letters where there is none
 *   BOS, EOS    as the vocabulary says; no BOS where it has none
 *   SAYS        between what the format says and what the speaker says: in a
 *               prefix where that begins, in a suffix where it ends
 *
 * Formats are recognised by marks of the template that the model's file has.
 */

#include "engine/tokenizer/chat.h"

enum {
    CHAT_PIECE_TOKEN = 1,
    CHAT_PIECE_END, // of the name of a token
    CHAT_PIECE_BOS,
    CHAT_PIECE_EOS,
    CHAT_PIECE_MAYBE,
    CHAT_PIECE_SAYS,
    CHAT_PIECE_TEXT,
};

enum chat_format_flags {
    CHAT_TRIM_SYSTEM = 1 << CHAT_ROLE_SYSTEM,
    CHAT_TRIM_USER = 1 << CHAT_ROLE_USER,
    CHAT_TRIM_ASSISTANT = 1 << CHAT_ROLE_ASSISTANT,
    CHAT_TRIM = 7,
    CHAT_BOS_IN_TURN = 8,   // the prefix of a user has it: not one more
    CHAT_STRIPS_AFTER = 16, // vocabularies of SentencePiece drop blanks that
                            // follow a special token
    CHAT_IS_LENIENT = 32,   // letters in place of tokens that are not there
};

struct chat_format {
    const char *name;
    unsigned flags;
    // Of the system NULL: its text goes before the next text of the user,
    // between `before` and `after`.
    struct {
        const char *prefix, *suffix;
    } roles[CHAT_ROLE_COUNT];
    const char *before, *after;
    const char *between; // behind an assistant's turn that another follows
    const char *think;   // before the answer to the last question
};

// NULL for an unknown name.
const struct chat_format *chat_format_find(const char *name);
const struct chat_format *chat_format_at(unsigned i); // NULL behind the last
// NULL when no format is like it.
const struct chat_format *chat_format_recognise(const char *jinja);
// What the template says for the system when nobody does, "" for nothing.
void chat_format_default_system(char *out, size_t size, const char *jinja);

struct chat_piece {
    int kind;
    const char *text; // of TOKEN, MAYBE and TEXT
    size_t bytes;
};
// False at the end.
bool chat_piece_next(struct chat_piece *out, const char **at);
