// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Chat rendering
 *
 * Records to token sequences for training and generation, in the format of the
 * model. The list's marks are the loss mask: 1 on tokens that count as targets.
 *
 *   text    [bos] tokens [end of document]; all but the first count
 *   pair    [bos] user's prefix, prompt, suffix, assistant's prefix,
 *           completion, suffix
 *   chat    the same for any number of messages
 *
 * What the assistant says counts and the token that ends it, or what the user
 * says, or both (enum chat_loss). Text between special tokens is tokenized at
 * once, as tools do that tokenize the whole; where a token would then be of two
 * speakers, it is cut at the border. Text inside a message never becomes a
 * control token.
 */

#include "engine/tokenizer/tokenizer.h"

struct chat_format;
struct error;
struct gguf;

enum chat_role {
    CHAT_ROLE_SYSTEM,
    CHAT_ROLE_USER,
    CHAT_ROLE_ASSISTANT,
    CHAT_ROLE_COUNT
};

// Whose words count.
enum chat_loss {
    CHAT_LOSS_ASSISTANT,
    CHAT_LOSS_USER,
    CHAT_LOSS_ALL, // the system's too
    CHAT_LOSS_COUNT
};

enum {
    CHAT_SYSTEM_BYTES = 256,
    CHAT_ENDS_MAX = 8,
};

struct chat {
    struct tokenizer *t;              // borrowed
    const struct chat_format *format; // NULL: see why_not
    const char *why_not;              // a clause, where there is no format
    enum chat_loss loss_on;
    bool adds_bos;
    bool is_spm;                    // SentencePiece's way with blanks
    char system[CHAT_SYSTEM_BYTES]; // said where a conversation says nothing
    int32_t ends[CHAT_ENDS_MAX];    // tokens that end a turn
    uint32_t n_ends;
};

struct chat_message {
    enum chat_role role;
    const char *text;
    size_t bytes;
};

// The format that the template in the file is like; without a template pock's
// own. Borrows `t`.
void chat_init(struct chat *c, struct tokenizer *t, const struct gguf *file);
// The owner's word: a name of a format, or "none" for a model that is not to
// hold conversations. "" changes nothing. -EINVAL and a sentence with all
// names.
int chat_set_format(struct chat *c, const char *name, struct error *err);
// "chatml", ...; "none", or "unknown".
const char *chat_format_name(const struct chat *c);
// Is it the name of a format, or "none"? Needs no model.
int chat_check_name(const char *name, struct error *err);

// Ends a generation: as tokenizer_is_end(), and the ends of turns.
bool chat_is_end(const struct chat *c, int32_t id);

// "system", "user" or "assistant"; -EINVAL otherwise.
int chat_role_parse(enum chat_role *out, const char *name);
const char *chat_role_name(enum chat_role role);

// All append to `out` and leave it as before on failure. -ENOTSUP with a
// sentence when the model has no format, or no token that the format needs.
int chat_render_text(struct token_list *out, struct chat *c, const char *text,
                     size_t bytes, struct error *err);
// The roles of the two are not looked at.
int chat_render_pair(struct token_list *out, struct chat *c,
                     const struct chat_message *prompt,
                     const struct chat_message *completion, struct error *err);
int chat_render_messages(struct token_list *out, struct chat *c,
                         const struct chat_message *messages, size_t count,
                         struct error *err);
// The messages, and then what comes before an answer: it is the model's turn.
int chat_render_prompt(struct token_list *out, struct chat *c,
                       const struct chat_message *messages, size_t count,
                       struct error *err);
// [bos] tokens: text to go on with.
int chat_render_start(struct token_list *out, struct chat *c, const char *text,
                      size_t bytes, struct error *err);

struct str;
// TEMPLATE and PARAMETER lines for a Modelfile of Ollama; nothing where there
// is no format. Call str_finish() for failures.
void chat_print_ollama(struct str *out, const struct chat *c);
