// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/put_queue.h"

#include "engine/base/arena.h"
#include "ipc/rpc_error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    BATCH_RECORDS = 64,
    BATCH_BYTES = 600 << 10, // and one record more stays below a frame
    BATCHES = 4,
    ARENA_BYTES = 4 << 20,
};

struct batch {
    struct put_queue *queue;
    struct arena *arena;
    struct pock_record records[BATCH_RECORDS];
    uint64_t lines[BATCH_RECORDS];
    size_t count;
    size_t bytes;
    bool is_sent;
    bool must_repeat; // without the record that was refused
};

struct put_queue {
    struct put_params params;
    struct batch batches[BATCHES];
    struct batch *filling;
    struct put_counts counts;
    int status; // of what went wrong in a callback
};

int put_queue_create(struct put_queue **out, const struct put_params *params)
{
    struct put_queue *q = calloc(1, sizeof(*q));

    if (!q)
        return -ENOMEM;
    q->params = *params;
    for (size_t i = 0; i < BATCHES; i++)
        q->batches[i].queue = q;
    q->filling = &q->batches[0];
    *out = q;
    return 0;
}

void put_queue_destroy(struct put_queue *q)
{
    if (!q)
        return;
    for (size_t i = 0; i < BATCHES; i++)
        arena_destroy(q->batches[i].arena);
    free(q);
}

static void batch_clear(struct batch *b)
{
    arena_destroy(b->arena);
    b->arena = NULL;
    b->count = 0;
    b->bytes = 0;
    b->is_sent = false;
    b->must_repeat = false;
}

static void batch_drop(struct batch *b, size_t i)
{
    b->count--;
    memmove(&b->records[i], &b->records[i + 1],
            (b->count - i) * sizeof(b->records[0]));
    memmove(&b->lines[i], &b->lines[i + 1],
            (b->count - i) * sizeof(b->lines[0]));
}

static void count_taken(struct batch *b, const struct pock_value *result)
{
    struct put_queue *q = b->queue;
    const struct pock_value *ids = pock_get(result, "ids");
    const struct pock_value *redacted = pock_get(result, "redacted");

    q->counts.records += b->count;
    q->counts.added += (uint64_t) pock_get_int(result, "new", 0);
    q->counts.dropped += (uint64_t) pock_get_int(result, "dropped", 0);
    for (int k = 0; k < REDACT_CLASSES; k++)
        q->counts.redacted[k] +=
            (uint64_t) pock_get_int(redacted,
                                    redact_class_name((enum redact_class) k),
                                    0);
    for (size_t i = 0; q->params.print_ids && i < pock_count(ids); i++)
        if (pock_as_int(pock_at(ids, i), 0) > 0)
            printf("%" PRId64 "\n", pock_as_int(pock_at(ids, i), 0));
}

static void on_reply(void *user, const struct pock_value *result,
                     const struct pock_error *err)
{
    struct batch *b = user;
    struct put_queue *q = b->queue;
    int64_t index = err ? pock_get_int(result, "index", -1) : -1;

    b->is_sent = false;
    if (!err) {
        count_taken(b, result);
        batch_clear(b);
    } else if (!err->is_local && index >= 0 && index < (int64_t) b->count) {
        q->counts.refused++;
        q->params.on_refused(q->params.user, b->lines[index], err->text);
        batch_drop(b, (size_t) index);
        b->must_repeat = b->count > 0;
        if (b->count == 0)
            batch_clear(b);
    } else {
        // One failure is told once, however many batches wait.
        if (q->status == CTL_OK)
            q->status = err->code == POCK_ERROR_CANCELLED && err->is_local
                            ? CTL_INTERRUPTED
                            : ctl_fail_pock(q->params.ctl, err);
        batch_clear(b);
    }
}

static int batch_send(struct batch *b)
{
    struct ctl *c = b->queue->params.ctl;
    struct pock_send_options how = {.on_reply = on_reply,
                                    .user = b,
                                    .timeout_ms = c->timeout_ms};
    struct pock_request *r;
    int rc = pock_put_request(&r, c->pock, b->records, b->count,
                              POCK_PUT_CREATE_STREAM);

    b->must_repeat = false;
    if (rc == 0)
        rc = pock_send(r, &how, NULL);
    if (rc < 0)
        return ctl_fail_errno(c, rc, "cannot send records");
    b->is_sent = true;
    return CTL_OK;
}

// Batches that lost a record go again.
static int repeat_batches(struct put_queue *q)
{
    int status;

    for (size_t i = 0; i < BATCHES; i++)
        if (q->batches[i].must_repeat &&
            (status = batch_send(&q->batches[i])) != CTL_OK)
            return status;
    return CTL_OK;
}

// Wait until at most `count` batches are on their way.
static int drain(struct put_queue *q, size_t count)
{
    struct ctl *c = q->params.ctl;
    int status;

    while (q->status == CTL_OK && pock_open_requests(c->pock) > count) {
        status = ctl_wait_open(c, pock_open_requests(c->pock) - 1);
        if (q->status == CTL_OK && status != CTL_OK)
            q->status = status;
        if (q->status == CTL_OK && (status = repeat_batches(q)) != CTL_OK)
            q->status = status;
    }
    return q->status;
}

static struct batch *free_batch(struct put_queue *q)
{
    for (size_t i = 0; i < BATCHES; i++)
        if (!q->batches[i].is_sent && !q->batches[i].must_repeat &&
            q->batches[i].count == 0)
            return &q->batches[i];
    return NULL;
}

static int send_filling(struct put_queue *q)
{
    int status;

    if (q->filling->count == 0)
        return CTL_OK;
    if ((status = batch_send(q->filling)) != CTL_OK)
        return status;
    while (!(q->filling = free_batch(q)))
        if ((status = drain(q, BATCHES - 1)) != CTL_OK)
            return status;
    return CTL_OK;
}

static const char *copy(struct arena *a, const char *data, size_t bytes)
{
    char *p = data ? arena_alloc(a, bytes + 1) : NULL;

    if (p)
        memcpy(p, data, bytes);
    return p;
}

static bool copy_messages(struct arena *a, struct pock_record *out,
                          const struct import_record *r)
{
    struct pock_message *m = arena_calloc(a, r->message_count + 1, sizeof(*m));

    if (!m)
        return false;
    for (size_t i = 0; i < r->message_count; i++) {
        const struct import_message *from = &r->messages[i];
        m[i].role = arena_strdup(a, from->role);
        m[i].content = copy(a, from->content, from->bytes);
        if (!m[i].role || !m[i].content)
            return false;
    }
    out->messages = m;
    out->message_count = r->message_count;
    return true;
}

static bool copy_record(struct arena *a, struct pock_record *out,
                        const struct import_record *r)
{
    const char *text = copy(a, r->text, r->text_bytes);

    *out = (struct pock_record){.stream = arena_strdup(a, r->stream),
                                .time_ms = r->time_ms};
    memcpy(out->uid, r->uid, sizeof(out->uid));
    if (!out->stream || (r->text && !text))
        return false;
    switch (r->kind) {
    case IMPORT_TEXT:
        out->text = text;
        out->text_bytes = r->text_bytes;
        return true;
    case IMPORT_PAIR:
        out->prompt = text;
        out->prompt_bytes = r->text_bytes;
        out->completion = copy(a, r->completion, r->completion_bytes);
        out->completion_bytes = r->completion_bytes;
        out->feedback = r->feedback;
        return out->completion != NULL;
    case IMPORT_CHAT:
        return copy_messages(a, out, r);
    }
    return false;
}

static size_t record_bytes(const struct import_record *r)
{
    size_t bytes = 128 + r->text_bytes + r->completion_bytes;

    for (size_t i = 0; i < r->message_count; i++)
        bytes += 32 + r->messages[i].bytes;
    return bytes;
}

int put_queue_add(struct put_queue *q, const struct import_record *r)
{
    size_t bytes = record_bytes(r);
    int status;

    if (q->status != CTL_OK)
        return q->status;
    if ((q->filling->count == BATCH_RECORDS ||
         q->filling->bytes + bytes > BATCH_BYTES) &&
        (status = send_filling(q)) != CTL_OK)
        return status;
    struct batch *b = q->filling;
    if (!b->arena && arena_create(&b->arena, ARENA_BYTES) < 0)
        return ctl_no_memory(q->params.ctl);
    if (!copy_record(b->arena, &b->records[b->count], r))
        return ctl_no_memory(q->params.ctl);
    b->lines[b->count++] = r->line;
    b->bytes += bytes;
    return CTL_OK;
}

int put_queue_flush(struct put_queue *q)
{
    int status = q->status;

    if (status == CTL_OK)
        status = send_filling(q);
    if (status == CTL_OK)
        status = drain(q, 0);
    return status;
}

struct put_counts put_queue_take_counts(struct put_queue *q)
{
    struct put_counts counts = q->counts;

    q->counts = (struct put_counts){0};
    return counts;
}
