// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Records
 *
 * What the owner gave to learn from, decoded but not yet tokenised. A record
 * borrows its strings, which are UTF-8 and need not end in NUL.
 */

#include "engine/tokenizer/chat.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

enum record_kind {
    RECORD_TEXT,     // a document: all of it is learned
    RECORD_PAIR,     // prompt and completion, said by user and assistant
    RECORD_CHAT,     // messages; enum chat_loss says whose are learned
    RECORD_FEEDBACK, // a pair: what was shown, and whether it was accepted
    RECORD_KINDS
};

struct record_text {
    const char *data;
    size_t bytes;
};

struct record_message {
    struct record_text role; // "system", "user", "assistant"
    struct record_text content;
};

struct record {
    int64_t id;
    int64_t time_ms; // since 1970, UTC
    const char *stream;
    enum record_kind kind;
    struct record_text text;               // TEXT
    struct record_text prompt;             // PAIR, FEEDBACK
    struct record_text completion;         // the same
    bool is_accepted;                      // FEEDBACK
    const struct record_message *messages; // CHAT
    uint32_t n_messages;
};

bool record_text_is(const struct record_text *t, const char *s);

const char *record_kind_name(
    enum record_kind kind); // "text", "pair", "chat", "feedback"
int record_kind_parse(enum record_kind *out, const char *name);

// A stable tenth of all records is never trained on: those whose contents,
// concatenated, have a SHA-256 that starts with a byte below 26.
bool record_is_held_out(const struct record *r);
// Contents are valid UTF-8, not empty, roles are known, and there is something
// to learn of those whose words count. The sentence names the record by its id.
int record_check(const struct record *r, enum chat_loss loss_on,
                 struct error *err);
