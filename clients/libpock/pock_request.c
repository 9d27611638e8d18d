// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/libpock/pock_internal.h"
#include "engine/base/clock.h"
#include "engine/base/fault.h"
#include "ipc/message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int pock_request_create(struct pock_request **out, struct pock *p,
                        const char *method)
{
    if (p->rc < 0)
        return -ENOTCONN;
    struct pock_request *r = fault_calloc(1, sizeof(*r));
    if (!r)
        return -ENOMEM;
    r->pock = p;
    // 0 is no id, so that it can stand for "none" everywhere.
    r->id = ++p->last_id ? p->last_id : ++p->last_id;
    encoder_init(&r->message, 0);
    message_begin_request(&r->message, r->id, method);
    *out = r;
    return 0;
}

void pock_request_destroy(struct pock_request *r)
{
    if (!r)
        return;
    encoder_destroy(&r->message);
    free(r);
}

static void put_key(struct pock_request *r, const char *key)
{
    if (key)
        encoder_key(&r->message, key);
}

void pock_set_nil(struct pock_request *r, const char *key)
{
    put_key(r, key);
    encoder_nil(&r->message);
}

void pock_set_bool(struct pock_request *r, const char *key, bool v)
{
    put_key(r, key);
    encoder_bool(&r->message, v);
}

void pock_set_int(struct pock_request *r, const char *key, int64_t v)
{
    put_key(r, key);
    encoder_int(&r->message, v);
}

void pock_set_float(struct pock_request *r, const char *key, double v)
{
    put_key(r, key);
    encoder_float(&r->message, v);
}

void pock_set_str(struct pock_request *r, const char *key, const char *text)
{
    if (text)
        pock_set_text(r, key, text, strlen(text));
}

void pock_set_text(struct pock_request *r, const char *key, const char *text,
                   size_t bytes)
{
    put_key(r, key);
    encoder_str(&r->message, text, bytes);
}

void pock_set_bytes(struct pock_request *r, const char *key, const void *data,
                    size_t bytes)
{
    put_key(r, key);
    encoder_bin(&r->message, data, bytes);
}

void pock_open_map(struct pock_request *r, const char *key)
{
    put_key(r, key);
    encoder_open_map(&r->message);
}

void pock_open_list(struct pock_request *r, const char *key)
{
    put_key(r, key);
    encoder_open_array(&r->message);
}

void pock_close(struct pock_request *r)
{
    encoder_close(&r->message);
}

// The parameters that any request may have, and the end of the message.
static int complete(struct pock_request *r, const struct pock_send_options *o)
{
    struct encoder *e = &r->message;

    if (o->on_item)
        encoder_put_bool(e, "stream", true);
    if (o->has_fd)
        encoder_put_bool(e, "fd", true);
    if (o->timeout_ms > 0)
        encoder_put_int(e, "timeout_ms", o->timeout_ms);
    return message_end(e);
}

static int send_request(struct pock_request *r,
                        const struct pock_send_options *o)
{
    struct pock *p = r->pock;
    int rc;

    if (p->rc < 0)
        return -ENOTCONN;
    if (p->pending_count >= p->in_flight_max ||
        p->out_bytes > POCK_QUEUE_BYTES_MAX)
        return -EAGAIN;
    if ((rc = complete(r, o)) < 0)
        return rc;
    struct pock_pending *q = pock_pending_add(p, r->id);
    if (!q)
        return -ENOMEM;
    q->on_item = o->on_item;
    q->on_reply = o->on_reply;
    q->user = o->user;
    if (o->timeout_ms > 0)
        q->deadline_ns =
            clock_monotonic_ns() +
            (uint64_t) (o->timeout_ms + POCK_TIMEOUT_GRACE_MS) * 1000000u;
    rc = pock_queue(p, r->message.data, r->message.bytes,
                    o->has_fd ? o->fd : -1);
    if (rc < 0)
        pock_pending_drop(p, q);
    return rc;
}

int pock_send(struct pock_request *r, const struct pock_send_options *options,
              uint32_t *id)
{
    int rc = send_request(r, options);

    if (rc == 0 && id)
        *id = r->id;
    pock_request_destroy(r);
    return rc;
}

int pock_cancel(struct pock *p, uint32_t id)
{
    struct encoder e;
    int rc;

    if (p->rc < 0)
        return -ENOTCONN;
    encoder_init(&e, 0);
    if ((rc = message_encode_cancel(&e, id)) == 0)
        rc = pock_queue(p, e.data, e.bytes, -1);
    encoder_destroy(&e);
    return rc;
}
