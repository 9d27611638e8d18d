// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/signal_table.h"

static void a_new_snapshot_says_not_known_or_nothing(void **state)
{
    struct snapshot s;

    snapshot_init(&s);
    assert_int_equal(signal_get(&s, SIGNAL_battery_pct).type, SIGNAL_TYPE_NONE);
    assert_int_equal(signal_get(&s, SIGNAL_external_power).type,
                     SIGNAL_TYPE_NONE);
    assert_int_equal(signal_get(&s, SIGNAL_in_use).type, SIGNAL_TYPE_NONE);
    assert_int_equal(signal_get(&s, SIGNAL_gpu_busy).type, SIGNAL_TYPE_NONE);
    assert_int_equal(signal_get(&s, SIGNAL_sleep).type, SIGNAL_TYPE_BOOL);
    assert_string_equal(signal_get(&s, SIGNAL_inhibitors).text, "");
}

// Whatever is read can be written back.
static void every_signal_survives_a_round_trip(void **state)
{
    struct snapshot s;
    struct snapshot t;

    snapshot_init(&s);
    s.has_external_power = TRI_YES;
    s.has_battery = true;
    s.battery_state = BATTERY_STATE_FULL;
    s.battery_health = BATTERY_HEALTH_HOT;
    s.battery_pct = 81.5;
    s.warning = 4;
    s.thermal_level = 2;
    strcpy(s.thermal_zone, "cpu");
    s.is_screen_off = TRI_NO;
    s.session_count = 2;
    s.session_idle_count = 1;
    s.is_session_idle = TRI_NO;
    s.is_use_known = true;
    s.unused_since_ms = 99;
    strcpy(s.inhibitors, "a film");
    s.memory_total_bytes = INT64_C(8) << 30;
    s.gpu_busy_pct = 7;
    snapshot_init(&t);
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        struct signal_value v = signal_get(&s, (enum signal) i);
        assert_true(signal_set(&t, (enum signal) i, &v));
    }
    for (int i = 0; i < SIGNAL_COUNT; i++)
        assert_true(signal_is_same(&s, &t, (enum signal) i));
    t.battery_pct = 81;
    assert_false(signal_is_same(&s, &t, SIGNAL_battery_pct));
}

static void refuses_what_cannot_be(void **state)
{
    struct snapshot s;
    struct signal_value yes = {.type = SIGNAL_TYPE_BOOL, .flag = true};
    struct signal_value minus = {.type = SIGNAL_TYPE_INT, .integer = -1};
    struct signal_value huge = {.type = SIGNAL_TYPE_INT, .integer = INT64_MAX};
    struct signal_value nan = {.type = SIGNAL_TYPE_NUM, .number = NAN};
    char text[200];

    snapshot_init(&s);
    memset(text, 'x', sizeof(text));
    text[199] = '\0';
    struct signal_value longer = {.type = SIGNAL_TYPE_TEXT, .text = text};
    assert_false(signal_set(&s, SIGNAL_battery_pct, &yes));
    assert_false(signal_set(&s, SIGNAL_battery_pct, &nan));
    assert_false(signal_set(&s, SIGNAL_sessions, &minus));
    assert_false(signal_set(&s, SIGNAL_thermal_level, &huge));
    assert_false(signal_set(&s, SIGNAL_inhibitors, &longer));
    assert_false(signal_set(&s, SIGNAL_battery_state, &longer));
    assert_true(isnan(s.battery_pct));
    assert_int_equal(s.session_count, -1);
}

static void names_are_found_again(void **state)
{
    for (int i = 0; i < SIGNAL_COUNT; i++)
        assert_int_equal(signal_find(signal_name((enum signal) i)), i);
    assert_int_equal(signal_find("no such thing"), SIGNAL_COUNT);
    assert_int_equal(signal_source_find("dbus"), SIGNAL_SOURCE_DBUS);
    assert_int_equal(signal_source_find("rumour"), SIGNAL_SOURCE_COUNT);
}

static void tells_people_what_it_is(void **state)
{
    char out[SIGNAL_TEXT_BYTES];
    struct snapshot s;

    snapshot_init(&s);
    assert_string_equal(signal_text(out, &s, SIGNAL_battery_pct, 0),
                        "not known");
    s.battery_pct = 80;
    s.memory_total_bytes = INT64_C(3) << 20;
    s.is_use_known = true;
    s.unused_since_ms = 5000;
    s.has_external_power = TRI_NO;
    assert_string_equal(signal_text(out, &s, SIGNAL_battery_pct, 0), "80 %");
    assert_string_equal(signal_text(out, &s, SIGNAL_memory_total, 0), "3 MiB");
    assert_string_equal(signal_text(out, &s, SIGNAL_unused_since, 65000),
                        "for 60 s");
    assert_string_equal(signal_text(out, &s, SIGNAL_external_power, 0), "no");
    s.power_flaps = 6;
    assert_string_equal(signal_text(out, &s, SIGNAL_external_power, 0),
                        "no: unsteady, 6 changes in a minute");
}

static void idle_sessions_or_dark_screens_mean_unused(void **state)
{
    struct snapshot s;

    snapshot_init(&s);
    signal_judge_use(&s);
    assert_false(s.is_use_known);
    assert_string_equal(s.use_source, "none");
    s.is_screen_off = TRI_NO;
    signal_judge_use(&s);
    assert_true(s.is_use_known && s.is_in_use);
    assert_string_equal(s.use_source, "sysfs");
    s.is_session_idle = TRI_YES;
    signal_judge_use(&s);
    assert_false(s.is_in_use);
    assert_string_equal(s.use_source, "dbus");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_snapshot_says_not_known_or_nothing),
        cmocka_unit_test(every_signal_survives_a_round_trip),
        cmocka_unit_test(refuses_what_cannot_be),
        cmocka_unit_test(names_are_found_again),
        cmocka_unit_test(tells_people_what_it_is),
        cmocka_unit_test(idle_sessions_or_dark_screens_mean_unused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
