// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/energy.h"
#include "daemon/night.h"

#define HOUR INT64_C(3600000)
#define DAY  (24 * HOUR)

// 11:00 of some day, an hour of training used.
static struct night morning(int64_t *unix_ms)
{
    struct night n = {0};

    *unix_ms = 20000 * DAY + 11 * HOUR;
    (void) night_see(&n, *unix_ms, 0, HOUR);
    n.used_ms = HOUR;
    n.used_j = 5;
    return n;
}

static void noon_begins_a_new_night(void **state)
{
    int64_t t;
    struct night n = morning(&t);

    assert_int_equal(n.day, 19999);
    assert_false(night_see(&n, t + HOUR - 1, 0, 2 * HOUR - 1));
    assert_int_equal(n.used_ms, HOUR);
    assert_true(night_see(&n, t + HOUR, 0, 2 * HOUR));
    assert_int_equal(n.used_ms, 0);
    assert_true(n.used_j == 0);
    assert_int_equal(n.day, 20000);
}

static void noon_is_local(void **state)
{
    assert_int_equal(night_day(20000 * DAY + 11 * HOUR, 3600), 20000);
    assert_int_equal(night_day(20000 * DAY + 11 * HOUR, 0), 19999);
    assert_int_equal(night_day(0, -3600), -1);
}

static void a_clock_that_is_set_gives_no_new_night(void **state)
{
    static const int64_t by[] = {365 * DAY, -365 * DAY, DAY, -DAY, 5 * HOUR};

    for (size_t i = 0; i < sizeof(by) / sizeof(by[0]); i++) {
        int64_t t;
        struct night n = morning(&t);
        (void) night_see(&n, t + 1000 + by[i], 0, HOUR + 1000);
        assert_int_equal(n.used_ms, HOUR);
        (void) night_see(&n, t + 2000, 0, HOUR + 2000);
        assert_int_equal(n.used_ms, HOUR);
        // And noon still comes.
        (void) night_see(&n, t + HOUR, 0, 2 * HOUR);
        assert_int_equal(n.used_ms, 0);
    }
}

static void a_clock_set_back_a_little_over_noon_passes_it_once(void **state)
{
    int64_t t;
    struct night n = morning(&t);

    (void) night_see(&n, t + HOUR, 0, 2 * HOUR);
    n.used_ms = 7;
    (void) night_see(&n, t + HOUR - 60000, 0, 2 * HOUR + 1000);
    (void) night_see(&n, t + HOUR + 1000, 0, 2 * HOUR + 62000);
    assert_int_equal(n.used_ms, 7);
}

static void a_long_sleep_passes_noon(void **state)
{
    int64_t t;
    struct night n = morning(&t);

    assert_true(night_see(&n, t + 3 * DAY, 0, HOUR + 3 * DAY));
    assert_int_equal(n.used_ms, 0);
}

/*
 * Energy
 */

static void put(const char *root, const char *path, const char *text)
{
    char full[256];

    snprintf(full, sizeof(full), "%s%s", root, path);
    for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        (void) mkdir(full, 0700);
        *p = '/';
    }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int set_up(void **state)
{
    char *root = strdup("/tmp/pock-energy-XXXXXX");

    *state = root;
    return root && mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -rf %s", (char *) *state);
    int rc = system(command);
    free(*state);
    return rc;
}

#define RAPL   "/sys/class/powercap/intel-rapl:0/"
#define SUPPLY "/sys/class/power_supply/"

static void counters_are_summed_over_their_wrap(void **state)
{
    const char *root = *state;
    struct energy e;

    put(root, RAPL "energy_uj", "9000000\n");
    put(root, RAPL "max_energy_range_uj", "10000000\n");
    put(root, RAPL "name", "package-0\n");
    // A part of the package must not count twice.
    put(root, "/sys/class/powercap/intel-rapl:0:0/energy_uj", "1\n");
    energy_start(&e, root, 1000);
    assert_int_equal(e.count, 1);
    put(root, RAPL "energy_uj", "4000000\n");
    assert_true(fabs(energy_take(&e, root, 2000) - 5) < 1e-9);
    assert_string_equal(e.source, "powercap");
    assert_true(energy_counted(5, 3, 0) == 0);
}

static void the_whole_machine_is_the_only_counter(void **state)
{
    const char *root = *state;
    struct energy e;

    put(root, RAPL "energy_uj", "0\n");
    put(root, RAPL "name", "package-0\n");
    put(root, "/sys/class/powercap/intel-rapl:1/energy_uj", "100\n");
    put(root, "/sys/class/powercap/intel-rapl:1/name", "psys\n");
    energy_start(&e, root, 0);
    assert_int_equal(e.count, 1);
    assert_string_equal(e.zones[0].dir, "intel-rapl:1");
}

static void a_charger_gives_what_the_battery_does_not_keep(void **state)
{
    const char *root = *state;
    struct energy e;

    put(root, SUPPLY "usb/type", "USB\n");
    put(root, SUPPLY "usb/online", "1\n");
    put(root, SUPPLY "usb/current_now", "2000000\n");
    put(root, SUPPLY "usb/voltage_now", "5000000\n");
    put(root, SUPPLY "bat/type", "Battery\n");
    put(root, SUPPLY "bat/status", "Charging\n");
    put(root, SUPPLY "bat/power_now", "4000000\n");
    energy_start(&e, root, 0);
    assert_true(fabs(energy_take(&e, root, 10000) - 60) < 1e-6);
    assert_string_equal(e.source, "charger");
    // It charges, and does not say how fast.
    put(root, SUPPLY "bat/power_now", "x\n");
    assert_true(isnan(energy_take(&e, root, 20000)));
    assert_string_equal(e.source, "none");
}

static void nothing_is_made_up(void **state)
{
    const char *root = *state;
    struct energy e = {0};

    assert_true(isnan(energy_take(&e, root, 1000)));
    energy_start(&e, root, 0);
    assert_true(isnan(energy_take(&e, root, 1000)));
    // A counter that says a gigawatt.
    put(root, RAPL "energy_uj", "0\n");
    energy_start(&e, root, 0);
    put(root, RAPL "energy_uj", "1000000000000000\n");
    assert_true(isnan(energy_take(&e, root, 1000)));
    put(root, RAPL "energy_uj", "-5\n");
    assert_true(isnan(energy_take(&e, root, 2000)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(noon_begins_a_new_night),
        cmocka_unit_test(noon_is_local),
        cmocka_unit_test(a_clock_that_is_set_gives_no_new_night),
        cmocka_unit_test(a_clock_set_back_a_little_over_noon_passes_it_once),
        cmocka_unit_test(a_long_sleep_passes_noon),
        cmocka_unit_test_setup_teardown(counters_are_summed_over_their_wrap,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_whole_machine_is_the_only_counter,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_charger_gives_what_the_battery_does_not_keep, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_is_made_up, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
