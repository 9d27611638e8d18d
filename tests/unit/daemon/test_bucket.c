// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/bucket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { HOUR_MS = 3600000 };

static void gives_an_hours_worth_and_then_waits(void **state)
{
    struct bucket b = {0};

    assert_int_equal(bucket_take(&b, 60, 100, 1000), 0);
    assert_int_equal(bucket_take(&b, 40, 100, 1000), 0);
    // One costs 36 s.
    assert_int_equal(bucket_take(&b, 1, 100, 1000), 36000);
    assert_int_equal(bucket_take(&b, 1, 100, 1000 + 35999), 1);
    assert_int_equal(bucket_take(&b, 1, 100, 1000 + 36000), 0);
    assert_int_equal(bucket_take(&b, 2, 100, 1000 + 36000), 72000);
}

static void never_holds_more_than_an_hours_worth(void **state)
{
    struct bucket b = {0};

    assert_int_equal(bucket_take(&b, 100, 100, 0), 0);
    assert_int_equal(bucket_take(&b, 100, 100, (int64_t) 10 * HOUR_MS), 0);
    assert_true(bucket_take(&b, 1, 100, (int64_t) 10 * HOUR_MS) > 0);
}

static void says_never_to_what_cannot_fit(void **state)
{
    struct bucket b = {0};

    assert_int_equal(bucket_take(&b, 101, 100, 0), -1);
    assert_int_equal(bucket_take(&b, 100, 100, 0), 0);
}

static void zero_is_no_limit(void **state)
{
    struct bucket b = {0};

    for (int i = 0; i < 10; i++)
        assert_int_equal(bucket_take(&b, 1e9, 0, 0), 0);
}

static void takes_a_new_limit_at_once(void **state)
{
    struct bucket b = {0};

    assert_int_equal(bucket_take(&b, 1, 1000, 0), 0);
    assert_int_equal(bucket_take(&b, 10, 10, 0), 0);
    assert_int_equal(bucket_take(&b, 1, 10, 0), HOUR_MS / 10);
    assert_int_equal(bucket_take(&b, 1, 3600, 0), 1000);
}

static void a_clock_that_goes_back_gives_nothing(void **state)
{
    struct bucket b = {0};

    assert_int_equal(bucket_take(&b, 100, 100, HOUR_MS), 0);
    assert_true(bucket_take(&b, 1, 100, 0) > 0);
    assert_int_equal(bucket_take(&b, 1, 100, 36000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_an_hours_worth_and_then_waits),
        cmocka_unit_test(never_holds_more_than_an_hours_worth),
        cmocka_unit_test(says_never_to_what_cannot_fit),
        cmocka_unit_test(zero_is_no_limit),
        cmocka_unit_test(takes_a_new_limit_at_once),
        cmocka_unit_test(a_clock_that_goes_back_gives_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
