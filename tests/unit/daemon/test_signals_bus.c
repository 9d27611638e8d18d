// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * A private bus with a small logind on it, played by a child process. Skipped
 * where there is no dbus-daemon.
 */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/signals_bus.h"

#define NAME    "org.freedesktop.login1"
#define OBJECT  "/org/freedesktop/login1"
#define MANAGER "org.freedesktop.login1.Manager"
#define SESSION "org.freedesktop.login1.Session"
#define ONE     "/org/freedesktop/login1/session/_31"

enum { WAIT_MS = 5000 };

// The child's state
static int is_idle;
static int is_locked;
static int has_inhibitor;
static uint64_t idle_since_us = 5000000;

static int on_list_sessions(sd_bus_message *m, void *user, sd_bus_error *e)
{
    return sd_bus_reply_method_return(m, "a(susso)", 1, "1", 1000u, "maren",
                                      "seat0", ONE);
}

static int on_list_inhibitors(sd_bus_message *m, void *user, sd_bus_error *e)
{
    if (!has_inhibitor)
        return sd_bus_reply_method_return(m, "a(ssssuu)", 1, "sleep",
                                          "NetworkManager", "why", "delay", 0u,
                                          7u);
    return sd_bus_reply_method_return(m, "a(ssssuu)", 1, "idle", "a film",
                                      "why", "block", 1000u, 7u);
}

static int on_inhibit(sd_bus_message *m, void *user, sd_bus_error *e)
{
    int p[2];

    if (pipe(p) < 0)
        return -1;
    int rc = sd_bus_reply_method_return(m, "h", p[1]);
    (void) close(p[1]);
    return rc;
}

// What the test wants to happen: idle, locked, inhibited, sleep.
static int on_set(sd_bus_message *m, void *user, sd_bus_error *e)
{
    sd_bus *bus = sd_bus_message_get_bus(m);
    int asleep;

    if (sd_bus_message_read(m, "bbbb", &is_idle, &is_locked, &has_inhibitor,
                            &asleep) < 0)
        return -1;
    (void) sd_bus_emit_properties_changed(bus, ONE, SESSION, "IdleHint", NULL);
    (void) sd_bus_emit_signal(bus, OBJECT, MANAGER, "PrepareForSleep", "b",
                              asleep);
    return sd_bus_reply_method_return(m, "");
}

static int get_bool(sd_bus *bus, const char *path, const char *interface,
                    const char *property, sd_bus_message *reply, void *user,
                    sd_bus_error *e)
{
    return sd_bus_message_append(reply, "b", *(int *) user);
}

static int get_text(sd_bus *bus, const char *path, const char *interface,
                    const char *property, sd_bus_message *reply, void *user,
                    sd_bus_error *e)
{
    return sd_bus_message_append(reply, "s",
                                 strcmp(property, "Class") == 0 ? "user"
                                                                : "active");
}

static const sd_bus_vtable manager[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("ListSessions", "", "a(susso)", on_list_sessions,
                  SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("ListInhibitors", "", "a(ssssuu)", on_list_inhibitors,
                  SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("Inhibit", "ssss", "h", on_inhibit,
                  SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("Set", "bbbb", "", on_set, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_VTABLE_END,
};

static const sd_bus_vtable session[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_PROPERTY("Class", "s", get_text, 0, 0),
    SD_BUS_PROPERTY("State", "s", get_text, 0, 0),
    SD_BUS_PROPERTY("IdleHint", "b", get_bool, (size_t) &is_idle,
                    SD_BUS_VTABLE_ABSOLUTE_OFFSET |
                        SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("LockedHint", "b", get_bool, (size_t) &is_locked,
                    SD_BUS_VTABLE_ABSOLUTE_OFFSET),
    SD_BUS_PROPERTY("IdleSinceHintMonotonic", "t", NULL,
                    (size_t) &idle_since_us, SD_BUS_VTABLE_ABSOLUTE_OFFSET),
    SD_BUS_VTABLE_END,
};

static void play_logind(void)
{
    sd_bus *bus;

    if (sd_bus_open_system(&bus) < 0 ||
        sd_bus_add_object_vtable(bus, NULL, OBJECT, MANAGER, manager, NULL) <
            0 ||
        sd_bus_add_object_vtable(bus, NULL, ONE, SESSION, session, NULL) < 0 ||
        sd_bus_request_name(bus, NAME, 0) < 0)
        _exit(1);
    for (;;)
        if (sd_bus_process(bus, NULL) == 0 && sd_bus_wait(bus, UINT64_MAX) < 0)
            _exit(0);
}

struct scene {
    FILE *daemon;
    pid_t bus_pid;
    pid_t logind;
    sd_bus *bus; // the test's own connection
    uv_loop_t loop;
    uv_timer_t timer;
    struct signals_bus *l;
    struct snapshot s;
    int64_t idle_since_ms;
    bool is_late;
};

static void on_change(void *user)
{
}

static void on_late(uv_timer_t *t)
{
    ((struct scene *) t->data)->is_late = true;
}

static bool start_bus(struct scene *sc)
{
    char line[512];

    sc->daemon = popen("exec dbus-daemon --session --nofork --nopidfile "
                       "--print-address=1 --print-pid=1 2>/dev/null",
                       "r");
    if (!sc->daemon || !fgets(line, sizeof(line), sc->daemon))
        return false;
    line[strcspn(line, "\n")] = '\0';
    setenv("DBUS_SYSTEM_BUS_ADDRESS", line, 1);
    if (!fgets(line, sizeof(line), sc->daemon))
        return false;
    sc->bus_pid = (pid_t) strtol(line, NULL, 10);
    return true;
}

static int setup(void **state)
{
    struct scene *sc = calloc(1, sizeof(*sc));

    *state = sc;
    if (!start_bus(sc))
        return 0;
    sc->logind = fork();
    if (sc->logind == 0)
        play_logind();
    assert_int_equal(sd_bus_open_system(&sc->bus) >= 0, true);
    for (int i = 0; i < 500; i++) {
        if (sd_bus_call_method(sc->bus, NAME, OBJECT, MANAGER, "ListSessions",
                               NULL, NULL, "") >= 0)
            break;
        usleep(10000); // until the name is there
    }
    assert_int_equal(uv_loop_init(&sc->loop), 0);
    (void) uv_timer_init(&sc->loop, &sc->timer);
    sc->timer.data = sc;
    assert_int_equal(signals_bus_create(&sc->l, &sc->loop, on_change, sc), 0);
    return 0;
}

static int teardown(void **state)
{
    struct scene *sc = *state;

    if (sc->l) {
        signals_bus_destroy(sc->l);
        uv_close((uv_handle_t *) &sc->timer, NULL);
        while (uv_run(&sc->loop, UV_RUN_DEFAULT) != 0)
            continue;
        assert_int_equal(uv_loop_close(&sc->loop), 0);
        sd_bus_flush_close_unref(sc->bus);
    }
    if (sc->logind > 0) {
        (void) kill(sc->logind, SIGKILL);
        (void) waitpid(sc->logind, NULL, 0);
    }
    if (sc->bus_pid > 0)
        (void) kill(sc->bus_pid, SIGTERM);
    if (sc->daemon)
        (void) pclose(sc->daemon);
    free(sc);
    return 0;
}

static void set(struct scene *sc, int idle, int locked, int inhibitor,
                int asleep)
{
    assert_true(sd_bus_call_method(sc->bus, NAME, OBJECT, MANAGER, "Set", NULL,
                                   NULL, "bbbb", idle, locked, inhibitor,
                                   asleep) >= 0);
}

typedef bool (*seen_fn)(const struct scene *sc);

static void wait_until(struct scene *sc, seen_fn seen)
{
    sc->is_late = false;
    (void) uv_timer_start(&sc->timer, on_late, WAIT_MS, 0);
    do {
        (void) uv_run(&sc->loop, UV_RUN_ONCE);
        snapshot_init(&sc->s);
        signals_bus_read(sc->l, &sc->s, &sc->idle_since_ms);
    } while (!seen(sc) && !sc->is_late);
    (void) uv_timer_stop(&sc->timer);
    assert_true(seen(sc));
}

static bool is_in_use(const struct scene *sc)
{
    return sc->s.is_session_idle == TRI_NO;
}

static bool is_unused(const struct scene *sc)
{
    return sc->s.is_session_idle == TRI_YES;
}

static bool is_inhibited(const struct scene *sc)
{
    return strcmp(sc->s.inhibitors, "a film") == 0;
}

static bool goes_to_sleep(const struct scene *sc)
{
    return sc->s.is_going_to_sleep;
}

static void follows_sessions_inhibitors_and_sleep(void **state)
{
    struct scene *sc = *state;

    if (!sc->l) {
        print_message("# no dbus-daemon: skipped\n");
        return; // skip() of cmocka 1.1 prints "not ok"
    }
    wait_until(sc, is_in_use);
    assert_string_equal(sc->s.inhibitors, "");
    set(sc, 1, 0, 0, 0);
    wait_until(sc, is_unused);
    assert_int_equal(sc->idle_since_ms, 5000);
    set(sc, 0, 0, 0, 0);
    wait_until(sc, is_in_use);
    set(sc, 0, 1, 0, 0);
    wait_until(sc, is_unused);
    set(sc, 0, 1, 1, 0);
    wait_until(sc, is_inhibited);
    signals_bus_hold_awake(sc->l, true);
    set(sc, 0, 1, 1, 1);
    wait_until(sc, goes_to_sleep);
    signals_bus_release_sleep(sc->l);
    signals_bus_hold_awake(sc->l, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(follows_sessions_inhibitors_and_sleep,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
