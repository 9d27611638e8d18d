// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/worker/worker_samples.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/memfile.h"
#include "ipc/worker_records.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct record_text text_of(const struct worker_record *r, uint32_t turn)
{
    if (turn >= r->n_turns)
        return (struct record_text){"", 0};
    return (struct record_text){r->turns[turn].text, r->turns[turn].bytes};
}

static struct record_text role_name(enum worker_role role)
{
    switch (role) {
    case WORKER_ROLE_SYSTEM:
        return (struct record_text){"system", 6};
    case WORKER_ROLE_USER:
        return (struct record_text){"user", 4};
    case WORKER_ROLE_ASSISTANT:
        break;
    }
    return (struct record_text){"assistant", 9};
}

// Fills `r` in; a chat takes its messages from `free_message` on.
static struct record_message *convert(struct record *r,
                                      const struct worker_record *w,
                                      struct record_message *free_message)
{
    r->id = (int64_t) w->id;
    r->time_ms = w->time_ms;
    r->stream = w->stream;
    switch (w->kind) {
    case WORKER_RECORD_TEXT:
        r->kind = RECORD_TEXT;
        r->text = text_of(w, 0);
        break;
    case WORKER_RECORD_PAIR:
        r->kind = RECORD_PAIR;
        r->prompt = text_of(w, 0);
        r->completion = text_of(w, 1);
        break;
    case WORKER_RECORD_REJECTED:
    case WORKER_RECORD_ACCEPTED:
        r->kind = RECORD_FEEDBACK;
        r->prompt = text_of(w, 0);
        r->completion = text_of(w, 1);
        r->is_accepted = w->kind == WORKER_RECORD_ACCEPTED;
        break;
    case WORKER_RECORD_CHAT:
        r->kind = RECORD_CHAT;
        r->messages = free_message;
        r->n_messages = w->n_turns;
        for (uint32_t i = 0; i < w->n_turns; i++, free_message++) {
            free_message->role = role_name(w->turns[i].role);
            free_message->content = text_of(w, i);
        }
        break;
    }
    return free_message;
}

int samples_open(struct samples *out, int fd, const char *what,
                 struct error *err)
{
    struct samples s = {0};
    size_t n_messages = 0;
    int rc;

    if ((rc = memfile_map(&s.map, &s.map_bytes, fd, WORKER_RECORDS_BYTES_MAX,
                          what, err)) < 0)
        return rc;
    if ((rc = worker_records_open(&s.raw, s.map, s.map_bytes, err)) < 0)
        goto error;
    s.count = worker_records_count(s.raw);
    for (uint32_t i = 0; i < s.count; i++)
        n_messages += worker_records_get(s.raw, i)->n_turns;

    s.records = fault_calloc(s.count + 1, sizeof(*s.records));
    s.messages = fault_calloc(n_messages + 1, sizeof(*s.messages));
    if (!s.records || !s.messages) {
        rc = error_set(err, -ENOMEM, "%s: no memory", what);
        goto error;
    }
    struct record_message *next = s.messages;
    for (uint32_t i = 0; i < s.count; i++)
        next = convert(&s.records[i], worker_records_get(s.raw, i), next);
    *out = s;
    return 0;

error:
    samples_close(&s);
    return rc;
}

void samples_close(struct samples *s)
{
    free(s->records);
    free(s->messages);
    worker_records_destroy(s->raw);
    memfile_unmap(s->map, s->map_bytes);
    memset(s, 0, sizeof(*s));
}
