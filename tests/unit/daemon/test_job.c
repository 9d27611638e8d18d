// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/job.h"

// The legal steps, written a second time on purpose.
static const struct {
    enum job_state from;
    enum job_state to;
} legal[] = {
    {JOB_STATE_QUEUED, JOB_STATE_STARTING},
    {JOB_STATE_QUEUED, JOB_STATE_PAUSED},
    {JOB_STATE_QUEUED, JOB_STATE_CANCELLED},
    {JOB_STATE_QUEUED, JOB_STATE_FAILED},
    {JOB_STATE_STARTING, JOB_STATE_RUNNING},
    {JOB_STATE_STARTING, JOB_STATE_STOPPING},
    {JOB_STATE_STARTING, JOB_STATE_QUEUED},
    {JOB_STATE_STARTING, JOB_STATE_FAILED},
    {JOB_STATE_RUNNING, JOB_STATE_STOPPING},
    {JOB_STATE_RUNNING, JOB_STATE_QUEUED},
    {JOB_STATE_RUNNING, JOB_STATE_DONE},
    {JOB_STATE_RUNNING, JOB_STATE_FAILED},
    {JOB_STATE_STOPPING, JOB_STATE_QUEUED},
    {JOB_STATE_STOPPING, JOB_STATE_PAUSED},
    {JOB_STATE_STOPPING, JOB_STATE_CANCELLED},
    {JOB_STATE_STOPPING, JOB_STATE_DONE},
    {JOB_STATE_STOPPING, JOB_STATE_FAILED},
    {JOB_STATE_PAUSED, JOB_STATE_QUEUED},
    {JOB_STATE_PAUSED, JOB_STATE_CANCELLED},
};

static void refuses_every_step_that_is_not_in_the_table(void **state)
{
    for (int from = 0; from < JOB_STATE_COUNT; from++)
        for (int to = 0; to < JOB_STATE_COUNT; to++) {
            struct job j = {.id = 3, .state = (enum job_state) from};
            struct error err = {0};
            bool is_legal = false;

            for (size_t i = 0; i < sizeof(legal) / sizeof(legal[0]); i++)
                is_legal |= legal[i].from == j.state &&
                            legal[i].to == (enum job_state) to;
            int rc = job_become(&j, (enum job_state) to, &err);
            assert_int_equal(rc, is_legal ? 0 : -EINVAL);
            assert_int_equal(j.state, is_legal ? to : from);
            if (!is_legal)
                assert_non_null(strstr(err.text, "cannot become"));
        }
}

static void final_states_lead_nowhere(void **state)
{
    for (int from = 0; from < JOB_STATE_COUNT; from++) {
        bool leads = false;
        for (int to = 0; to < JOB_STATE_COUNT; to++)
            leads |= job_can_become((enum job_state) from, (enum job_state) to);
        assert_int_equal(leads, !job_state_is_final((enum job_state) from));
    }
}

static void names_round_trip(void **state)
{
    for (int i = 0; i < JOB_STATE_COUNT; i++) {
        enum job_state s;
        assert_int_equal(job_state_parse(&s, job_state_name(i)), 0);
        assert_int_equal(s, i);
    }
    enum job_state s;
    assert_int_equal(job_state_parse(&s, "asleep"), -EINVAL);
}

static void backs_off_twice_as_long_each_time_up_to_a_day(void **state)
{
    struct policy p;

    policy_init(&p);
    assert_int_equal(job_backoff_ms(&p, 1, 0.5), 900 * 1000);
    assert_int_equal(job_backoff_ms(&p, 2, 0.5), 1800 * 1000);
    assert_int_equal(job_backoff_ms(&p, 1, 0), 720 * 1000);
    assert_true(job_backoff_ms(&p, 50, 0.999) <= 29 * 3600 * 1000);
    assert_true(job_backoff_ms(&p, 50, 0.5) == 24 * 3600 * 1000);
}

static void an_interruption_costs_nothing(void **state)
{
    struct policy p;
    struct job j = {.failures = 2, .not_before_ms = 99};

    policy_init(&p);
    assert_int_equal(job_on_outcome(&j, JOB_OUTCOME_INTERRUPTED, &p, 1000, 0.5),
                     JOB_STATE_QUEUED);
    assert_int_equal(j.failures, 2);
    assert_int_equal(j.not_before_ms, 0);
}

static void gives_up_after_too_many_failures_in_a_row(void **state)
{
    struct policy p;
    struct job j = {0};

    policy_init(&p);
    for (int i = 1; i < p.retry_max; i++) {
        assert_int_equal(job_on_outcome(&j, JOB_OUTCOME_TRANSIENT, &p, 1000,
                                        0.5),
                         JOB_STATE_QUEUED);
        assert_true(j.not_before_ms > 1000);
    }
    assert_int_equal(job_on_outcome(&j, JOB_OUTCOME_TRANSIENT, &p, 1000, 0.5),
                     JOB_STATE_FAILED);
}

static void three_deaths_at_one_place_are_poison(void **state)
{
    struct job j = {0};

    assert_int_equal(job_on_death(&j, 40), JOB_OUTCOME_TRANSIENT);
    assert_int_equal(job_on_death(&j, 40), JOB_OUTCOME_TRANSIENT);
    assert_int_equal(job_on_death(&j, 50), JOB_OUTCOME_TRANSIENT);
    assert_int_equal(job_on_death(&j, 50), JOB_OUTCOME_TRANSIENT);
    assert_int_equal(job_on_death(&j, 50), JOB_OUTCOME_POISON);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_every_step_that_is_not_in_the_table),
        cmocka_unit_test(final_states_lead_nowhere),
        cmocka_unit_test(names_round_trip),
        cmocka_unit_test(backs_off_twice_as_long_each_time_up_to_a_day),
        cmocka_unit_test(an_interruption_costs_nothing),
        cmocka_unit_test(gives_up_after_too_many_failures_in_a_row),
        cmocka_unit_test(three_deaths_at_one_place_are_poison),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
