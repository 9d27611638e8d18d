// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/worker/worker_control.h"

#include "engine/base/clock.h"
#include "engine/base/error.h"
#include "engine/base/fdpass.h"
#include "engine/base/sdnotify.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum {
    QUEUE_MAX = 64,
    // A little before pockd's own SIGKILL at 10 s, so that the end of a worker
    // that hangs does not depend on who started it.
    STOP_MS_MAX = 9000,
};

struct worker_control {
    int fd;
    int wake_fd;   // eventfd: end the thread
    int signal_fd; // SIGTERM is a stop
    // Of the service manager: what cannot even ping is killed. 0: none.
    uint64_t watchdog_ms;
    uint64_t pinged_ns;
    pthread_t thread;
    atomic_bool stop_flag;
    atomic_int manners;
    atomic_int duty; // 0: as 100

    pthread_mutex_t lock; // guards all that follow
    pthread_cond_t arrived;
    struct worker_msg *queue[QUEUE_MAX];
    uint32_t first, count;
    uint64_t running; // request; 0: none
    bool is_cancelled;
    bool is_stopping;
    uint64_t stop_ns;
    int64_t acked;
};

/*
 * Thread
 */

static void stop_begin(struct worker_control *c)
{
    pthread_mutex_lock(&c->lock);
    if (!c->is_stopping) {
        c->is_stopping = true;
        c->stop_ns = clock_monotonic_ns();
    }
    atomic_store(&c->stop_flag, true);
    pthread_cond_signal(&c->arrived);
    pthread_mutex_unlock(&c->lock);
}

// A request that still waits is answered here; the running one by its owner.
static void cancel(struct worker_control *c, uint64_t req)
{
    struct worker_msg answer;
    bool was_waiting = false;

    pthread_mutex_lock(&c->lock);
    if (c->running == req) {
        c->is_cancelled = true;
        atomic_store(&c->stop_flag, true);
    }
    for (uint32_t i = 0; i < c->count; i++) {
        struct worker_msg *m = c->queue[(c->first + i) % QUEUE_MAX];
        if (m->load.req != req)
            continue;
        worker_msg_finish(m);
        free(m);
        for (uint32_t k = i; k + 1 < c->count; k++)
            c->queue[(c->first + k) % QUEUE_MAX] =
                c->queue[(c->first + k + 1) % QUEUE_MAX];
        c->count--;
        was_waiting = true;
        break;
    }
    pthread_mutex_unlock(&c->lock);

    if (!was_waiting)
        return;
    worker_msg_init(&answer, WORKER_MSG_error);
    answer.error.req = req;
    answer.error.severity = WORKER_SEVERITY_TRANSIENT;
    (void) snprintf(answer.error.name, sizeof(answer.error.name), "CANCELLED");
    (void) snprintf(answer.error.msg, sizeof(answer.error.msg), "cancelled");
    (void) worker_control_send(c, &answer);
}

static _Noreturn void refuse(struct worker_control *c, int rc, const char *why)
{
    struct worker_msg m;

    worker_msg_init(&m, WORKER_MSG_error);
    bool is_memory = rc == -ENOMEM;
    m.error.severity =
        is_memory ? WORKER_SEVERITY_TRANSIENT : WORKER_SEVERITY_PERMANENT;
    (void) snprintf(m.error.name, sizeof(m.error.name), "%s",
                    is_memory ? "NO_MEMORY" : "INTERNAL");
    (void) snprintf(m.error.msg, sizeof(m.error.msg), "%s", why);
    (void) worker_control_send(c, &m);
    _exit(1);
}

static void enqueue(struct worker_control *c, const struct worker_msg *m)
{
    struct worker_msg *copy = malloc(sizeof(*copy));
    if (!copy)
        refuse(c, -ENOMEM, "no memory for a request");
    *copy = *m;
    pthread_mutex_lock(&c->lock);
    bool is_full = c->count == QUEUE_MAX;
    if (!is_full) {
        c->queue[(c->first + c->count) % QUEUE_MAX] = copy;
        c->count++;
        pthread_cond_signal(&c->arrived);
    }
    pthread_mutex_unlock(&c->lock);
    if (is_full)
        refuse(c, -EPROTO, "more requests wait than pockd may send");
}

static void receive(struct worker_control *c, struct worker_msg *m)
{
    if (m->type == WORKER_MSG_stop) {
        stop_begin(c);
    } else if (m->type == WORKER_MSG_cancel) {
        cancel(c, m->cancel.req);
    } else if (m->type == WORKER_MSG_checkpoint_ack) {
        pthread_mutex_lock(&c->lock);
        c->acked = m->checkpoint_ack.step;
        pthread_mutex_unlock(&c->lock);
    } else if (m->type == WORKER_MSG_manners) {
        atomic_store(&c->manners, (int) m->manners.state);
        atomic_store(&c->duty, (int) m->manners.duty);
    } else if (m->type == WORKER_MSG_hello) {
        refuse(c, -EPROTO, "a second hello");
    } else {
        enqueue(c, m);
    }
}

static void receive_packet(struct worker_control *c)
{
    static uint8_t buf[WORKER_PACKET_MAX]; // one control thread
    int fds[WORKER_FDS_MAX];
    struct worker_msg m;
    struct error err;
    uint32_t n_fds = 0;
    size_t bytes = 0;

    int rc = fdpass_recv(c->fd, buf, sizeof(buf), &bytes, fds, WORKER_FDS_MAX,
                         &n_fds);
    if (rc == -EAGAIN)
        return;
    if (rc < 0 && rc != -EMSGSIZE)
        _exit(0);
    if (rc == 0 && bytes == 0)
        _exit(0); // pockd is gone, or has had enough.
    if (rc == -EMSGSIZE)
        refuse(c, rc, "a packet over the limits");
    rc =
        worker_msg_decode(&m, buf, bytes, fds, n_fds, WORKER_SIDE_DAEMON, &err);
    if (rc < 0)
        refuse(c, rc, err.text);
    receive(c, &m);
}

// Milliseconds until the next ping is due, -1 for never.
static int ping_ms(struct worker_control *c)
{
    if (c->watchdog_ms == 0)
        return -1;
    const uint64_t now = clock_monotonic_ns();
    uint64_t since_ms = (now - c->pinged_ns) / 1000000;
    if (since_ms >= c->watchdog_ms) {
        sdnotify_send("WATCHDOG=1");
        c->pinged_ns = now;
        since_ms = 0;
    }
    return (int) (c->watchdog_ms - since_ms);
}

static int poll_ms(struct worker_control *c)
{
    const int ping = ping_ms(c);

    pthread_mutex_lock(&c->lock);
    bool is_stopping = c->is_stopping;
    uint64_t since_ms = (clock_monotonic_ns() - c->stop_ns) / 1000000;
    pthread_mutex_unlock(&c->lock);
    if (!is_stopping)
        return ping;
    if (since_ms >= STOP_MS_MAX)
        _exit(1); // The main thread does not follow.
    const int left = (int) (STOP_MS_MAX - since_ms);
    return ping >= 0 && ping < left ? ping : left;
}

static void *control_thread(void *user)
{
    struct worker_control *c = user;

    for (;;) {
        struct pollfd p[3] = {{.fd = c->fd, .events = POLLIN},
                              {.fd = c->wake_fd, .events = POLLIN},
                              {.fd = c->signal_fd, .events = POLLIN}};
        int n = poll(p, 3, poll_ms(c));
        if (n < 0 && errno != EINTR)
            _exit(1);
        if (n <= 0)
            continue;
        if (p[1].revents)
            return NULL;
        if (p[0].revents)
            receive_packet(c);
        if (p[2].revents) {
            struct signalfd_siginfo info;
            (void) !read(c->signal_fd, &info, sizeof(info));
            stop_begin(c);
        }
    }
}

/*
 * Main thread
 */

int worker_control_start(struct worker_control **out, int fd, struct error *err)
{
    sigset_t set;
    int rc;

    struct worker_control *c = calloc(1, sizeof(*c));
    if (!c) {
        (void) close(fd);
        return error_set(err, -ENOMEM, "no memory");
    }
    c->fd = fd;
    c->acked = -1;
    c->watchdog_ms = sdnotify_watchdog_ms();
    c->pinged_ns = clock_monotonic_ns();
    (void) fcntl(fd, F_SETFL, O_NONBLOCK);
    (void) pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_t attr;
    (void) pthread_condattr_init(&attr);
    (void) pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void) pthread_cond_init(&c->arrived, &attr);
    (void) pthread_condattr_destroy(&attr);

    // A terminal's Ctrl-C reaches the whole group: pockd alone decides then.
    (void) signal(SIGINT, SIG_IGN);
    (void) signal(SIGPIPE, SIG_IGN);
    (void) sigemptyset(&set);
    (void) sigaddset(&set, SIGTERM);
    (void) pthread_sigmask(SIG_BLOCK, &set, NULL);
    c->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    c->wake_fd = eventfd(0, EFD_CLOEXEC);
    rc = pthread_create(&c->thread, NULL, control_thread, c);
    if (rc != 0 || c->wake_fd < 0) {
        rc = rc ? -rc : -EMFILE;
        (void) close(fd);
        free(c);
        return error_set(err, rc, "no control thread: %s", strerror(-rc));
    }
    *out = c;
    return 0;
}

void worker_control_destroy(struct worker_control *c)
{
    if (!c)
        return;
    uint64_t one = 1;
    if (write(c->wake_fd, &one, sizeof(one)) == sizeof(one))
        (void) pthread_join(c->thread, NULL);
    for (uint32_t i = 0; i < c->count; i++) {
        worker_msg_finish(c->queue[(c->first + i) % QUEUE_MAX]);
        free(c->queue[(c->first + i) % QUEUE_MAX]);
    }
    (void) close(c->fd);
    (void) close(c->wake_fd);
    (void) close(c->signal_fd);
    (void) pthread_cond_destroy(&c->arrived);
    (void) pthread_mutex_destroy(&c->lock);
    free(c);
}

int worker_control_fd(const struct worker_control *c)
{
    return c->fd;
}

const atomic_bool *worker_control_stop_flag(const struct worker_control *c)
{
    return &c->stop_flag;
}

const atomic_int *worker_control_manners(const struct worker_control *c)
{
    return &c->manners;
}

int worker_control_duty(const struct worker_control *c)
{
    int duty = atomic_load(&c->duty);

    return duty > 0 ? duty : 100;
}

static bool wait_arrival(struct worker_control *c, const struct timespec *until)
{
    if (!until)
        return pthread_cond_wait(&c->arrived, &c->lock) == 0;
    return pthread_cond_timedwait(&c->arrived, &c->lock, until) == 0;
}

int worker_control_next(struct worker_control *c, struct worker_msg *out,
                        uint32_t timeout_ms)
{
    struct timespec until;
    int rc = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long) (timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }

    pthread_mutex_lock(&c->lock);
    c->running = 0;
    while (c->count == 0 && !c->is_stopping && rc == 0)
        if (!wait_arrival(c, timeout_ms ? &until : NULL))
            rc = -ETIMEDOUT;
    if (c->is_stopping) {
        rc = -ECANCELED;
    } else if (c->count > 0) {
        struct worker_msg *m = c->queue[c->first];
        c->first = (c->first + 1) % QUEUE_MAX;
        c->count--;
        *out = *m;
        free(m);
        c->running = out->load.req;
        c->is_cancelled = false;
        atomic_store(&c->stop_flag, false);
        rc = 0;
    }
    pthread_mutex_unlock(&c->lock);
    return rc;
}

bool worker_control_is_cancelled(struct worker_control *c)
{
    pthread_mutex_lock(&c->lock);
    bool is = c->is_cancelled || c->is_stopping;
    pthread_mutex_unlock(&c->lock);
    return is;
}

bool worker_control_is_stopping(struct worker_control *c)
{
    pthread_mutex_lock(&c->lock);
    bool is = c->is_stopping;
    pthread_mutex_unlock(&c->lock);
    return is;
}

uint32_t worker_control_stop_us(struct worker_control *c)
{
    pthread_mutex_lock(&c->lock);
    uint64_t us =
        c->is_stopping ? (clock_monotonic_ns() - c->stop_ns) / 1000 : 0;
    pthread_mutex_unlock(&c->lock);
    return us > UINT32_MAX ? UINT32_MAX : (uint32_t) us;
}

int64_t worker_control_acked(struct worker_control *c)
{
    pthread_mutex_lock(&c->lock);
    int64_t acked = c->acked;
    pthread_mutex_unlock(&c->lock);
    return acked;
}

int worker_control_send(struct worker_control *c, const struct worker_msg *m)
{
    uint8_t buf[WORKER_PACKET_MAX];
    int fds[WORKER_FDS_MAX];
    uint32_t n_fds;
    size_t bytes;

    int rc = worker_msg_encode(buf, sizeof(buf), &bytes, fds, &n_fds, m, NULL);
    if (rc < 0)
        return rc;
    // One packet is one send, so that both threads may send.
    for (;;) {
        rc = fdpass_send(c->fd, buf, bytes, fds, n_fds);
        if (rc != -EAGAIN)
            break;
        struct pollfd p = {.fd = c->fd, .events = POLLOUT};
        (void) poll(&p, 1, -1);
    }
    if (rc == -EPIPE || rc == -ECONNRESET)
        _exit(0);
    return rc;
}
