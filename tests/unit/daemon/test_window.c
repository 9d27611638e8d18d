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

#include "daemon/window.h"

enum { SUN, MON, TUE, WED, THU, FRI, SAT };

static struct windows parsed(const char *text)
{
    struct error err = {0};
    struct windows w;

    if (windows_parse(&w, text, &err) < 0)
        fail_msg("%s: %s", text, err.text);
    return w;
}

static void a_window_over_midnight_belongs_to_its_evening(void **state)
{
    struct windows w = parsed("fri/22:00-06:00");

    assert_false(windows_is_open(&w, FRI, 21 * 60 + 59));
    assert_true(windows_is_open(&w, FRI, 22 * 60));
    assert_true(windows_is_open(&w, SAT, 5 * 60 + 59));
    assert_false(windows_is_open(&w, SAT, 6 * 60));
    assert_false(windows_is_open(&w, FRI, 3 * 60));
    assert_false(windows_is_open(&w, SAT, 23 * 60));
}

static void days_are_ranges_that_may_go_over_the_week(void **state)
{
    struct windows w = parsed("fri-mon+wed/10:00-11:00");
    static const bool is_open[] = {true, true, false, true, false, true, true};

    for (int day = SUN; day <= SAT; day++)
        assert_int_equal(windows_is_open(&w, day, 630), is_open[day]);
}

static void several_windows_open_one_after_another(void **state)
{
    struct windows w = parsed("01:00-02:00,mon-fri/12:30-13:00,23:00-24:00");

    assert_int_equal(w.count, 3);
    assert_int_equal(windows_opens_in(&w, MON, 90), 0);
    assert_int_equal(windows_opens_in(&w, MON, 120), 10 * 60 + 30);
    assert_int_equal(windows_opens_in(&w, SUN, 120), 21 * 60);
    assert_int_equal(windows_opens_in(&w, SAT, 23 * 60 + 30), 0);
    assert_int_equal(windows_opens_in(&w, SAT, 0), 60);
}

static void a_week_is_the_longest_wait(void **state)
{
    struct windows w = parsed("tue/10:00-10:01");

    assert_int_equal(windows_opens_in(&w, TUE, 601), 7 * 1440 - 1);
    assert_int_equal(windows_opens_in(&w, TUE, 599), 1);
}

static void the_two_numbers_are_a_window_too(void **state)
{
    struct windows w;

    windows_daily(&w, 0, 1440);
    assert_true(windows_is_open(&w, SUN, 0));
    assert_true(windows_is_open(&w, SUN, 1439));
    windows_daily(&w, 1320, 60);
    assert_true(windows_is_open(&w, SUN, 1320));
    assert_true(windows_is_open(&w, SUN, 59));
    assert_false(windows_is_open(&w, SUN, 60));
    assert_int_equal(windows_opens_in(&w, SUN, 60), 1260);
    windows_daily(&w, 100, 0);
    assert_true(windows_is_open(&w, SUN, 1439));
    assert_false(windows_is_open(&w, SUN, 99));
    windows_daily(&w, 60, 60);
    assert_int_equal(windows_opens_in(&w, SUN, 0), -1);
}

static void anything_else_is_refused_with_a_sentence(void **state)
{
    static const struct {
        const char *text;
        const char *says;
    } bad[] = {
        {"", "is no window"},
        {"22:00", "is no window"},
        {"22:00-", "is no window"},
        {"22:00-25:00", "is no window"},
        {"22:60-23:00", "is no window"},
        {"24:00-01:00", "is no window"},
        {"2:00-3:00", "is no window"},
        {"mon/", "is no window"},
        {"mo/10:00-11:00", "is no window"},
        {"mon-/10:00-11:00", "is no window"},
        {"mon+/10:00-11:00", "is no window"},
        {"mon10:00-11:00", "is no window"},
        {"10:00-11:00,", "is no window"},
        {"10:00-11:00x", "is no window"},
        {"10:00-10:00", "is empty"},
        {"1,1", "is no window"},
    };
    struct error err;
    struct windows w;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        err = (struct error){0};
        assert_int_equal(windows_parse(&w, bad[i].text, &err), -EINVAL);
        assert_non_null(strstr(err.text, bad[i].says));
    }
}

static void there_is_a_limit(void **state)
{
    char text[WINDOW_MAX * 12 + 20] = "";
    struct error err = {0};
    struct windows w;

    for (int i = 0; i < WINDOW_MAX; i++)
        strcat(text, i ? ",10:00-11:00" : "10:00-11:00");
    assert_int_equal(windows_parse(&w, text, &err), 0);
    strcat(text, ",10:00-11:00");
    assert_int_equal(windows_parse(&w, text, &err), -EINVAL);
    assert_non_null(strstr(err.text, "more than 16"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_window_over_midnight_belongs_to_its_evening),
        cmocka_unit_test(days_are_ranges_that_may_go_over_the_week),
        cmocka_unit_test(several_windows_open_one_after_another),
        cmocka_unit_test(a_week_is_the_longest_wait),
        cmocka_unit_test(the_two_numbers_are_a_window_too),
        cmocka_unit_test(anything_else_is_refused_with_a_sentence),
        cmocka_unit_test(there_is_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
