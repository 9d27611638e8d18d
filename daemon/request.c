// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#define LOG_MODULE "request"

#include "daemon/request.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "daemon/session.h"
#include "engine/base/log.h"

/*
 * Invariants
 * 1. A request is in its session's list until it is ended or the session is
 *    gone; then session is NULL.
 * 2. At most one response leaves for it: is_answered is set with the first.
 * 3. on_cancel is called at most once, and never from inside the handler.
 */

struct request {
    struct session *session;
    struct request *next;
    struct request *prev;
    struct encoder *encoder; // the server's
    uint32_t id;
    uint64_t session_id;
    uid_t uid;
    pid_t pid;
    enum method method;
    bool is_owner;
    char app[APPID_SIZE];
    bool is_stream;
    bool is_answered;
    bool has_timer;
    enum request_end ended;
    int64_t seq;
    int fd;
    struct codec_doc doc;
    uint8_t *frame;
    size_t bytes;
    const msgpack_object *params;
    void *user;
    request_cancel_fn on_cancel;
    uv_timer_t *timer; // outlives the request while it closes
};

static void on_timer_closed(uv_handle_t *h)
{
    free(h);
}

static void stop_timer(struct request *r)
{
    if (!r->timer)
        return;
    r->timer->data = NULL;
    uv_close((uv_handle_t *) r->timer, on_timer_closed);
    r->timer = NULL;
}

static void destroy(struct request *r)
{
    if (r->session)
        session_forget(r->session, r);
    stop_timer(r);
    if (r->fd >= 0)
        (void) close(r->fd);
    codec_finish(&r->doc);
    free(r->frame);
    free(r);
}

static void on_timeout(uv_timer_t *t)
{
    struct request *r = t->data;

    if (r)
        request_cancel(r, REQUEST_END_TIMEOUT);
}

static int start_timer(struct request *r, uv_loop_t *loop, int64_t ms)
{
    r->timer = calloc(1, sizeof(*r->timer));
    if (!r->timer)
        return -ENOMEM;
    int rc = uv_timer_init(loop, r->timer);
    if (rc < 0) {
        free(r->timer);
        r->timer = NULL;
        return rc;
    }
    r->timer->data = r;
    return uv_timer_start(r->timer, on_timeout, (uint64_t) ms, 0);
}

int request_create(struct request **out, struct session *s,
                   const struct request_params_in *in, struct codec_doc *doc,
                   uint8_t *frame, size_t bytes, const msgpack_object *params)
{
    struct request *r = calloc(1, sizeof(*r));

    if (!r) {
        codec_finish(doc);
        free(frame);
        if (in->fd >= 0)
            (void) close(in->fd);
        return -ENOMEM;
    }
    *r = (struct request){
        .session = s,
        .encoder = server_encoder(s->server),
        .id = in->id,
        .session_id = s->id,
        .uid = s->uid,
        .pid = s->peer.pid,
        .method = in->method,
        .is_owner = s->is_owner,
        .is_stream = in->common.is_stream,
        .fd = in->fd,
        .doc = *doc,
        .frame = frame,
        .bytes = bytes,
        .params = params,
    };
    memcpy(r->app, s->app, sizeof(r->app));
    // Without memory for the timer the request has no deadline, which is
    // better than no answer.
    if (in->common.timeout_ms > 0)
        (void) start_timer(r, server_params(s->server)->loop,
                           in->common.timeout_ms);
    *out = r;
    return 0;
}

void request_link(struct request *r, struct request **list)
{
    r->next = *list;
    if (r->next)
        r->next->prev = r;
    *list = r;
}

void session_forget(struct session *s, struct request *r)
{
    if (r->prev)
        r->prev->next = r->next;
    else
        s->requests = r->next;
    if (r->next)
        r->next->prev = r->prev;
    r->next = r->prev = NULL;
    r->session = NULL;
    s->in_flight--;
    s->streams -= r->is_stream;
    s->frames_bytes -= r->bytes;
}

void request_cancel(struct request *r, enum request_end how)
{
    request_cancel_fn on_cancel = r->on_cancel;

    if (r->ended != REQUEST_END_NONE && how != REQUEST_END_GONE)
        return;
    bool was_told = r->ended != REQUEST_END_NONE;
    r->ended = how;
    if (how == REQUEST_END_GONE && r->session)
        session_forget(r->session, r);
    if (how == REQUEST_END_TIMEOUT && !r->is_answered && r->session) {
        r->is_answered = true;
        encoder_reset(r->encoder);
        if (message_encode_error(r->encoder, r->id, RPC_ERROR_TIMEOUT,
                                 "no answer within timeout_ms", 0) == 0)
            session_send(r->session, r->encoder->data, r->encoder->bytes);
    }
    if (!was_told && on_cancel)
        on_cancel(r);
}

struct request *request_find(struct request *list, uint32_t id)
{
    for (struct request *r = list; r; r = r->next)
        if (r->id == id)
            return r;
    return NULL;
}

struct request *request_next(const struct request *r)
{
    return r->next;
}

bool request_uses_stream(const struct request *r)
{
    return r->is_stream;
}

size_t request_bytes(const struct request *r)
{
    return r->bytes;
}

enum method request_method(const struct request *r)
{
    return r->method;
}

const msgpack_object *request_params(const struct request *r)
{
    return r->params;
}

uint64_t request_session(const struct request *r)
{
    return r->session_id;
}

uid_t request_uid(const struct request *r)
{
    return r->uid;
}

pid_t request_pid(const struct request *r)
{
    return r->pid;
}

bool request_is_owner(const struct request *r)
{
    return r->is_owner;
}

const char *request_app(const struct request *r)
{
    return r->app;
}

// In a handler the session is there.
const struct peer *request_peer(const struct request *r)
{
    return &r->session->peer;
}

bool request_may_own(const struct request *r)
{
    return r->session->may_own;
}

bool request_is_settled(const struct request *r)
{
    return r->session->is_settled;
}

void request_settle(struct request *r, const char *app, bool is_owner)
{
    struct session *s = r->session;

    s->is_settled = true;
    s->is_owner = r->is_owner = is_owner;
    snprintf(s->app, sizeof(s->app), "%s", app);
    memcpy(r->app, s->app, sizeof(r->app));
}

bool request_is_stream(const struct request *r)
{
    return r->is_stream;
}

enum request_end request_ended(const struct request *r)
{
    return r->ended;
}

int request_fd(const struct request *r)
{
    return r->fd;
}

int request_take_fd(struct request *r)
{
    int fd = r->fd;

    r->fd = -1;
    return fd;
}

void request_set_user(struct request *r, void *user,
                      request_cancel_fn on_cancel)
{
    r->user = user;
    r->on_cancel = on_cancel;
}

void *request_user(const struct request *r)
{
    return r->user;
}

struct encoder *request_begin(struct request *r)
{
    encoder_reset(r->encoder);
    message_begin_response(r->encoder, r->id);
    return r->encoder;
}

static void finish(struct request *r, int rc)
{
    if (rc < 0) {
        // An answer that cannot be encoded must not leave the client waiting.
        log_error("event=answer_failed method=%s error=%d",
                  method_infos[r->method].name, rc);
        encoder_reset(r->encoder);
        rc = message_encode_error(
            r->encoder, r->id,
            rc == -E2BIG ? RPC_ERROR_TOO_LARGE : RPC_ERROR_INTERNAL,
            rc == -E2BIG ? "the answer is larger than a frame: ask for less"
                         : "the answer could not be encoded",
            0);
    }
    if (rc == 0 && r->session && !r->is_answered)
        session_send(r->session, r->encoder->data, r->encoder->bytes);
    r->is_answered = true;
    destroy(r);
}

void request_end(struct request *r)
{
    finish(r, message_end(r->encoder));
}

void request_end_raw(struct request *r, const void *map, size_t bytes)
{
    encoder_reset(r->encoder);
    encoder_open_array(r->encoder);
    encoder_int(r->encoder, MESSAGE_RESPONSE);
    encoder_int(r->encoder, r->id);
    encoder_nil(r->encoder);
    encoder_raw(r->encoder, map, bytes);
    encoder_close(r->encoder);
    finish(r, encoder_finish(r->encoder));
}

struct encoder *request_begin_item(struct request *r, const char *kind)
{
    encoder_reset(r->encoder);
    message_begin_item(r->encoder, r->id, r->seq, kind);
    return r->encoder;
}

void request_end_item(struct request *r)
{
    if (message_end(r->encoder) < 0 || !r->session || r->is_answered)
        return;
    r->seq++;
    session_send(r->session, r->encoder->data, r->encoder->bytes);
}

size_t request_backlog(const struct request *r)
{
    return r->session ? r->session->out_end - r->session->out_start : 0;
}

struct encoder *request_begin_error(struct request *r, enum rpc_error code,
                                    const char *text, int64_t retry_ms)
{
    encoder_reset(r->encoder);
    message_begin_error(r->encoder, r->id, code, text, retry_ms);
    return r->encoder;
}

void request_fail(struct request *r, enum rpc_error code, const char *fmt, ...)
{
    char text[600];
    va_list ap;

    va_start(ap, fmt);
    (void) vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    encoder_reset(r->encoder);
    message_begin_error(r->encoder, r->id, code, text,
                        code == RPC_ERROR_BUSY || code == RPC_ERROR_QUOTA ? 100
                                                                          : 0);
    request_end(r);
}

void request_fail_errno(struct request *r, int rc, const struct error *err)
{
    const char *text = err && err->text[0] ? err->text : strerror(-rc);

    request_fail(r, rpc_error_from_errno(rc), "%s", text);
}
