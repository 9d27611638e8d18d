// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#define LOG_MODULE "logind"

#include "daemon/signals_logind.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"

/*
 * Invariants
 * 1. No call waits: everything is asked asynchronously, and `seen` is what the
 *    last complete round of answers said.
 * 2. One round at a time; a signal during it asks for another one after it.
 * 3. Of sessions only those of class `user` count: greeters and managers say
 *    nothing about people, and the manager's own IdleHint is not used at all.
 */

enum {
    SESSIONS_MAX = 32,
    PATH_BYTES = 256,
};

#define DEST    "org.freedesktop.login1"
#define OBJECT  "/org/freedesktop/login1"
#define MANAGER "org.freedesktop.login1.Manager"
#define SESSION "org.freedesktop.login1.Session"
#define PROPS   "org.freedesktop.DBus.Properties"

struct view {
    int sessions; // of people, alive
    int idle;     // of these, idle or locked
    uint64_t idle_since_us;
    char inhibitors[96];
};

struct signals_logind {
    sd_bus *bus;
    uv_poll_t poll;
    uv_timer_t timer;
    int handles;
    void (*on_change)(void *user);
    void *user;
    struct view seen;
    bool has_seen;
    struct view round;
    int waiting; // answers of the round
    bool is_stale;
    bool is_going_to_sleep;
    bool wants_awake;
    int block_fd;
    int delay_fd;
};

static void start_round(struct signals_logind *l);
static void update(struct signals_logind *l);

static void end_answer(struct signals_logind *l)
{
    if (--l->waiting > 0)
        return;
    bool is_news =
        !l->has_seen || memcmp(&l->seen, &l->round, sizeof(l->seen)) != 0;
    l->seen = l->round;
    l->has_seen = true;
    if (l->is_stale)
        start_round(l);
    if (is_news)
        l->on_change(l->user);
}

struct session {
    bool is_person;
    bool is_closing;
    bool is_idle;
    bool is_locked;
    uint64_t idle_since_us;
};

static int read_bool(sd_bus_message *m, bool *out)
{
    int v = 0;
    int rc = sd_bus_message_read(m, "v", "b", &v);

    *out = v != 0;
    return rc;
}

static int read_property(sd_bus_message *m, struct session *s)
{
    const char *name;
    const char *text = "";
    int rc = sd_bus_message_read(m, "s", &name);

    if (rc < 0)
        return rc;
    if (strcmp(name, "Class") == 0) {
        rc = sd_bus_message_read(m, "v", "s", &text);
        s->is_person = rc >= 0 && strcmp(text, "user") == 0;
        return rc;
    }
    if (strcmp(name, "State") == 0) {
        rc = sd_bus_message_read(m, "v", "s", &text);
        s->is_closing = rc >= 0 && strcmp(text, "closing") == 0;
        return rc;
    }
    if (strcmp(name, "IdleHint") == 0)
        return read_bool(m, &s->is_idle);
    if (strcmp(name, "LockedHint") == 0)
        return read_bool(m, &s->is_locked);
    if (strcmp(name, "IdleSinceHintMonotonic") == 0)
        return sd_bus_message_read(m, "v", "t", &s->idle_since_us);
    return sd_bus_message_skip(m, "v");
}

static int on_session(sd_bus_message *m, void *user, sd_bus_error *err)
{
    struct signals_logind *l = user;
    struct session s = {0};

    if (!sd_bus_message_is_method_error(m, NULL) &&
        sd_bus_message_enter_container(m, 'a', "{sv}") > 0) {
        while (sd_bus_message_enter_container(m, 'e', "sv") > 0)
            if (read_property(m, &s) < 0 ||
                sd_bus_message_exit_container(m) < 0)
                break;
        if (s.is_person && !s.is_closing) {
            l->round.sessions++;
            l->round.idle += s.is_idle || s.is_locked;
            if (s.is_idle && s.idle_since_us > l->round.idle_since_us)
                l->round.idle_since_us = s.idle_since_us;
        }
    }
    end_answer(l);
    return 0;
}

static int on_sessions(sd_bus_message *m, void *user, sd_bus_error *err)
{
    struct signals_logind *l = user;
    const char *path;
    int n = 0;

    if (!sd_bus_message_is_method_error(m, NULL) &&
        sd_bus_message_enter_container(m, 'a', "(susso)") > 0)
        while (n < SESSIONS_MAX && sd_bus_message_read(m, "(susso)", NULL, NULL,
                                                       NULL, NULL, &path) > 0) {
            n++;
            if (sd_bus_call_method_async(l->bus, NULL, DEST, path, PROPS,
                                         "GetAll", on_session, l, "s",
                                         SESSION) >= 0)
                l->waiting++;
        }
    end_answer(l);
    return 0;
}

static bool blocks(const char *what, const char *mode)
{
    return strcmp(mode, "block") == 0 &&
           (strstr(what, "idle") || strstr(what, "sleep"));
}

static int on_inhibitors(sd_bus_message *m, void *user, sd_bus_error *err)
{
    struct signals_logind *l = user;
    const char *what;
    const char *who;
    const char *mode;
    uint32_t pid;

    if (!sd_bus_message_is_method_error(m, NULL) &&
        sd_bus_message_enter_container(m, 'a', "(ssssuu)") > 0)
        while (sd_bus_message_read(m, "(ssssuu)", &what, &who, NULL, &mode,
                                   NULL, &pid) > 0)
            if (blocks(what, mode) && pid != (uint32_t) getpid())
                snprintf(l->round.inhibitors, sizeof(l->round.inhibitors),
                         "%.95s", who);
    end_answer(l);
    return 0;
}

static void start_round(struct signals_logind *l)
{
    if (l->waiting > 0) {
        l->is_stale = true;
        return;
    }
    l->is_stale = false;
    memset(&l->round, 0, sizeof(l->round));
    l->waiting = 1; // until both are asked
    if (sd_bus_call_method_async(l->bus, NULL, DEST, OBJECT, MANAGER,
                                 "ListSessions", on_sessions, l, "") >= 0)
        l->waiting++;
    if (sd_bus_call_method_async(l->bus, NULL, DEST, OBJECT, MANAGER,
                                 "ListInhibitors", on_inhibitors, l, "") >= 0)
        l->waiting++;
    // Without any question there is no answer, and what was seen stays.
    l->waiting--;
}

static int on_properties(sd_bus_message *m, void *user, sd_bus_error *err)
{
    start_round(user);
    return 0;
}

static void take_locks(struct signals_logind *l);

static int on_manager(sd_bus_message *m, void *user, sd_bus_error *err)
{
    struct signals_logind *l = user;
    const char *member = sd_bus_message_get_member(m);
    int is_starting = 0;

    if (strcmp(member, "PrepareForSleep") == 0 ||
        strcmp(member, "PrepareForShutdown") == 0) {
        (void) sd_bus_message_read(m, "b", &is_starting);
        log_info("event=%s starting=%d", member, is_starting);
        l->is_going_to_sleep = is_starting != 0;
        if (!is_starting && l->wants_awake)
            take_locks(l);
        l->on_change(l->user);
        return 0;
    }
    start_round(l);
    return 0;
}

static int take_fd(sd_bus_message *m)
{
    int fd = -1;

    if (sd_bus_message_is_method_error(m, NULL) ||
        sd_bus_message_read(m, "h", &fd) < 0)
        return -1;
    return dup(fd);
}

// A lock that comes when nobody wants it any more is dropped at once.
static void keep_lock(struct signals_logind *l, int *slot, sd_bus_message *m)
{
    int fd = take_fd(m);

    if (fd < 0)
        return;
    if (*slot >= 0)
        (void) close(*slot);
    *slot = fd;
    if (!l->wants_awake) {
        (void) close(*slot);
        *slot = -1;
    }
}

static int on_block(sd_bus_message *m, void *user, sd_bus_error *err)
{
    struct signals_logind *l = user;

    keep_lock(l, &l->block_fd, m);
    return 0;
}

static int on_delay(sd_bus_message *m, void *user, sd_bus_error *err)
{
    struct signals_logind *l = user;

    keep_lock(l, &l->delay_fd, m);
    return 0;
}

static void take_locks(struct signals_logind *l)
{
    if (l->block_fd < 0)
        (void) sd_bus_call_method_async(l->bus, NULL, DEST, OBJECT, MANAGER,
                                        "Inhibit", on_block, l, "ssss", "idle",
                                        "pockd", "training on the charger",
                                        "block");
    if (l->delay_fd < 0)
        (void) sd_bus_call_method_async(l->bus, NULL, DEST, OBJECT, MANAGER,
                                        "Inhibit", on_delay, l, "ssss",
                                        "sleep:shutdown", "pockd",
                                        "saving training state", "delay");
    update(l);
}

static void drop(int *fd)
{
    if (*fd >= 0)
        (void) close(*fd);
    *fd = -1;
}

void signals_logind_hold_awake(struct signals_logind *l, bool is_held)
{
    l->wants_awake = is_held;
    if (is_held) {
        take_locks(l);
        return;
    }
    drop(&l->block_fd);
    drop(&l->delay_fd);
}

void signals_logind_release_sleep(struct signals_logind *l)
{
    drop(&l->delay_fd);
}

static void process(struct signals_logind *l)
{
    int rc;

    while ((rc = sd_bus_process(l->bus, NULL)) > 0)
        continue;
    if (rc < 0) {
        log_warn("event=bus_lost error=%s", strerror(-rc));
        (void) uv_poll_stop(&l->poll);
        (void) uv_timer_stop(&l->timer);
        l->has_seen = false;
        l->is_going_to_sleep = false;
        l->on_change(l->user);
        return;
    }
    update(l);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    process(poll->data);
}

static void on_timer(uv_timer_t *t)
{
    process(t->data);
}

// sd-bus says what it waits for; it changes with every message.
static void update(struct signals_logind *l)
{
    uint64_t due_us = UINT64_MAX;
    int wanted = sd_bus_get_events(l->bus);
    int events = 0;

    if (wanted < 0)
        return;
    events |= wanted & POLLIN ? UV_READABLE : 0;
    events |= wanted & POLLOUT ? UV_WRITABLE : 0;
    (void) uv_poll_start(&l->poll, events, on_poll);
    if (sd_bus_get_timeout(l->bus, &due_us) < 0 || due_us == UINT64_MAX) {
        (void) uv_timer_stop(&l->timer);
        return;
    }
    uint64_t now_us = clock_monotonic_ns() / 1000;
    (void) uv_timer_start(&l->timer, on_timer,
                          due_us > now_us ? (due_us - now_us + 999) / 1000 : 0,
                          0);
}

static int watch(struct signals_logind *l)
{
    int rc;

    if ((rc = sd_bus_match_signal_async(l->bus, NULL, DEST, OBJECT, MANAGER,
                                        NULL, on_manager, NULL, l)) < 0 ||
        (rc = sd_bus_add_match_async(
             l->bus, NULL,
             "type='signal',sender='" DEST "',interface='" PROPS
             "',member='PropertiesChanged',path_namespace='" OBJECT "'",
             on_properties, NULL, l)) < 0)
        return rc;
    start_round(l);
    return 0;
}

static void on_closed(uv_handle_t *h)
{
    struct signals_logind *l = h->data;

    if (--l->handles > 0)
        return;
    (void) sd_bus_close_unref(l->bus);
    free(l);
}

int signals_logind_create(struct signals_logind **out, uv_loop_t *loop,
                          void (*on_change)(void *user), void *user)
{
    struct signals_logind *l = calloc(1, sizeof(*l));
    int rc;

    if (!l)
        return -ENOMEM;
    l->block_fd = l->delay_fd = -1;
    l->on_change = on_change;
    l->user = user;
    if ((rc = sd_bus_open_system(&l->bus)) < 0) {
        free(l);
        return -ENOTCONN;
    }
    if ((rc = uv_poll_init(loop, &l->poll, sd_bus_get_fd(l->bus))) < 0) {
        (void) sd_bus_close_unref(l->bus);
        free(l);
        return rc;
    }
    (void) uv_timer_init(loop, &l->timer);
    l->poll.data = l;
    l->timer.data = l;
    l->handles = 2;
    if ((rc = watch(l)) < 0) {
        signals_logind_destroy(l);
        return rc;
    }
    process(l);
    *out = l;
    return 0;
}

void signals_logind_destroy(struct signals_logind *l)
{
    if (!l)
        return;
    drop(&l->block_fd);
    drop(&l->delay_fd);
    uv_close((uv_handle_t *) &l->poll, on_closed);
    uv_close((uv_handle_t *) &l->timer, on_closed);
}

void signals_logind_read(const struct signals_logind *l, struct snapshot *s,
                         int64_t *idle_since_ms)
{
    s->is_going_to_sleep = l->is_going_to_sleep;
    if (!l->has_seen)
        return;
    memcpy(s->inhibitors, l->seen.inhibitors, sizeof(s->inhibitors));
    // Nobody is logged in as far as logind knows: the displays decide.
    if (l->seen.sessions == 0)
        return;
    s->is_session_idle = l->seen.idle == l->seen.sessions ? TRI_YES : TRI_NO;
    *idle_since_ms = (int64_t) (l->seen.idle_since_us / 1000);
}
