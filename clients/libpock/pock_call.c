// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/libpock/pock_internal.h"

#include <errno.h>
#include <stdio.h>

struct waiter {
    struct pock *pock;
    bool is_done;
    bool is_error;
    struct pock_reply *reply;
    struct pock_error err;
    pock_item_fn on_item;
    void *user;
};

static void on_item(void *user, const struct pock_value *item)
{
    struct waiter *w = user;

    w->on_item(w->user, item);
}

static void on_reply(void *user, const struct pock_value *result,
                     const struct pock_error *err)
{
    struct waiter *w = user;

    w->is_done = true;
    w->is_error = err != NULL;
    if (err)
        w->err = *err;
    else
        w->reply = pock_take_reply(w->pock);
}

static int wait_for(struct waiter *w, struct pock_error *err)
{
    int rc = 0;

    while (!w->is_done && rc != -ENOTCONN && rc != -ENOMEM)
        rc = pock_dispatch(w->pock, -1);
    if (!w->is_done)
        // Memory ran out while reading: the answer, when it comes, would find
        // nobody, so the connection ends here and on_reply runs.
        (void) pock_fail(w->pock, POCK_ERROR_INTERNAL, -ENOTCONN,
                         "there is no memory left for the daemon's answer");
    if (!w->is_error)
        return 0;
    if (err)
        *err = w->err;
    if (!w->err.is_local)
        return -EREMOTEIO;
    return w->err.code == POCK_ERROR_TIMEOUT ? -ETIMEDOUT : -ENOTCONN;
}

int pock_call_with(struct pock_request *r,
                   const struct pock_send_options *options,
                   struct pock_reply **out, struct pock_error *err)
{
    struct waiter w = {.pock = r->pock,
                       .on_item = options->on_item,
                       .user = options->user};
    struct pock_send_options how = *options;
    int rc;

    if (w.pock->in_callback) {
        pock_request_destroy(r);
        return pock_error_from_rc(err, -EDEADLK, "a request");
    }
    how.on_item = options->on_item ? on_item : NULL;
    how.on_reply = on_reply;
    how.user = &w;
    if ((rc = pock_send(r, &how, NULL)) < 0)
        return pock_error_from_rc(err, rc, "the request");
    if ((rc = wait_for(&w, err)) < 0)
        return rc;
    if (out)
        *out = w.reply;
    else
        pock_reply_destroy(w.reply);
    return 0;
}

int pock_call(struct pock_request *r, int timeout_ms, struct pock_reply **out,
              struct pock_error *err)
{
    struct pock_send_options how = {.timeout_ms = timeout_ms};

    return pock_call_with(r, &how, out, err);
}

int pock_call_plain(struct pock *p, const char *method, const char *key,
                    const char *value, struct pock_reply **out,
                    struct pock_error *err)
{
    struct pock_request *r;
    int rc;

    if ((rc = pock_request_create(&r, p, method)) < 0)
        return pock_error_from_rc(err, rc, method);
    if (key)
        pock_set_str(r, key, value);
    return pock_call(r, 0, out, err);
}

int pock_call_int(struct pock *p, const char *method, const char *key,
                  int64_t value, struct pock_reply **out,
                  struct pock_error *err)
{
    struct pock_request *r;
    int rc;

    if ((rc = pock_request_create(&r, p, method)) < 0)
        return pock_error_from_rc(err, rc, method);
    if (value)
        pock_set_int(r, key, value);
    return pock_call(r, 0, out, err);
}

int pock_ping(struct pock *p, struct pock_error *err)
{
    return pock_call_plain(p, "ping", NULL, NULL, NULL, err);
}

int pock_server_info(struct pock *p, struct pock_reply **out,
                     struct pock_error *err)
{
    return pock_call_plain(p, "server.info", NULL, NULL, out, err);
}

int pock_status(struct pock *p, struct pock_reply **out, struct pock_error *err)
{
    return pock_call_plain(p, "status", NULL, NULL, out, err);
}

int pock_why(struct pock *p, struct pock_reply **out, struct pock_error *err)
{
    return pock_call_plain(p, "why", NULL, NULL, out, err);
}
