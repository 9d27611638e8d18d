// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Chat rendering
 *
 * Records to token sequences for training and generation. The list's marks
 * are the loss mask: 1 on tokens that count as targets.
 *
 *   text    [bos] tokens [end of document]; all but the first count
 *   pair    [bos] [user] prompt [end] [assistant] completion [end];
 *           the completion and its end count
 *   chat    the same for any number of messages; what the assistant says
 *           and its ends count
 *
 * Text inside a message never becomes a control token.
 */

#include "engine/tokenizer/tokenizer.h"

struct error;

enum chat_role {
    CHAT_ROLE_SYSTEM,
    CHAT_ROLE_USER,
    CHAT_ROLE_ASSISTANT,
    CHAT_ROLE_COUNT
};

struct chat_message {
    enum chat_role role;
    const char *text;
    size_t bytes;
};

// "system", "user" or "assistant"; -EINVAL otherwise.
int chat_role_parse(enum chat_role *out, const char *name);
const char *chat_role_name(enum chat_role role);

// All append to `out` and leave it as before on failure. -ENOTSUP with a
// sentence when the model has no token for a role that is needed.
int chat_render_text(struct token_list *out, struct tokenizer *t,
                     const char *text, size_t bytes, struct error *err);
// The roles of the two are not looked at.
int chat_render_pair(struct token_list *out, struct tokenizer *t,
                     const struct chat_message *prompt,
                     const struct chat_message *completion, struct error *err);
int chat_render_messages(struct token_list *out, struct tokenizer *t,
                         const struct chat_message *messages, size_t count,
                         struct error *err);
// The messages, and then the assistant's token: it is the model's turn.
int chat_render_prompt(struct token_list *out, struct tokenizer *t,
                       const struct chat_message *messages, size_t count,
                       struct error *err);
// [bos] tokens: text to go on with.
int chat_render_start(struct token_list *out, struct tokenizer *t,
                      const char *text, size_t bytes, struct error *err);
