// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "daemon/steady.h"

static void a_plug_is_believed_at_once(void **state)
{
    struct steady s = {0};

    assert_false(steady_update(&s, true, 0));
    assert_false(steady_update(&s, false, 1000));
    assert_false(steady_update(&s, true, 2000));
    assert_int_equal(steady_due_ms(&s, 2000), -1);
}

static void power_that_toggles_each_second_is_none(void **state)
{
    struct steady s = {0};
    int64_t t = 0;

    for (int i = 0; i < 5; i++, t += 1000)
        (void) steady_update(&s, i % 2 == 0, t);
    assert_true(s.is_held);
    for (int i = 0; i < 100; i++, t += 1000)
        assert_true(steady_update(&s, i % 2 == 0, t));
    // The last change was a second ago: a minute is waited for.
    assert_true(steady_update(&s, false, t));
    assert_int_equal(steady_due_ms(&s, t), 59000);
    assert_true(s.flaps > 100);
    assert_true(steady_update(&s, true, t + 1000));
    assert_true(steady_update(&s, true, t + 60999));
    assert_false(steady_update(&s, true, t + 61000));
    assert_int_equal(steady_due_ms(&s, t + 61000), -1);
}

static void changes_over_an_hour_are_no_flapping(void **state)
{
    struct steady s = {0};

    for (int i = 0; i < 60; i++)
        assert_false(steady_update(&s, i % 2 == 0, i * 60 * 1000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plug_is_believed_at_once),
        cmocka_unit_test(power_that_toggles_each_second_is_none),
        cmocka_unit_test(changes_over_an_hour_are_no_flapping),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
