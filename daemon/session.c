// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#define LOG_MODULE "session"

#include "daemon/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/fault.h"
#include "engine/base/log.h"

/*
 * Invariants
 * 1. The timer runs only while a deadline exists: hello, a frame that has
 *    begun, or bytes that wait for the client. A quiet connection costs no
 *    wake-up.
 * 2. Nothing is closed inside session_send(): handlers call it in the middle
 *    of their work. A broken session is closed by its timer, at once.
 * 3. Frames are handled only while neither out nor frames_bytes is over its
 *    limit; the rest stays in the buffer, and then in the socket.
 * 4. A turn ends after TURN_NS, with the frame that is being handled: what is
 *    left of its frames waits (has_more) until all others had theirs.
 */

enum {
    READS_A_TURN = 4, // of up to 64 KiB, so that others get their turn
    TURN_NS = 250000,
    BROKEN_DUE_MS = 1,
    LAST_WORDS_MS = 1000,
};

static void update(struct session *s);

static uint64_t now_ms(const struct session *s)
{
    return uv_now(server_params(s->server)->loop);
}

static size_t backlog(const struct session *s)
{
    return s->out_end - s->out_start;
}

// Close soon, from the loop: the peer is gone or past its limits.
static void fail(struct session *s)
{
    s->is_draining = true;
    s->drain_due_ms = BROKEN_DUE_MS;
    s->out_start = s->out_end = 0;
}

static bool is_over_limits(const struct session *s)
{
    return backlog(s) > SESSION_OUT_PAUSE_BYTES ||
           s->frames_bytes > SESSION_FRAMES_BYTES_MAX;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    if (a == 0 || b == 0)
        return a == 0 ? b : a;
    return a < b ? a : b;
}

static void on_closed(uv_handle_t *h)
{
    struct session *s = h->data;

    if (--s->handles > 0)
        return;
    (void) close(s->fd);
    for (int i = 0; i < s->fd_count; i++)
        (void) close(s->fds[i]);
    frame_buffer_finish(&s->in);
    free(s->out);
    free(s);
}

void session_close(struct session *s)
{
    if (s->is_closing)
        return;
    s->is_closing = true;
    while (s->requests)
        request_cancel(s->requests, REQUEST_END_GONE);
    server_on_session_end(s->server, s);
    uv_close((uv_handle_t *) &s->poll, on_closed);
    uv_close((uv_handle_t *) &s->timer, on_closed);
    uv_close((uv_handle_t *) &s->again, on_closed);
}

static void begin_draining(struct session *s)
{
    s->is_draining = true;
    s->hello_due_ms = 0;
    s->frame_due_ms = 0;
    if (s->drain_due_ms == 0)
        s->drain_due_ms = now_ms(s) + LAST_WORDS_MS;
}

// Say one last thing about the connection itself, then close.
static void hang_up(struct session *s, uint32_t id, enum rpc_error code,
                    const char *text)
{
    struct encoder *e = server_encoder(s->server);

    encoder_reset(e);
    if (message_encode_error(e, id, code, text, 0) == 0)
        session_send(s, e->data, e->bytes);
    begin_draining(s);
}

static void on_timer(uv_timer_t *t)
{
    struct session *s = t->data;
    uint64_t now = now_ms(s);

    if (s->drain_due_ms && now >= s->drain_due_ms) {
        if (s->drain_due_ms != BROKEN_DUE_MS && !s->is_draining)
            log_warn("event=client_closed session=%llu reason=never_reads",
                     (unsigned long long) s->id);
        session_close(s);
        return;
    }
    if (!s->is_draining && s->hello_due_ms && now >= s->hello_due_ms) {
        log_info("event=client_closed session=%llu reason=no_hello",
                 (unsigned long long) s->id);
        hang_up(s, 0, RPC_ERROR_INVALID_REQUEST,
                "no hello in time: say hello first");
    } else if (!s->is_draining && s->frame_due_ms && now >= s->frame_due_ms) {
        log_info("event=client_closed session=%llu reason=half_a_frame",
                 (unsigned long long) s->id);
        hang_up(s, 0, RPC_ERROR_PARSE,
                "a frame was begun and not finished in time");
    }
    update(s);
}

// Write what the socket takes. False: the peer is gone.
static bool flush(struct session *s)
{
    while (s->out_start < s->out_end) {
        ssize_t n = send(s->fd, s->out + s->out_start, backlog(s),
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK;
        s->out_start += (size_t) n;
        s->drain_due_ms =
            now_ms(s) + (uint64_t) server_params(s->server)->config->drain_ms;
    }
    s->out_start = s->out_end = 0;
    s->drain_due_ms = 0;
    // A backlog is rare: give its memory back.
    if (s->out_size > 64 << 10) {
        free(s->out);
        s->out = NULL;
        s->out_size = 0;
    }
    return true;
}

static bool append(struct session *s, const void *data, size_t bytes)
{
    if (s->out_start > 0 && s->out_end + bytes > s->out_size) {
        memmove(s->out, s->out + s->out_start, backlog(s));
        s->out_end -= s->out_start;
        s->out_start = 0;
    }
    if (s->out_end + bytes > s->out_size) {
        size_t size = s->out_size ? s->out_size : 4096;
        while (size < s->out_end + bytes)
            size *= 2;
        uint8_t *p = fault_realloc(s->out, size);
        if (!p)
            return false;
        s->out = p;
        s->out_size = size;
    }
    memcpy(s->out + s->out_end, data, bytes);
    s->out_end += bytes;
    return true;
}

void session_send(struct session *s, const void *data, size_t bytes)
{
    if (s->is_closing || s->drain_due_ms == BROKEN_DUE_MS)
        return;
    bool was_empty = backlog(s) == 0;
    // Answers that fit are sent without a copy.
    while (was_empty && bytes > 0) {
        ssize_t n = send(s->fd, data, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
            fail(s);
            break;
        }
        if (n < 0)
            break;
        data = (const char *) data + n;
        bytes -= (size_t) n;
    }
    if (bytes > 0 && s->drain_due_ms != BROKEN_DUE_MS) {
        if (backlog(s) > SESSION_OUT_BYTES_MAX || !append(s, data, bytes)) {
            log_warn("event=client_closed session=%llu reason=backlog",
                     (unsigned long long) s->id);
            fail(s);
        } else if (was_empty) {
            s->drain_due_ms =
                now_ms(s) +
                (uint64_t) server_params(s->server)->config->drain_ms;
        }
    }
    if (!s->is_in_dispatch)
        update(s);
}

// Control data of one recvmsg: at most one descriptor is allowed.
static bool take_fds(struct session *s, struct msghdr *msg)
{
    bool ok = (msg->msg_flags & MSG_CTRUNC) == 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        ok = ok && count == 1 && s->fd_count < SESSION_FDS_MAX;
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            if (ok)
                s->fds[s->fd_count++] = fd;
            else
                (void) close(fd);
        }
    }
    return ok;
}

// 1: something was read; 0: nothing now; negative: the peer is gone or wrong.
static int read_some(struct session *s)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * (SESSION_FDS_MAX + 1))];
    } control;
    uint8_t *p;
    size_t room;

    if (frame_buffer_space(&s->in, &p, &room) < 0)
        return -ENOMEM;
    struct iovec iov = {.iov_base = p, .iov_len = room};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control.bytes),
    };
    ssize_t n = recvmsg(s->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR
                   ? 0
                   : -errno;
    bool ok = take_fds(s, &msg);
    if (n == 0)
        return -EPIPE;
    frame_buffer_commit(&s->in, (size_t) n);
    return ok ? 1 : -EPROTO;
}

static void handle_cancel(struct session *s, const struct message *m)
{
    uint32_t id;

    if (message_cancel_decode(&id, m, NULL) < 0)
        return;
    struct request *r = request_find(s->requests, id);
    if (r)
        request_cancel(r, REQUEST_END_CANCELLED);
}

static int take_fd(struct session *s)
{
    int fd = s->fds[0];

    s->fd_count--;
    memmove(s->fds, s->fds + 1, (size_t) s->fd_count * sizeof(int));
    return fd;
}

static void refuse(struct session *s, uint32_t id, enum rpc_error code,
                   const char *text)
{
    struct encoder *e = server_encoder(s->server);

    encoder_reset(e);
    if (message_encode_error(e, id, code, text,
                             code == RPC_ERROR_BUSY ? 50 : 0) == 0)
        session_send(s, e->data, e->bytes);
}

// May this request be made, now, by this client? Answers when not.
static bool admit(struct session *s, const struct message *m,
                  struct request_params_in *in, struct error *err)
{
    bool is_fd_method;

    in->method = method_from_name(m->method.data, m->method.bytes);
    if (!s->has_hello && in->method != METHOD_hello) {
        hang_up(s, m->id, RPC_ERROR_INVALID_REQUEST,
                "the first request must be hello");
        return false;
    }
    if (in->method == METHOD_COUNT) {
        refuse(s, m->id, RPC_ERROR_NO_METHOD,
               "there is no method of that name");
        return false;
    }
    const struct method_info *info = &method_infos[in->method];
    if (s->is_stopping) {
        refuse(s, m->id, RPC_ERROR_SHUTTING_DOWN, "pockd is stopping");
        return false;
    }
    if (method_check_params(in->method, m->params, &in->common, err) < 0) {
        refuse(s, m->id, RPC_ERROR_BAD_PARAMS, err->text);
        return false;
    }
    is_fd_method = (info->flags & (METHOD_FD_IN | METHOD_FD_OPT)) != 0;
    if (in->common.has_fd && s->fd_count == 0) {
        refuse(s, m->id, RPC_ERROR_INVALID_REQUEST,
               "fd is true, but no descriptor came along");
        return false;
    }
    // A descriptor that was promised is taken, whatever happens next.
    if (in->common.has_fd)
        in->fd = take_fd(s);
    if (in->common.has_fd && !is_fd_method) {
        refuse(s, m->id, RPC_ERROR_BAD_PARAMS,
               "this method takes no descriptor");
    } else if (!in->common.has_fd && (info->flags & METHOD_FD_IN)) {
        refuse(s, m->id, RPC_ERROR_INVALID_REQUEST,
               "this method needs a descriptor: send one and fd: true");
    } else if (info->scope == METHOD_SCOPE_OWNER && !s->is_owner) {
        refuse(s, m->id, RPC_ERROR_DENIED,
               "only the owner's own tools may do this, or root: programs in a "
               "sandbox and programs that greet as an app are not");
    } else if (s->in_flight >= SESSION_IN_FLIGHT_MAX ||
               (in->common.is_stream && s->streams >= SESSION_STREAMS_MAX)) {
        refuse(s, m->id, RPC_ERROR_BUSY,
               "too many requests in flight: wait for answers");
    } else if (request_find(s->requests, m->id)) {
        refuse(s, m->id, RPC_ERROR_INVALID_REQUEST,
               "a request with this id is in flight");
    } else {
        return true;
    }
    if (in->fd >= 0)
        (void) close(in->fd);
    return false;
}

// Takes doc and frame.
static void handle_request(struct session *s, const struct message *m,
                           struct codec_doc *doc, uint8_t *frame, size_t bytes)
{
    struct request_params_in in = {.id = m->id, .fd = -1};
    struct error err = {0};
    struct request *r;

    if (!admit(s, m, &in, &err)) {
        codec_finish(doc);
        free(frame);
        return;
    }
    if (request_create(&r, s, &in, doc, frame, bytes, m->params) < 0) {
        refuse(s, m->id, RPC_ERROR_BUSY, "out of memory");
        return;
    }
    request_link(r, &s->requests);
    s->in_flight++;
    s->streams += in.common.is_stream;
    s->frames_bytes += bytes;
    if (in.method == METHOD_hello && !s->has_hello) {
        s->has_hello = true;
        s->hello_due_ms = 0;
        s->in.limits = frame_limits_full;
    }
    const struct server_params *p = server_params(s->server);
    p->on_request(r, p->user);
}

static void handle_frame(struct session *s, const uint8_t *data, size_t bytes)
{
    struct codec_doc doc;
    struct message m;
    struct error err = {0};
    // The buffer moves on, and the request may outlive this turn.
    uint8_t *frame = fault_malloc(bytes);

    if (!frame) {
        hang_up(s, 0, RPC_ERROR_INTERNAL, "out of memory");
        return;
    }
    memcpy(frame, data, bytes);
    if (codec_decode(&doc, frame, bytes, &s->in.limits, &err) < 0) {
        free(frame);
        hang_up(s, 0, RPC_ERROR_PARSE, err.text);
        return;
    }
    if (message_decode(&m, &doc, &err) < 0) {
        hang_up(s, 0, RPC_ERROR_INVALID_REQUEST, err.text);
    } else if (m.type == MESSAGE_REQUEST) {
        handle_request(s, &m, &doc, frame, bytes);
        return;
    } else if (m.type == MESSAGE_RESPONSE) {
        hang_up(s, 0, RPC_ERROR_INVALID_REQUEST, "a client sends no responses");
    } else if (codec_bytes_equal(m.method, MESSAGE_CANCEL)) {
        handle_cancel(s, &m);
    }
    codec_finish(&doc);
    free(frame);
}

static void handle_frames(struct session *s)
{
    const uint64_t begin_ns = clock_monotonic_ns();
    const uint8_t *frame;
    size_t bytes;

    s->has_more = false;
    while (!s->is_draining && !s->is_closing && !is_over_limits(s)) {
        int rc = frame_buffer_next(&s->in, &frame, &bytes);
        if (rc == 0)
            break;
        if (rc < 0) {
            hang_up(s, 0, RPC_ERROR_PARSE, frame_status_text(rc));
            break;
        }
        s->frame_due_ms = 0;
        handle_frame(s, frame, bytes);
        if (clock_monotonic_ns() - begin_ns > TURN_NS) {
            s->has_more = !s->is_draining && !s->is_closing;
            break;
        }
    }
}

// The others had their turn.
static void on_again(uv_idle_t *idle)
{
    struct session *s = idle->data;

    s->is_in_dispatch = true;
    handle_frames(s);
    s->is_in_dispatch = false;
    update(s);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct session *s = poll->data;

    s->is_in_dispatch = true;
    if (status < 0)
        fail(s);
    if (events & UV_WRITABLE && !flush(s))
        fail(s);
    for (int i = 0; i < READS_A_TURN && (events & UV_READABLE) &&
                    !s->is_draining && !s->has_more && !is_over_limits(s);
         i++) {
        int rc = read_some(s);
        if (rc == 0)
            break;
        if (rc > 0) {
            handle_frames(s);
        } else if (rc == -EPROTO) {
            hang_up(s, 0, RPC_ERROR_INVALID_REQUEST,
                    "too many descriptors in a message, or waiting");
        } else {
            fail(s);
        }
    }
    // The peer went while it is not read from.
    if ((events & UV_DISCONNECT) && !(events & UV_READABLE))
        fail(s);
    s->is_in_dispatch = false;
    update(s);
}

// What the peer does while it is no longer listened to: only that it goes.
static int wanted_events(const struct session *s)
{
    int events = UV_DISCONNECT;

    if (!s->is_draining && !s->has_more && !is_over_limits(s))
        events |= UV_READABLE;
    if (backlog(s) > 0)
        events |= UV_WRITABLE;
    return events;
}

static void update_frame_due(struct session *s)
{
    if (s->is_draining || s->is_paused || s->has_more ||
        !frame_buffer_is_partial(&s->in)) {
        s->frame_due_ms = 0;
    } else if (s->frame_due_ms == 0) {
        s->frame_due_ms =
            now_ms(s) + (uint64_t) server_params(s->server)->config->frame_ms;
    }
}

// Bring poll and timer in line with the state. Runs after every change.
static void update(struct session *s)
{
    if (s->is_closing)
        return;
    bool was_paused = s->is_paused;
    s->is_paused = is_over_limits(s);
    if (was_paused && !s->is_paused && !s->is_draining) {
        s->is_in_dispatch = true;
        handle_frames(s);
        s->is_in_dispatch = false;
        s->is_paused = is_over_limits(s);
    }
    if (s->is_draining && backlog(s) == 0 && s->in_flight == 0)
        s->drain_due_ms = BROKEN_DUE_MS;
    update_frame_due(s);
    s->has_more = s->has_more && !s->is_draining;
    if (s->has_more)
        (void) uv_idle_start(&s->again, on_again);
    else
        (void) uv_idle_stop(&s->again);

    int events = wanted_events(s);
    if (events != s->events) {
        s->events = events;
        (void) uv_poll_start(&s->poll, events, on_poll);
    }
    uint64_t due =
        sooner(sooner(s->hello_due_ms, s->frame_due_ms), s->drain_due_ms);
    uint64_t now = now_ms(s);
    if (due == 0)
        (void) uv_timer_stop(&s->timer);
    else
        (void) uv_timer_start(&s->timer, on_timer, due > now ? due - now : 0,
                              0);
}

void session_stop(struct session *s)
{
    s->is_stopping = true;
    begin_draining(s);
    update(s);
}

int session_create(struct session **out, struct server *server, int fd,
                   const struct peer *peer, uint64_t id)
{
    const struct server_params *p = server_params(server);
    struct session *s = fault_calloc(1, sizeof(*s));

    if (!s || uv_poll_init(p->loop, &s->poll, fd) < 0) {
        free(s);
        (void) close(fd);
        return -ENOMEM;
    }
    s->server = server;
    s->id = id;
    s->fd = fd;
    s->uid = peer->uid;
    s->peer = *peer;
    s->may_own = peer->uid == p->owner || peer->uid == 0;
    s->poll.data = s;
    s->timer.data = s;
    (void) uv_timer_init(p->loop, &s->timer);
    (void) uv_idle_init(p->loop, &s->again);
    s->again.data = s;
    s->handles = 3;
    frame_buffer_init(&s->in, &frame_limits_hello);
    s->hello_due_ms = uv_now(p->loop) + (uint64_t) p->config->hello_ms;
    *out = s;
    update(s);
    return 0;
}
