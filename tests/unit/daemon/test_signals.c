// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * All of the signals over a fake root, on a clock of the test's own.
 */

#include <math.h>

#include "daemon/signal_table.h"
#include "daemon/signals.h"
#include "fake_root.h"

#define PS "sys/class/power_supply/"
#define TZ "sys/class/thermal/thermal_zone0/"

enum { MINUTE_MS = 60 * 1000 };

struct scene {
    uv_loop_t loop;
    struct signals *signals;
    int64_t now_ms;
    int changes;
};

static int64_t now_ms(void *user)
{
    return ((struct scene *) user)->now_ms;
}

static int64_t unix_ms(void *user)
{
    return ((struct scene *) user)->now_ms + 1000000;
}

static void on_change(void *user)
{
    ((struct scene *) user)->changes++;
}

static void plug(bool is_plugged)
{
    put(PS "ac/type", "Mains");
    put(PS "ac/online", is_plugged ? "1" : "0");
}

static int setup(void **state)
{
    struct scene *sc = calloc(1, sizeof(*sc));

    *state = sc;
    if (make_root(state) < 0)
        return -1;
    plug(true);
    put(PS "bat/type", "Battery");
    put(PS "bat/status", "Charging");
    put(PS "bat/capacity", "80");
    sc->now_ms = 5000;
    assert_int_equal(uv_loop_init(&sc->loop), 0);
    return signals_create(&sc->signals,
                          &(struct signals_params){.loop = &sc->loop,
                                                   .root = root,
                                                   .state_dir = root,
                                                   .now_ms = now_ms,
                                                   .unix_ms = unix_ms,
                                                   .on_change = on_change,
                                                   .user = sc},
                          NULL);
}

static int teardown(void **state)
{
    struct scene *sc = *state;

    signals_destroy(sc->signals);
    while (uv_run(&sc->loop, UV_RUN_DEFAULT) != 0)
        continue;
    assert_int_equal(uv_loop_close(&sc->loop), 0);
    free(sc);
    return remove_root(state);
}

static const struct snapshot *look(struct scene *sc, int64_t after_ms)
{
    sc->now_ms += after_ms;
    signals_refresh(sc->signals);
    return signals_snapshot(sc->signals);
}

static void says_who_said_it_and_since_when(void **state)
{
    struct scene *sc = *state;
    const struct snapshot *s = look(sc, 0);

    assert_int_equal(s->source[SIGNAL_external_power], SIGNAL_SOURCE_SYSFS);
    assert_int_equal(s->source[SIGNAL_session_idle], SIGNAL_SOURCE_NONE);
    assert_int_equal(s->source[SIGNAL_disk_free], SIGNAL_SOURCE_STORE);
    assert_int_equal(s->since_ms[SIGNAL_external_power], 1005000);
    s = look(sc, 1000);
    assert_int_equal(s->since_ms[SIGNAL_external_power], 1005000);
    plug(false);
    s = look(sc, 1000);
    assert_int_equal(s->since_ms[SIGNAL_external_power], 1007000);
    assert_int_equal(s->since_ms[SIGNAL_battery_pct], 1005000);
}

static void flapping_power_counts_as_lost_until_it_holds(void **state)
{
    struct scene *sc = *state;
    const struct snapshot *s = look(sc, 0);

    assert_int_equal(s->has_external_power, TRI_YES);
    for (int i = 0; i < 20; i++) {
        plug(i % 2);
        s = look(sc, 1000);
    }
    assert_int_equal(s->has_external_power, TRI_NO);
    assert_true(s->power_flaps >= 16);
    s = look(sc, MINUTE_MS - 1);
    assert_int_equal(s->has_external_power, TRI_NO);
    s = look(sc, 1);
    assert_int_equal(s->has_external_power, TRI_YES);
    assert_int_equal(s->power_flaps, 0);
}

static void a_battery_that_wavers_on_the_charger_is_unsteady_too(void **state)
{
    struct scene *sc = *state;
    const struct snapshot *s = look(sc, 0);

    for (int i = 0; i < 20; i++) {
        put(PS "bat/status", i % 2 ? "Charging" : "Discharging");
        s = look(sc, 1000);
    }
    assert_int_equal(s->has_external_power, TRI_NO);
    assert_true(s->power_flaps > 0);
}

// The next timer of the loop, in milliseconds; -1: none.
static int due_ms(struct scene *sc)
{
    (void) uv_run(&sc->loop, UV_RUN_NOWAIT);
    return uv_backend_timeout(&sc->loop);
}

static void nobody_waits_for_power_when_there_is_no_work(void **state)
{
    struct scene *sc = *state;

    for (int i = 0; i < 20; i++) {
        plug(i % 2);
        (void) look(sc, 1000);
    }
    // Time ends the doubt; without a job nobody asks.
    assert_true(due_ms(sc) <= 10); // what inotify told settles
    while (due_ms(sc) >= 0)
        (void) uv_run(&sc->loop, UV_RUN_ONCE);
    // A job that waits wants to know, at once when it ends.
    signals_set_pace(sc->signals, SIGNALS_PACE_SLOW);
    int due = due_ms(sc);
    assert_true(due > 50 * 1000 && due <= MINUTE_MS + 100);
    // On battery there is nothing to wait for but a quarter of an hour.
    plug(false);
    (void) look(sc, 1000);
    signals_set_pace(sc->signals, SIGNALS_PACE_EVENTS);
    while (due_ms(sc) >= 0)
        (void) uv_run(&sc->loop, UV_RUN_ONCE);
    signals_set_pace(sc->signals, SIGNALS_PACE_SLOW);
    assert_true(due_ms(sc) > 14 * MINUTE_MS);
}

static void a_weak_charger_shows_in_ten_minutes(void **state)
{
    struct scene *sc = *state;
    const struct snapshot *s = look(sc, 0);
    char text[32];

    assert_true(isnan(s->drain_pct));
    // 0.2 % a minute, which whole percents hide.
    put(PS "bat/energy_full", "50000000");
    for (int i = 0; i <= 12; i++) {
        snprintf(text, sizeof(text), "%d", 40000000 - 100000 * i);
        put(PS "bat/energy_now", text);
        s = look(sc, MINUTE_MS);
    }
    assert_true(fabs(s->drain_pct - 2) < 1e-6);
    assert_int_equal(s->source[SIGNAL_drain], SIGNAL_SOURCE_SYSFS);
    // Energy that vanishes is not a fall of the percents.
    put(PS "bat/energy_full", "0");
    s = look(sc, MINUTE_MS);
    assert_true(isnan(s->drain_pct));
}

static void throttled_for_half_a_minute_is_throttling(void **state)
{
    struct scene *sc = *state;
    const struct snapshot *s;

    put(TZ "type", "skin");
    put(TZ "temp", "39000"); // warm by itself
    put("sys/class/thermal/cooling_device0/type", "thermal-cpufreq-0");
    put("sys/class/thermal/cooling_device0/cur_state", "1");
    s = look(sc, 0);
    assert_int_equal(s->thermal_level, 1);
    s = look(sc, 29999);
    assert_int_equal(s->thermal_level, 1);
    s = look(sc, 1);
    assert_int_equal(s->thermal_level, 2);
    put("sys/class/thermal/cooling_device0/cur_state", "0");
    s = look(sc, 1);
    assert_int_equal(s->thermal_level, 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(says_who_said_it_and_since_when),
        T(flapping_power_counts_as_lost_until_it_holds),
        T(a_battery_that_wavers_on_the_charger_is_unsteady_too),
        T(nobody_waits_for_power_when_there_is_no_work),
        T(a_weak_charger_shows_in_ten_minutes),
        T(throttled_for_half_a_minute_is_throttling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
