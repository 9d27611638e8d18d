// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/record.h"

#include "engine/base/error.h"
#include "engine/base/hash.h"
#include "engine/base/utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static const char *const kind_names[RECORD_KINDS] = {
    [RECORD_TEXT] = "text",
    [RECORD_PAIR] = "pair",
    [RECORD_CHAT] = "chat",
    [RECORD_FEEDBACK] = "feedback",
};

// First bytes of the digest that mean "held out": 26 of 256, a tenth.
enum { HELD_OUT_BELOW = 26 };

const char *record_kind_name(enum record_kind kind)
{
    return kind < RECORD_KINDS ? kind_names[kind] : "unknown";
}

int record_kind_parse(enum record_kind *out, const char *name)
{
    for (int i = 0; i < RECORD_KINDS; i++) {
        if (strcmp(name, kind_names[i]) == 0) {
            *out = (enum record_kind) i;
            return 0;
        }
    }
    return -ENOENT;
}

bool record_text_is(const struct record_text *t, const char *s)
{
    return t->bytes == strlen(s) && memcmp(t->data, s, t->bytes) == 0;
}

bool record_is_held_out(const struct record *r)
{
    struct hash_state h;
    uint8_t digest[HASH_BYTES];

    hash_init(&h);
    switch (r->kind) {
    case RECORD_TEXT:
        hash_update(&h, r->text.data, r->text.bytes);
        break;
    case RECORD_PAIR:
    case RECORD_FEEDBACK:
        hash_update(&h, r->prompt.data, r->prompt.bytes);
        hash_update(&h, r->completion.data, r->completion.bytes);
        break;
    case RECORD_CHAT:
        for (uint32_t i = 0; i < r->n_messages; i++) {
            const struct record_text *c = &r->messages[i].content;
            hash_update(&h, c->data, c->bytes);
        }
        break;
    case RECORD_KINDS:
        break;
    }
    hash_final(&h, digest);
    return digest[0] < HELD_OUT_BELOW;
}

static int check_text(const struct record *r, const struct record_text *t,
                      const char *what, struct error *err)
{
    if (t->bytes > 0 && !utf8_is_valid(t->data, t->bytes))
        return error_set(err, -EINVAL,
                         "record %" PRId64 ": its %s is not valid UTF-8", r->id,
                         what);
    return 0;
}

// Does it count what this one says?
static bool is_learned(enum chat_loss loss_on, enum chat_loss speaker)
{
    return loss_on == CHAT_LOSS_ALL || loss_on == speaker;
}

static int check_chat(const struct record *r, enum chat_loss loss_on,
                      struct error *err)
{
    bool has_something = false;

    for (uint32_t i = 0; i < r->n_messages; i++) {
        const struct record_message *m = &r->messages[i];
        const bool is_reply = record_text_is(&m->role, "assistant");
        int rc = check_text(r, &m->content, "chat message", err);

        if (rc < 0)
            return rc;
        const bool is_user = record_text_is(&m->role, "user");
        if (!is_reply && !is_user && !record_text_is(&m->role, "system"))
            return error_set(err, -EINVAL,
                             "record %" PRId64 ": message %u has the role "
                             "\"%.*s\", but it must be system, user or "
                             "assistant",
                             r->id, i + 1,
                             (int) (m->role.bytes < 32 ? m->role.bytes : 32),
                             m->role.data ? m->role.data : "");
        has_something |=
            m->content.bytes > 0 &&
            ((is_reply && is_learned(loss_on, CHAT_LOSS_ASSISTANT)) ||
             (is_user && is_learned(loss_on, CHAT_LOSS_USER)));
    }
    if (!has_something)
        return error_set(err, -EINVAL,
                         "record %" PRId64 ": the chat has no message of the "
                         "%s to learn from",
                         r->id,
                         loss_on == CHAT_LOSS_USER ? "user" : "assistant");
    return 0;
}

static int check_pair(const struct record *r, enum chat_loss loss_on,
                      struct error *err)
{
    const bool is_said =
        r->completion.bytes > 0 && is_learned(loss_on, CHAT_LOSS_ASSISTANT);
    const bool is_asked =
        r->prompt.bytes > 0 && is_learned(loss_on, CHAT_LOSS_USER);

    if (!is_said && !is_asked)
        return error_set(err, -EINVAL,
                         "record %" PRId64 ": its %s is empty, so there is "
                         "nothing to learn",
                         r->id,
                         loss_on == CHAT_LOSS_USER ? "prompt" : "completion");
    int rc = check_text(r, &r->prompt, "prompt", err);
    return rc < 0 ? rc : check_text(r, &r->completion, "completion", err);
}

int record_check(const struct record *r, enum chat_loss loss_on,
                 struct error *err)
{
    switch (r->kind) {
    case RECORD_TEXT:
        if (r->text.bytes == 0)
            return error_set(err, -EINVAL, "record %" PRId64 ": it is empty",
                             r->id);
        return check_text(r, &r->text, "text", err);
    case RECORD_PAIR:
        return check_pair(r, loss_on, err);
    case RECORD_FEEDBACK:
        return check_pair(r, CHAT_LOSS_ASSISTANT, err);
    case RECORD_CHAT:
        return check_chat(r, loss_on, err);
    case RECORD_KINDS:
        break;
    }
    return error_set(err, -EINVAL, "record %" PRId64 ": unknown kind %d", r->id,
                     (int) r->kind);
}
