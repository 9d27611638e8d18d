// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * The queue out, the buffer in, and pock_dispatch()
 *
 * 1. Callbacks run only in pock_dispatch() and pock_fail(), with in_callback
 *    set. They may send and cancel, so lists are looked at afresh after each.
 * 2. A pending request leaves the list before its on_reply runs: it is called
 *    once, whatever that callback does.
 * 3. After p->rc is set, nothing is read or written and nothing is pending.
 */

#include "clients/libpock/pock_internal.h"
#include "engine/base/clock.h"
#include "engine/base/fault.h"
#include "ipc/message.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NS_PER_MS UINT64_C(1000000)

static void outgoing_destroy(struct pock_outgoing *o)
{
    if (o->fd >= 0)
        close(o->fd);
    free(o->data);
    free(o);
}

void pock_queue_clear(struct pock *p)
{
    while (p->out) {
        struct pock_outgoing *o = p->out;
        p->out = o->next;
        outgoing_destroy(o);
    }
    p->out_last = NULL;
    p->out_bytes = 0;
}

static void trace(struct pock *p, bool is_incoming, const uint8_t *data,
                  size_t bytes)
{
    struct pock_reply *r;

    if (!p->trace || pock_reply_decode(&r, data, bytes, NULL) < 0)
        return;
    p->trace(p->trace_user, is_incoming, r->message, bytes);
    pock_reply_destroy(r);
}

int pock_queue(struct pock *p, const uint8_t *data, size_t bytes, int fd)
{
    struct pock_outgoing *o = fault_calloc(1, sizeof(*o));
    int rc = -ENOMEM;

    if (!o)
        return -ENOMEM;
    o->fd = -1;
    if (!(o->data = fault_malloc(bytes)))
        goto error;
    if (fd >= 0 && (o->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0) {
        rc = -errno;
        goto error;
    }
    memcpy(o->data, data, bytes);
    o->bytes = bytes;
    if (p->out_last)
        p->out_last->next = o;
    else
        p->out = o;
    p->out_last = o;
    p->out_bytes += bytes;
    trace(p, false, data, bytes);
    return 0;

error:
    outgoing_destroy(o);
    return rc;
}

struct pock_pending *pock_pending_add(struct pock *p, uint32_t id)
{
    struct pock_pending *q = fault_calloc(1, sizeof(*q));

    if (!q)
        return NULL;
    q->id = id;
    q->next = p->pending;
    p->pending = q;
    p->pending_count++;
    return q;
}

void pock_pending_drop(struct pock *p, struct pock_pending *q)
{
    struct pock_pending **at = &p->pending;

    while (*at != q)
        at = &(*at)->next;
    *at = q->next;
    p->pending_count--;
    free(q);
}

static struct pock_pending *find_pending(const struct pock *p, uint32_t id)
{
    struct pock_pending *q = p->pending;

    while (q && q->id != id)
        q = q->next;
    return q;
}

// Ends `q`: see invariant 2.
static void finish(struct pock *p, struct pock_pending *q,
                   const struct pock_value *result,
                   const struct pock_error *err)
{
    pock_reply_fn on_reply = q->on_reply;
    void *user = q->user;

    pock_pending_drop(p, q);
    if (!on_reply)
        return;
    bool nested = p->in_callback;
    p->in_callback = true;
    on_reply(user, result, err);
    p->in_callback = nested;
}

int pock_fail(struct pock *p, int code, int rc, const char *fmt, ...)
{
    char text[sizeof(p->end_text.text)];
    va_list ap;

    if (p->rc < 0)
        return p->rc;
    va_start(ap, fmt);
    (void) vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    p->rc = rc;
    pock_error_set(&p->end_text, code, rc, "%s", text);
    pock_queue_clear(p);
    while (p->pending)
        finish(p, p->pending, NULL, &p->end_text);
    return rc;
}

static int hang_up(struct pock *p, int saved)
{
    // Whatever the reason, the connection is of no more use.
    return pock_fail(p, POCK_ERROR_NOT_READY, -ENOTCONN,
                     "the daemon closed the connection: %s: see `pockctl "
                     "logs`, then connect again",
                     p->last_words[0] ? p->last_words
                     : saved          ? strerror(saved)
                                      : "it stopped, or gave up on us");
}

/*
 * Out
 */

static ssize_t send_some(struct pock *p, const struct pock_outgoing *o)
{
    struct iovec part = {.iov_base = o->data + o->sent,
                         .iov_len = o->bytes - o->sent};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};

    if (o->fd >= 0 && o->sent == 0) {
        memset(&control, 0, sizeof(control));
        m.msg_control = control.space;
        m.msg_controllen = sizeof(control.space);
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &o->fd, sizeof(int));
    }
    return sendmsg(p->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static int flush(struct pock *p)
{
    while (p->out) {
        struct pock_outgoing *o = p->out;
        ssize_t n = send_some(p, o);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return 0;
        // What the daemon said last may still wait to be read, so the end is
        // noticed there.
        if (n < 0 && (errno == EPIPE || errno == ECONNRESET)) {
            pock_queue_clear(p);
            return 0;
        }
        if (n < 0)
            return hang_up(p, errno);
        if (o->fd >= 0) {
            close(o->fd);
            o->fd = -1;
        }
        o->sent += (size_t) n;
        p->out_bytes -= (size_t) n;
        if (o->sent < o->bytes)
            continue;
        p->out = o->next;
        if (!p->out)
            p->out_last = NULL;
        outgoing_destroy(o);
    }
    return 0;
}

/*
 * In
 */

static void keep_fds(struct pock *p, struct msghdr *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (p->fd_count < POCK_FDS_MAX)
                p->fds[p->fd_count++] = fd;
            else
                close(fd);
        }
    }
}

// 1: bytes came; 0: none for now; negative: the connection has ended.
static int receive(struct pock *p)
{
    struct iovec part;
    char control[CMSG_SPACE(POCK_FDS_MAX * sizeof(int))]
        __attribute__((aligned(_Alignof(struct cmsghdr))));
    struct msghdr m = {.msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = sizeof(control)};
    uint8_t *room;
    int rc;

    if ((rc = frame_buffer_space(&p->in, &room, &part.iov_len)) < 0)
        return rc;
    part.iov_base = room;
    ssize_t n = recvmsg(p->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0)
        return hang_up(p, n < 0 ? errno : 0);
    keep_fds(p, &m);
    frame_buffer_commit(&p->in, (size_t) n);
    return 1;
}

static void on_error(struct pock *p, struct pock_pending *q,
                     const struct pock_value *e)
{
    struct pock_error err = {
        .code = (int) pock_get_int(e, "code", POCK_ERROR_INTERNAL),
        .retry_ms = pock_get_int(e, "retry_ms", 0),
    };

    snprintf(err.name, sizeof(err.name), "%s",
             pock_get_str(e, "name", "INTERNAL"));
    snprintf(err.text, sizeof(err.text), "%s",
             pock_get_str(e, "msg", "the daemon gave no reason"));
    finish(p, q, pock_get(e, "data"), &err);
}

static void on_response(struct pock *p, struct pock_reply *r,
                        const struct pock_value *m)
{
    // Nobody waits for an answer that was given up on: see expire().
    struct pock_pending *q =
        find_pending(p, (uint32_t) pock_as_int(pock_at(m, 1), 0));
    const struct pock_value *error = pock_at(m, 2);

    if (!q) {
        // An error that belongs to no request comes before a hang-up.
        snprintf(p->last_words, sizeof(p->last_words), "%s",
                 pock_get_str(error, "msg", ""));
        pock_reply_destroy(r);
        return;
    }
    p->current = r;
    if (pock_kind(error) == POCK_KIND_MAP) {
        r->result = pock_get(error, "data");
        on_error(p, q, error);
    } else {
        r->result = pock_at(m, 3);
        finish(p, q, r->result, NULL);
    }
    // Unless it was taken, it is ours again.
    if (p->current)
        pock_reply_destroy(r);
    p->current = NULL;
}

static void on_item(struct pock *p, const struct pock_value *item)
{
    const struct pock_pending *q =
        find_pending(p, (uint32_t) pock_get_int(item, "id", 0));

    if (!q || !q->on_item)
        return;
    bool nested = p->in_callback;
    p->in_callback = true;
    q->on_item(q->user, item);
    p->in_callback = nested;
}

static int on_frame(struct pock *p, const uint8_t *frame, size_t bytes)
{
    struct error err = {0};
    struct codec_doc doc = {0};
    struct message m;
    struct pock_reply *r = NULL;
    int rc;

    // Decoded twice: message_decode() checks the shape on the one, the other
    // outlives the buffer.
    if ((rc = codec_decode(&doc, frame, bytes, &frame_limits_full, &err)) == 0)
        rc = message_decode(&m, &doc, &err);
    if (rc == 0)
        rc = pock_reply_decode(&r, frame, bytes, &err);
    codec_finish(&doc);
    if (rc == -ENOMEM)
        return pock_fail(p, POCK_ERROR_INTERNAL, rc,
                         "there is no memory left for "
                         "the daemon's answer");
    if (rc < 0)
        return pock_fail(p, POCK_ERROR_PARSE, -EPROTO,
                         "the daemon sent what is no message: %s", err.text);
    if (p->trace)
        p->trace(p->trace_user, true, r->message, bytes);
    if (m.type == MESSAGE_RESPONSE) {
        on_response(p, r, r->message);
        return 0;
    }
    // Requests and other notifications are of a newer version, if not of
    // nonsense, and not for us.
    if (m.type == MESSAGE_NOTIFICATION &&
        codec_bytes_equal(m.method, MESSAGE_ITEM))
        on_item(p, pock_at(pock_at(r->message, 2), 0));
    pock_reply_destroy(r);
    return 0;
}

// How many frames were handled.
static int handle_frames(struct pock *p)
{
    const uint8_t *frame;
    size_t bytes;
    int count = 0;
    int rc = 0;

    while (p->rc == 0 && (rc = frame_buffer_next(&p->in, &frame, &bytes)) > 0) {
        if ((rc = on_frame(p, frame, bytes)) < 0)
            return rc;
        count++;
    }
    if (rc < 0)
        return pock_fail(p, POCK_ERROR_PARSE, -EPROTO,
                         "the daemon sent what is no message: %s",
                         frame_status_text(rc));
    return count;
}

/*
 * Deadlines
 */

static struct pock_pending *next_deadline(const struct pock *p)
{
    struct pock_pending *first = NULL;

    for (struct pock_pending *q = p->pending; q; q = q->next)
        if (q->deadline_ns && (!first || q->deadline_ns < first->deadline_ns))
            first = q;
    return first;
}

int pock_timeout(const struct pock *p)
{
    const struct pock_pending *q = next_deadline(p);
    uint64_t now = clock_monotonic_ns();

    if (!q)
        return -1;
    if (q->deadline_ns <= now)
        return 0;
    uint64_t ms = (q->deadline_ns - now + NS_PER_MS - 1) / NS_PER_MS;
    return ms > INT32_MAX ? INT32_MAX : (int) ms;
}

static void expire(struct pock *p)
{
    uint64_t now = clock_monotonic_ns();
    struct pock_pending *q;
    struct pock_error err;

    while (p->rc == 0 && (q = next_deadline(p)) && q->deadline_ns <= now) {
        (void) pock_cancel(p, q->id);
        pock_error_set(&err, POCK_ERROR_TIMEOUT, 0,
                       "the daemon did not answer in time: ask again, with a "
                       "longer timeout");
        finish(p, q, NULL, &err);
    }
}

short pock_events(const struct pock *p)
{
    return p->out ? POLLIN | POLLOUT : POLLIN;
}

static int wait_ready(struct pock *p, int timeout_ms)
{
    int until = pock_timeout(p);
    struct pollfd f = {.fd = p->fd, .events = pock_events(p)};

    if (until >= 0 && (timeout_ms < 0 || until < timeout_ms))
        timeout_ms = until;
    return poll(&f, 1, timeout_ms) < 0 ? -errno : 0;
}

int pock_dispatch(struct pock *p, int timeout_ms)
{
    int count = 0;
    int rc;

    if (p->in_callback)
        return -EDEADLK;
    if (p->rc < 0)
        return -ENOTCONN;
    if ((rc = flush(p)) < 0 || (rc = wait_ready(p, timeout_ms)) < 0 ||
        (rc = flush(p)) < 0)
        return rc;
    while ((rc = receive(p)) > 0) {
        if ((rc = handle_frames(p)) < 0)
            return rc;
        count += rc;
        // Enough for once: the caller's loop has other things to do.
        if (count >= 256)
            break;
    }
    if (rc == -ENOMEM)
        return rc;
    expire(p);
    // What callbacks have asked for need not wait for the next round.
    if (p->rc == 0 && (rc = flush(p)) < 0 && count == 0)
        return rc;
    return p->rc < 0 && count == 0 ? p->rc : count;
}
