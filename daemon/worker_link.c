// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Invariants
 *
 * 1. on_exit is reported when the socket is closed and, for a child, its exit
 *    status is known; what the worker said before it died is delivered first.
 * 2. While the files of a message are being read, nothing is received, so that
 *    messages keep their order.
 * 3. The struct lives until every libuv handle in it is closed and no file
 *    check is running; `is_destroyed` silences callbacks until then.
 * 4. A descriptor is in exactly one place: a message, a waiting packet, or the
 *    hands of the owner.
 */

#include "daemon/worker_link.h"

#include "daemon/worker_audit.h"
#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/fdpass.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    HELLO_MS = 10000,
    CLOSE_MS = 5000,
    KILL_MS = 9500,      // gone within 10 s
    QUEUE_MAX = 64,      // packets that wait for the socket
    RECEIVE_AT_ONCE = 16 // packets, then the loop gets its turn
};

struct packet {
    struct packet *next;
    int fds[WORKER_FDS_MAX];
    uint32_t n_fds;
    size_t bytes;
    uint8_t data[];
};

// What the timer waits for.
enum timer_goal {
    TIMER_NONE,
    TIMER_HELLO,
    TIMER_CLOSE,
    TIMER_KILL,
};

struct worker_link {
    struct worker_link_params params;
    struct worker_link_callbacks callbacks;
    void *user;

    int fd; // -1: closed
    uv_poll_t poll;
    uv_timer_t timer;
    uv_process_t process;
    uv_work_t work;
    uint32_t n_handles; // open libuv handles
    enum timer_goal goal;

    struct packet *queue, **queue_end;
    uint32_t n_queue;
    struct worker_audit audit;
    struct worker_msg checking; // its files are being read
    struct error check_err;
    int check_rc;

    bool has_process;
    bool has_exited;
    bool is_checking;
    bool is_ready;
    bool is_stopping;
    bool was_killed; // because it would not end
    bool is_reported;
    bool is_destroyed;
    bool is_closing; // handles are being closed
    struct worker_exit exit;
    struct worker_hello hello;
};

const char *worker_kind_name(enum worker_kind kind)
{
    static const char *const names[] = {"train", "serve", "tool"};

    return (unsigned) kind <= WORKER_KIND_TOOL ? names[kind] : "?";
}

/*
 * Life and death
 */

static void queue_clear(struct worker_link *w)
{
    while (w->queue) {
        struct packet *p = w->queue;
        w->queue = p->next;
        fdpass_close(p->fds, p->n_fds);
        free(p);
    }
    w->queue_end = &w->queue;
    w->n_queue = 0;
}

static void link_free(struct worker_link *w)
{
    if (w->n_handles > 0 || w->is_checking || !w->is_destroyed)
        return;
    queue_clear(w);
    free(w);
}

static void on_handle_closed(uv_handle_t *h)
{
    struct worker_link *w = h->data;

    w->n_handles--;
    link_free(w);
}

static void socket_close(struct worker_link *w)
{
    if (w->fd < 0)
        return;
    uv_close((uv_handle_t *) &w->poll, on_handle_closed);
    (void) close(w->fd);
    w->fd = -1;
    queue_clear(w);
}

static void process_kill(struct worker_link *w)
{
    if (w->has_process && !w->has_exited)
        (void) uv_process_kill(&w->process, SIGKILL);
}

static void exit_describe(struct worker_link *w)
{
    struct worker_exit *x = &w->exit;
    const char *kind = worker_kind_name(w->params.kind);

    if (x->text[0] != 0)
        return;
    if (x->signal == SIGKILL && w->was_killed)
        (void) snprintf(x->text, sizeof(x->text),
                        "the %s worker closed its socket but did not end, and "
                        "was killed",
                        kind);
    else if (x->signal == SIGKILL)
        (void) snprintf(x->text, sizeof(x->text),
                        "the %s worker was killed (SIGKILL), perhaps because "
                        "memory ran out: see the kernel's log",
                        kind);
    else if (x->signal)
        (void) snprintf(x->text, sizeof(x->text),
                        "the %s worker crashed (signal %d, %s)", kind,
                        x->signal, strsignal(x->signal));
    else if (x->status == 3)
        (void) snprintf(x->text, sizeof(x->text),
                        "the %s worker is of another version than pockd: "
                        "restart pockd after an update",
                        kind);
    else if (x->status > 0)
        (void) snprintf(x->text, sizeof(x->text),
                        "the %s worker failed (exit status %d)", kind,
                        x->status);
    else if (!w->is_ready)
        (void) snprintf(x->text, sizeof(x->text),
                        "the %s worker ended before it said hello", kind);
    else {
        x->is_clean = true;
        (void) snprintf(x->text, sizeof(x->text), "the %s worker ended", kind);
    }
}

// Invariant 1: both gone, then it is told.
static void maybe_report(struct worker_link *w)
{
    if (w->is_reported || w->is_checking || w->fd >= 0)
        return;
    if (w->has_process && !w->has_exited)
        return;
    w->is_reported = true;
    (void) uv_timer_stop(&w->timer);
    exit_describe(w);
    if (!w->is_destroyed)
        w->callbacks.on_exit(w, &w->exit, w->user);
}

static void timer_set(struct worker_link *w, enum timer_goal goal, uint64_t ms);

// The link is of no use any more. The first reason is kept.
static void fail(struct worker_link *w, bool is_protocol, const char *text)
{
    if (w->exit.text[0] == 0) {
        (void) snprintf(w->exit.text, sizeof(w->exit.text), "%s", text);
        w->exit.is_protocol = is_protocol;
    }
    process_kill(w);
    socket_close(w);
    // on_exit must not come from inside a call: the timer brings it.
    timer_set(w, TIMER_NONE, 0);
}

static uint32_t or_default(uint32_t v, uint32_t fallback)
{
    return v ? v : fallback;
}

static void on_timer(uv_timer_t *t)
{
    struct worker_link *w = t->data;
    uint32_t close_ms = or_default(w->params.close_ms, CLOSE_MS);
    uint32_t kill_ms = or_default(w->params.kill_ms, KILL_MS);

    switch (w->goal) {
    case TIMER_NONE:
        break;
    case TIMER_HELLO:
        fail(w, true, "the worker did not say hello in time");
        return;
    case TIMER_CLOSE:
        if (w->exit.text[0] == 0)
            (void) snprintf(w->exit.text, sizeof(w->exit.text),
                            "the %s worker did not stop within %u ms",
                            worker_kind_name(w->params.kind), close_ms);
        socket_close(w);
        timer_set(w, TIMER_KILL, kill_ms > close_ms ? kill_ms - close_ms : 1);
        break;
    case TIMER_KILL:
        w->was_killed = w->has_process && !w->has_exited;
        process_kill(w);
        break;
    }
    maybe_report(w);
}

static void timer_set(struct worker_link *w, enum timer_goal goal, uint64_t ms)
{
    w->goal = goal;
    if (!w->is_closing)
        (void) uv_timer_start(&w->timer, on_timer, ms, 0);
}

static void on_process_exit(uv_process_t *p, int64_t status, int signal)
{
    struct worker_link *w = p->data;

    w->has_exited = true;
    w->exit.status = signal ? -1 : (int) status;
    w->exit.signal = signal;
    uv_close((uv_handle_t *) p, on_handle_closed);
    maybe_report(w);
}

// Its socket is at an end. A child gets a moment to leave by itself, so that
// its exit status can be told.
static void on_hangup(struct worker_link *w)
{
    socket_close(w);
    if (w->has_process && !w->has_exited && !w->is_stopping)
        timer_set(w, TIMER_KILL, or_default(w->params.close_ms, CLOSE_MS));
    maybe_report(w);
}

/*
 * Receiving
 */

static void on_poll(uv_poll_t *p, int status, int events);

static void poll_update(struct worker_link *w)
{
    int events = w->is_checking ? 0 : UV_READABLE | UV_DISCONNECT;

    if (w->fd < 0)
        return;
    if (w->queue)
        events |= UV_WRITABLE;
    if (events)
        (void) uv_poll_start(&w->poll, events, on_poll);
    else
        (void) uv_poll_stop(&w->poll);
}

static void deliver(struct worker_link *w, struct worker_msg *m)
{
    if (!w->is_destroyed)
        w->callbacks.on_message(w, m, w->user);
    worker_msg_finish(m);
}

static void check_run(uv_work_t *work)
{
    struct worker_link *w = work->data;

    w->check_rc = worker_audit_files(&w->checking, &w->check_err);
}

static void check_done(uv_work_t *work, int status)
{
    struct worker_link *w = work->data;

    w->is_checking = false;
    if (w->is_destroyed) {
        worker_msg_finish(&w->checking);
        link_free(w);
        return;
    }
    if (status == 0 && w->check_rc == 0) {
        deliver(w, &w->checking);
    } else {
        worker_msg_finish(&w->checking);
        fail(w, true, w->check_err.text);
    }
    if (w->is_destroyed) {
        link_free(w);
        return;
    }
    poll_update(w);
    maybe_report(w);
}

static void receive_hello(struct worker_link *w, const struct worker_msg *m)
{
    char text[256];

    if (w->is_ready) {
        fail(w, true, "the worker said hello twice");
        return;
    }
    if (m->hello.proto != WORKER_PROTO) {
        (void) snprintf(text, sizeof(text),
                        "the worker is version %s (protocol %u), but pockd is "
                        "%s (protocol %d): restart pockd after an update",
                        m->hello.version, m->hello.proto, POCK_VERSION,
                        WORKER_PROTO);
        fail(w, false, text);
        return;
    }
    w->is_ready = true;
    w->hello = m->hello;
    if (w->goal == TIMER_HELLO)
        (void) uv_timer_stop(&w->timer);
    if (!w->is_destroyed && w->callbacks.on_ready)
        w->callbacks.on_ready(w, &w->hello, w->user);
}

// Takes the message.
static void receive(struct worker_link *w, struct worker_msg *m)
{
    struct error err;

    if (m->type == WORKER_MSG_hello) {
        receive_hello(w, m);
        return;
    }
    bool is_bare_error = m->type == WORKER_MSG_error && m->error.req == 0;
    if (!w->is_ready && !is_bare_error) {
        worker_msg_finish(m);
        fail(w, true, "the worker spoke before it said hello");
        return;
    }
    if (worker_audit_answer(&w->audit, m, &err) < 0) {
        worker_msg_finish(m);
        fail(w, true, err.text);
        return;
    }
    if (!worker_audit_has_files(m)) {
        deliver(w, m);
        return;
    }
    w->checking = *m;
    w->work.data = w;
    w->is_checking = true;
    int rc = uv_queue_work(w->params.loop, &w->work, check_run, check_done);
    if (rc < 0) {
        w->is_checking = false;
        worker_msg_finish(m);
        fail(w, false, uv_strerror(rc));
    }
    poll_update(w);
}

// False when there is nothing more to read now.
static bool receive_one(struct worker_link *w)
{
    static uint8_t buf[WORKER_PACKET_MAX]; // one loop thread
    int fds[WORKER_FDS_MAX];
    struct worker_msg m;
    struct error err;
    uint32_t n_fds = 0;
    size_t bytes;

    int rc = fdpass_recv(w->fd, buf, sizeof(buf), &bytes, fds, WORKER_FDS_MAX,
                         &n_fds);
    if (rc == -EAGAIN)
        return false;
    if (rc == -EMSGSIZE) {
        fail(w, true, "the worker sent a packet over the limits");
        return false;
    }
    if (rc < 0 || bytes == 0) {
        fdpass_close(fds, n_fds);
        on_hangup(w);
        return false;
    }
    rc =
        worker_msg_decode(&m, buf, bytes, fds, n_fds, WORKER_SIDE_WORKER, &err);
    if (rc < 0) {
        fdpass_close(fds, n_fds);
        (void) error_prefix(&err, rc, "the worker broke the protocol");
        fail(w, true, err.text);
        return false;
    }
    receive(w, &m);
    return true;
}

/*
 * Sending
 */

static void queue_flush(struct worker_link *w)
{
    while (w->queue && w->fd >= 0) {
        struct packet *p = w->queue;
        int rc = fdpass_send(w->fd, p->data, p->bytes, p->fds, p->n_fds);
        if (rc == -EAGAIN)
            break;
        // A broken pipe shows on the reading side, after what is left there.
        w->queue = p->next;
        if (!w->queue)
            w->queue_end = &w->queue;
        w->n_queue--;
        fdpass_close(p->fds, p->n_fds);
        free(p);
    }
}

static void on_poll(uv_poll_t *p, int status, int events)
{
    struct worker_link *w = p->data;

    if (status < 0) {
        on_hangup(w);
        return;
    }
    if (events & UV_WRITABLE)
        queue_flush(w);
    if (events & (UV_READABLE | UV_DISCONNECT)) {
        int n = RECEIVE_AT_ONCE;
        while (n-- > 0 && w->fd >= 0 && !w->is_checking && !w->is_destroyed &&
               receive_one(w))
            ;
    }
    if (!w->is_destroyed)
        poll_update(w);
}

static int queue_add(struct worker_link *w, const uint8_t *data, size_t bytes,
                     const int *fds, uint32_t n_fds)
{
    struct packet *p = fault_malloc(sizeof(*p) + bytes);
    if (!p)
        return -ENOMEM;
    p->next = NULL;
    p->bytes = bytes;
    p->n_fds = 0;
    memcpy(p->data, data, bytes);
    for (uint32_t i = 0; i < n_fds; i++) {
        p->fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
        if (p->fds[i] < 0) {
            int rc = -errno;
            fdpass_close(p->fds, p->n_fds);
            free(p);
            return rc;
        }
        p->n_fds++;
    }
    *w->queue_end = p;
    w->queue_end = &p->next;
    w->n_queue++;
    return 0;
}

static int send_packet(struct worker_link *w, const struct worker_msg *m,
                       struct error *err)
{
    static uint8_t buf[WORKER_PACKET_MAX]; // one loop thread
    int fds[WORKER_FDS_MAX];
    uint32_t n_fds;
    size_t bytes;
    int rc;

    if ((rc = worker_msg_encode(buf, sizeof(buf), &bytes, fds, &n_fds, m,
                                err)) < 0)
        return rc;
    rc = w->queue ? -EAGAIN : fdpass_send(w->fd, buf, bytes, fds, n_fds);
    if (rc == -EAGAIN) {
        rc = queue_add(w, buf, bytes, fds, n_fds);
        poll_update(w);
    }
    if (rc < 0)
        return error_set(err, rc == -ECONNRESET ? -EPIPE : rc,
                         "%s did not reach the worker: %s",
                         worker_msg_name(m->type), strerror(-rc));
    return 0;
}

int worker_link_send(struct worker_link *w, const struct worker_msg *m,
                     struct error *err)
{
    int rc;

    if (w->fd < 0)
        return error_set(err, -EPIPE, "the worker has ended");
    if (w->n_queue >= QUEUE_MAX)
        return error_set(err, -EAGAIN,
                         "%d messages wait for the worker already", QUEUE_MAX);
    struct worker_audit before = w->audit;
    if ((rc = worker_audit_request(&w->audit, m, err)) < 0)
        return rc;
    if ((rc = send_packet(w, m, err)) < 0)
        w->audit = before;
    return rc;
}

void worker_link_stop(struct worker_link *w, const char *reason)
{
    struct worker_msg m;

    if (w->is_stopping || w->is_reported)
        return;
    w->is_stopping = true;
    worker_msg_init(&m, WORKER_MSG_stop);
    (void) snprintf(m.stop.reason, sizeof(m.stop.reason), "%s", reason);
    if (w->fd >= 0)
        (void) send_packet(w, &m, NULL);
    timer_set(w, w->fd >= 0 ? TIMER_CLOSE : TIMER_KILL,
              or_default(w->params.close_ms, CLOSE_MS));
}

/*
 * Construction
 */

static int handles_init(struct worker_link *w, struct error *err)
{
    int rc = uv_poll_init(w->params.loop, &w->poll, w->fd);
    if (rc < 0)
        return error_set(err, rc, "the worker's socket cannot be watched: %s",
                         uv_strerror(rc));
    w->poll.data = w;
    w->n_handles++;
    (void) uv_timer_init(w->params.loop, &w->timer);
    w->timer.data = w;
    w->n_handles++;
    return 0;
}

static int send_hello(struct worker_link *w, struct error *err)
{
    struct worker_msg m;

    worker_msg_init(&m, WORKER_MSG_hello);
    m.hello.proto = WORKER_PROTO;
    (void) snprintf(m.hello.version, sizeof(m.hello.version), "%s",
                    POCK_VERSION);
    m.hello.kind = w->params.kind;
    m.hello.pid = (uint32_t) getpid();
    m.hello.threads = w->params.threads;
    m.hello.idle_exit_s = w->params.idle_exit_s;
    m.hello.is_urgent = w->params.is_urgent;
    if (w->params.device)
        (void) snprintf(m.hello.device, sizeof(m.hello.device), "%s",
                        w->params.device);
    // Without it everything works, and takes longer to begin.
    if (w->params.cache_path)
        m.hello.cache_fd =
            open(w->params.cache_path,
                 O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    w->params.device = w->params.cache_path = NULL;
    int rc = send_packet(w, &m, err);
    worker_msg_finish(&m);
    return rc;
}

static int spawn(struct worker_link *w, int child_fd, struct error *err)
{
    char fd_arg[] = "--fd=3";
    char *args[] = {(char *) (uintptr_t) w->params.program, fd_arg, NULL};
    uv_stdio_container_t stdio[4] = {
        {.flags = UV_IGNORE},
        {.flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO},
        {.flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO},
        {.flags = UV_INHERIT_FD, .data.fd = child_fd},
    };
    uv_process_options_t options = {
        .exit_cb = on_process_exit,
        .file = w->params.program,
        .args = args,
        .stdio = stdio,
        .stdio_count = 4,
    };

    int rc = uv_spawn(w->params.loop, &w->process, &options);
    w->process.data = w;
    w->n_handles++;
    if (rc < 0) {
        uv_close((uv_handle_t *) &w->process, on_handle_closed);
        return error_set(err, rc,
                         "the worker %s cannot be started: %s: check the "
                         "installation",
                         w->params.program, uv_strerror(rc));
    }
    w->has_process = true;
    return 0;
}

static int connect_unit(const char *path, int *out, struct error *err)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(a.sun_path))
        return error_set(err, -ENAMETOOLONG,
                         "the worker's socket path %s is "
                         "too long",
                         path);
    memcpy(a.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_set(err, -errno, "no socket for a worker: %s",
                         strerror(errno));
    if (connect(fd, (struct sockaddr *) &a, sizeof(a)) < 0) {
        int rc = error_set(err, -errno,
                           "no worker at %s: %s: is the worker's "
                           "socket unit running? See `pockctl doctor`",
                           path, strerror(errno));
        (void) close(fd);
        return rc;
    }
    *out = fd;
    return 0;
}

// Takes `fd`; spawns with `child_fd` unless it is -1.
static int link_create(struct worker_link **out, int fd, int child_fd,
                       const struct worker_link_params *params,
                       const struct worker_link_callbacks *callbacks,
                       void *user, struct error *err)
{
    int rc;

    struct worker_link *w = fault_calloc(1, sizeof(*w));
    if (!w) {
        (void) close(fd);
        return error_set(err, -ENOMEM, "no memory for a worker");
    }
    w->params = *params;
    w->callbacks = *callbacks;
    w->user = user;
    w->fd = fd;
    w->exit.status = -1;
    w->queue_end = &w->queue;

    if ((rc = handles_init(w, err)) < 0)
        goto error;
    if (child_fd >= 0 && (rc = spawn(w, child_fd, err)) < 0)
        goto error;
    if ((rc = send_hello(w, err)) < 0)
        goto error;
    poll_update(w);
    timer_set(w, TIMER_HELLO, or_default(params->hello_ms, HELLO_MS));
    *out = w;
    return 0;

error:
    if (w->n_handles == 0) {
        (void) close(fd);
        free(w);
    } else {
        worker_link_destroy(w);
    }
    return rc;
}

int worker_link_adopt(struct worker_link **out, int fd,
                      const struct worker_link_params *params,
                      const struct worker_link_callbacks *callbacks, void *user,
                      struct error *err)
{
    (void) fcntl(fd, F_SETFL, O_NONBLOCK);
    return link_create(out, fd, -1, params, callbacks, user, err);
}

int worker_link_create(struct worker_link **out,
                       const struct worker_link_params *params,
                       const struct worker_link_callbacks *callbacks,
                       void *user, struct error *err)
{
    int pair[2];
    int rc;

    if (!params->program) {
        rc = connect_unit(params->socket_path, &pair[0], err);
        return rc < 0 ? rc
                      : link_create(out, pair[0], -1, params, callbacks, user,
                                    err);
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return error_set(err, -errno, "no socket for a worker: %s",
                         strerror(errno));
    (void) fcntl(pair[0], F_SETFL, O_NONBLOCK);
    rc = link_create(out, pair[0], pair[1], params, callbacks, user, err);
    (void) close(pair[1]);
    return rc;
}

void worker_link_destroy(struct worker_link *w)
{
    if (!w || w->is_destroyed)
        return;
    w->is_destroyed = true;
    process_kill(w);
    socket_close(w);
    w->is_closing = true;
    uv_close((uv_handle_t *) &w->timer, on_handle_closed);
    link_free(w);
}

bool worker_link_is_ready(const struct worker_link *w)
{
    return w->is_ready;
}

bool worker_link_is_stopping(const struct worker_link *w)
{
    return w->is_stopping;
}

int worker_link_pid(const struct worker_link *w)
{
    if (w->has_process)
        return w->process.pid;
    return w->is_ready ? (int) w->hello.pid : 0;
}
