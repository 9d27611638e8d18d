// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/tokenizer/chat.h"

#include "engine/base/error.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define END_TOKEN "<|end|>"

static const struct {
    const char *name;
    const char *token;
} roles[CHAT_ROLE_COUNT] = {
    [CHAT_ROLE_SYSTEM] = {"system", "<|system|>"},
    [CHAT_ROLE_USER] = {"user", "<|user|>"},
    [CHAT_ROLE_ASSISTANT] = {"assistant", "<|assistant|>"},
};

int chat_role_parse(enum chat_role *out, const char *name)
{
    for (int i = 0; i < CHAT_ROLE_COUNT; i++) {
        if (strcmp(name, roles[i].name) == 0) {
            *out = (enum chat_role) i;
            return 0;
        }
    }
    return -EINVAL;
}

const char *chat_role_name(enum chat_role role)
{
    return roles[role].name;
}

// Names every token that the messages need and the model lacks. A model that
// learned a role writes it as one control token; spelling it out in pieces
// would teach it something else.
static int check_tokens(const struct tokenizer *t,
                        const struct chat_message *messages, size_t count,
                        bool is_prompt, struct error *err)
{
    const char *missing[CHAT_ROLE_COUNT + 1] = {NULL};
    bool needed[CHAT_ROLE_COUNT] = {[CHAT_ROLE_ASSISTANT] = is_prompt};
    int n = 0;

    for (size_t i = 0; i < count; i++)
        needed[messages[i].role] = true;
    for (int i = 0; i < CHAT_ROLE_COUNT; i++)
        if (needed[i] &&
            tokenizer_find_special(t, roles[i].token) == TOKEN_NONE)
            missing[n++] = roles[i].token;
    if (tokenizer_find_special(t, END_TOKEN) == TOKEN_NONE)
        missing[n++] = END_TOKEN;
    if (n == 0)
        return 0;
    return error_set(err, -ENOTSUP,
                     "this model cannot hold this conversation: its vocabulary "
                     "lacks %s%s%s%s%s%s%s",
                     missing[0], n > 1 ? ", " : "", n > 1 ? missing[1] : "",
                     n > 2 ? ", " : "", n > 2 ? missing[2] : "",
                     n > 3 ? ", " : "", n > 3 ? missing[3] : "");
}

static int add_bos(struct token_list *out, const struct tokenizer *t)
{
    return tokenizer_adds_bos(t) ? token_list_add(out, tokenizer_bos(t)) : 0;
}

// role text end. What the assistant says counts, and that it stops.
static int add_message(struct token_list *out, struct tokenizer *t,
                       const struct chat_message *m)
{
    out->mark = 0;
    int rc =
        token_list_add(out, tokenizer_find_special(t, roles[m->role].token));
    out->mark = m->role == CHAT_ROLE_ASSISTANT;
    if (rc == 0)
        rc = tokenizer_encode(t, out, m->text, m->bytes, 0);
    if (rc == 0)
        rc = token_list_add(out, tokenizer_find_special(t, END_TOKEN));
    out->mark = 0;
    return rc;
}

static int failed(struct token_list *out, size_t count, int rc,
                  struct error *err)
{
    out->count = count;
    return error_set(err, rc, "cannot tokenize the text: %s",
                     rc == -E2BIG ? "it has too many tokens" : strerror(-rc));
}

static int render(struct token_list *out, struct tokenizer *t,
                  const struct chat_message *messages, size_t count,
                  bool is_prompt, struct error *err)
{
    size_t before = out->count;
    int rc = check_tokens(t, messages, count, is_prompt, err);
    if (rc < 0)
        return rc;

    out->mark = 0;
    rc = add_bos(out, t);
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = add_message(out, t, &messages[i]);
    if (rc == 0 && is_prompt)
        rc = token_list_add(out,
                            tokenizer_find_special(t, roles[CHAT_ROLE_ASSISTANT]
                                                          .token));
    return rc < 0 ? failed(out, before, rc, err) : 0;
}

int chat_render_text(struct token_list *out, struct tokenizer *t,
                     const char *text, size_t bytes, struct error *err)
{
    size_t before = out->count;
    int32_t end = tokenizer_document_end(t);

    out->mark = 0;
    int rc = add_bos(out, t);
    size_t first = out->count;
    out->mark = 1;
    if (rc == 0)
        rc = tokenizer_encode(t, out, text, bytes, 0);
    if (rc == 0 && end != TOKEN_NONE)
        rc = token_list_add(out, end);
    out->mark = 0;
    if (rc < 0)
        return failed(out, before, rc, err);
    // Nothing stands before the very first token to predict it from.
    if (first == before && out->count > before)
        out->marks[before] = 0;
    return 0;
}

int chat_render_pair(struct token_list *out, struct tokenizer *t,
                     const struct chat_message *prompt,
                     const struct chat_message *completion, struct error *err)
{
    const struct chat_message messages[] = {
        {CHAT_ROLE_USER, prompt->text, prompt->bytes},
        {CHAT_ROLE_ASSISTANT, completion->text, completion->bytes},
    };
    return render(out, t, messages, 2, false, err);
}

int chat_render_messages(struct token_list *out, struct tokenizer *t,
                         const struct chat_message *messages, size_t count,
                         struct error *err)
{
    return render(out, t, messages, count, false, err);
}

int chat_render_prompt(struct token_list *out, struct tokenizer *t,
                       const struct chat_message *messages, size_t count,
                       struct error *err)
{
    return render(out, t, messages, count, true, err);
}

int chat_render_start(struct token_list *out, struct tokenizer *t,
                      const char *text, size_t bytes, struct error *err)
{
    size_t before = out->count;

    out->mark = 0;
    int rc = add_bos(out, t);
    if (rc == 0)
        rc = tokenizer_encode(t, out, text, bytes, 0);
    return rc < 0 ? failed(out, before, rc, err) : 0;
}
