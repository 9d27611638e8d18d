// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#define LOG_MODULE "logind"

#include "daemon/signals_logind.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/bus.h"
#include "daemon/bus_take.h"
#include "daemon/signal_table.h"
#include "engine/base/log.h"

/*
 * Invariants
 * 1. No call waits: everything is asked asynchronously, and `seen` is what the
 *    last complete round of answers said.
 * 2. One round at a time; a signal during it asks for another one after it.
 * 3. Of sessions only those of class `user` count: greeters and managers say
 *    nothing about people, and the manager's own IdleHint is not used at all.
 */

enum { SESSIONS_MAX = 32 };

#define DEST    "org.freedesktop.login1"
#define OBJECT  "/org/freedesktop/login1"
#define MANAGER "org.freedesktop.login1.Manager"
#define SESSION "org.freedesktop.login1.Session"
#define PROPS   "org.freedesktop.DBus.Properties"

struct view {
    int sessions;  // of people, alive
    int idle;      // of these, idle or locked
    int terminals; // of these
    int64_t idle_since_us;
    char inhibitors[96];
};

struct signals_logind {
    sd_bus *bus; // NULL: down
    void (*on_change)(void *user);
    void *user;
    struct view seen;
    bool has_seen;
    struct view round;
    int waiting;       // answers of the round
    bool has_sessions; // of the round: the list came
    bool is_stale;
    bool is_going_to_sleep;
    bool is_shutting_down;
    bool wants_awake;
    int block_fd;
    int delay_fd;
};

static void start_round(struct signals_logind *l);

static void end_answer(struct signals_logind *l)
{
    if (--l->waiting > 0)
        return;
    bool is_news =
        l->has_sessions != l->has_seen ||
        (l->has_seen && memcmp(&l->seen, &l->round, sizeof(l->seen)) != 0);
    l->seen = l->round;
    l->has_seen = l->has_sessions;
    if (l->is_stale)
        start_round(l);
    if (is_news)
        l->on_change(l->user);
}

static int on_session(sd_bus_message *m, void *user, sd_bus_error *err)
{
    struct signals_logind *l = user;
    struct take_session s = {0};

    // A session that ended meanwhile is an error, and no session.
    if (!sd_bus_message_is_method_error(m, NULL) &&
        bus_read_properties(m, take_session, &s) == 0 && s.is_person &&
        !s.is_closing) {
        l->round.sessions++;
        l->round.idle += s.is_idle || s.is_locked;
        l->round.terminals += s.is_terminal;
        if (s.is_idle && s.idle_since_us > l->round.idle_since_us)
            l->round.idle_since_us = s.idle_since_us;
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
        sd_bus_message_enter_container(m, 'a', "(susso)") > 0) {
        l->has_sessions = true;
        while (n < SESSIONS_MAX && sd_bus_message_read(m, "(susso)", NULL, NULL,
                                                       NULL, NULL, &path) > 0) {
            n++;
            if (sd_bus_call_method_async(l->bus, NULL, DEST, path, PROPS,
                                         "GetAll", on_session, l, "s",
                                         SESSION) >= 0)
                l->waiting++;
        }
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
    l->has_sessions = false;
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
        l->is_shutting_down =
            is_starting != 0 && strcmp(member, "PrepareForShutdown") == 0;
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
    // A worker must not inherit it, and hold up sleep in our place.
    return fcntl(fd, F_DUPFD_CLOEXEC, 3);
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
        if (l->bus)
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

void signals_logind_poll(struct signals_logind *l)
{
    if (l->bus && l->has_seen && l->seen.terminals > 0)
        start_round(l);
}

static void forget(struct signals_logind *l)
{
    l->has_seen = false;
    l->is_going_to_sleep = false;
    l->is_shutting_down = false;
}

// It was started anew, or is gone; our locks went with it.
static int on_owner(sd_bus_message *m, void *user, sd_bus_error *err)
{
    struct signals_logind *l = user;
    const char *owner = "";

    if (sd_bus_message_read(m, "sss", NULL, NULL, &owner) < 0)
        return 0;
    log_info("event=%s", *owner ? "logind_up" : "logind_gone");
    forget(l);
    drop(&l->block_fd);
    drop(&l->delay_fd);
    if (*owner) {
        start_round(l);
        if (l->wants_awake)
            take_locks(l);
    }
    l->on_change(l->user);
    return 0;
}

void signals_logind_on_up(struct signals_logind *l, sd_bus *bus)
{
    l->bus = bus;
    (void) sd_bus_match_signal_async(bus, NULL, DEST, OBJECT, MANAGER, NULL,
                                     on_manager, NULL, l);
    (void) sd_bus_add_match_async(
        bus, NULL,
        "type='signal',sender='" DEST "',interface='" PROPS
        "',member='PropertiesChanged',path_namespace='" OBJECT "'",
        on_properties, NULL, l);
    (void) sd_bus_add_match_async(bus, NULL,
                                  "type='signal',sender='org.freedesktop.DBus',"
                                  "member='NameOwnerChanged',arg0='" DEST "'",
                                  on_owner, NULL, l);
    start_round(l);
    if (l->wants_awake)
        take_locks(l);
}

// logind itself may be well, but what it says does not come any more. Our locks
// are files: they hold.
void signals_logind_on_down(struct signals_logind *l)
{
    l->bus = NULL;
    l->waiting = 0;
    l->is_stale = false;
    forget(l);
}

int signals_logind_create(struct signals_logind **out,
                          void (*on_change)(void *user), void *user)
{
    struct signals_logind *l = calloc(1, sizeof(*l));

    if (!l)
        return -ENOMEM;
    l->block_fd = l->delay_fd = -1;
    l->on_change = on_change;
    l->user = user;
    *out = l;
    return 0;
}

void signals_logind_destroy(struct signals_logind *l)
{
    if (!l)
        return;
    drop(&l->block_fd);
    drop(&l->delay_fd);
    free(l);
}

static void mark(struct snapshot *s, int first, int last)
{
    for (int i = first; i <= last; i++)
        signal_mark(s, (enum signal) i, SIGNAL_SOURCE_DBUS);
}

void signals_logind_read(const struct signals_logind *l, struct snapshot *s,
                         int64_t *idle_since_ms)
{
    s->is_going_to_sleep = l->is_going_to_sleep;
    s->is_shutting_down = l->is_shutting_down;
    if (!l->has_seen)
        return;
    mark(s, SIGNAL_sleep, SIGNAL_shutdown);
    memcpy(s->inhibitors, l->seen.inhibitors, sizeof(s->inhibitors));
    mark(s, SIGNAL_inhibitors, SIGNAL_inhibitors);
    s->session_count = l->seen.sessions;
    s->session_idle_count = l->seen.idle;
    // Nobody is logged in as far as logind knows: the displays decide.
    if (l->seen.sessions > 0) {
        s->is_session_idle =
            l->seen.idle == l->seen.sessions ? TRI_YES : TRI_NO;
        *idle_since_ms = l->seen.idle_since_us / 1000;
    }
    mark(s, SIGNAL_sessions, SIGNAL_session_idle);
}
