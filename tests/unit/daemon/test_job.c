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

static enum job_state end(struct job *j, const struct job_end *e,
                          struct job_verdict *v)
{
    struct policy p;

    policy_init(&p);
    return job_on_end(j, e, &p, 1000, 0.5, v);
}

static void an_interruption_costs_nothing(void **state)
{
    struct job j = {.failures = 2, .not_before_ms = 99, .checkpoint_step = 9};
    struct job_verdict v;

    assert_int_equal(end(&j,
                         &(struct job_end){.outcome = JOB_OUTCOME_INTERRUPTED},
                         &v),
                     JOB_STATE_QUEUED);
    assert_int_equal(j.failures, 2);
    assert_int_equal(j.not_before_ms, 0);
    assert_int_equal(j.fruitless, 0);
}

static void five_runs_without_a_checkpoint_are_told_of(void **state)
{
    const struct job_end e = {.outcome = JOB_OUTCOME_INTERRUPTED};
    struct job j = {.checkpoint_step = 7};
    struct job_verdict v;

    for (int i = 1; i <= 2 * JOB_FRUITLESS_MAX; i++) {
        job_on_start(&j);
        assert_int_equal(end(&j, &e, &v), JOB_STATE_QUEUED);
        assert_int_equal(v.is_fruitless, i % JOB_FRUITLESS_MAX == 0);
    }
    job_on_checkpoint(&j, 8);
    assert_int_equal(j.fruitless, 0);
}

static void gives_up_after_too_many_failures_in_a_row(void **state)
{
    const struct job_end e = {.outcome = JOB_OUTCOME_TRANSIENT};
    struct policy p;
    struct job j = {0};
    struct job_verdict v;

    policy_init(&p);
    for (int i = 1; i < p.retry_max; i++) {
        assert_int_equal(end(&j, &e, &v), JOB_STATE_QUEUED);
        assert_int_equal(j.not_before_ms, 1000 + job_backoff_ms(&p, i, 0.5));
    }
    assert_int_equal(end(&j, &e, &v), JOB_STATE_FAILED);
    assert_false(v.is_quarantined);
}

static void progress_forgives_failures(void **state)
{
    struct job j = {.failures = 3, .permanents = 1, .checkpoint_step = 5};

    job_on_checkpoint(&j, 5);
    assert_int_equal(j.failures, 3);
    job_on_checkpoint(&j, 6);
    assert_int_equal(j.failures, 0);
    assert_int_equal(j.permanents, 0);
}

static void a_full_disk_is_tried_again_for_ever(void **state)
{
    const struct job_end e = {.outcome = JOB_OUTCOME_NO_SPACE};
    struct job j = {0};
    struct job_verdict v;

    for (int i = 0; i < 100; i++) {
        assert_int_equal(end(&j, &e, &v), JOB_STATE_QUEUED);
        assert_int_equal(j.not_before_ms, 1000 + 600 * 1000);
    }
    assert_int_equal(j.failures, 0);
}

static void a_hard_failure_waits_a_day_and_then_is_quarantined(void **state)
{
    const struct job_end e = {.outcome = JOB_OUTCOME_PERMANENT};
    struct job_end certain = e;
    struct job j = {0};
    struct job manual = {.is_manual = true};
    struct job_verdict v;

    assert_int_equal(end(&j, &e, &v), JOB_STATE_QUEUED);
    assert_int_equal(j.not_before_ms, 1000 + 86400 * 1000);
    assert_false(v.is_quarantined);
    assert_int_equal(end(&j, &e, &v), JOB_STATE_FAILED);
    assert_true(v.is_quarantined);

    // Whoever asked for it hears at once.
    assert_int_equal(end(&manual, &e, &v), JOB_STATE_FAILED);
    assert_false(v.is_quarantined);

    j = (struct job){0};
    certain.is_certain = true;
    assert_int_equal(end(&j, &certain, &v), JOB_STATE_FAILED);
}

// Dies over record `guilty` until that is found; returns it.
static int64_t die_until_found(struct job *j, const int64_t *ids, size_t n,
                               int64_t guilty, int *runs)
{
    struct job_end death = {.outcome = JOB_OUTCOME_TRANSIENT,
                            .is_death = true,
                            .place = 40,
                            .ids = ids,
                            .n_ids = n};
    struct job_verdict v;

    for (*runs = 1; *runs < 60; ++*runs) {
        bool is_guilty = !job_is_trial(j);
        for (int i = 0; i < j->bisect.tried; i++)
            is_guilty |= j->bisect.ids[i] == guilty;
        const struct job_end done = {.outcome = JOB_OUTCOME_DONE};
        enum job_state next = end(j, is_guilty ? &death : &done, &v);
        assert_int_equal(next, JOB_STATE_QUEUED);
        if (v.culprit) {
            assert_true(v.restarts);
            return v.culprit;
        }
    }
    return 0;
}

static void the_guilty_record_is_found_among_any(void **state)
{
    int64_t ids[BISECT_MAX];

    for (size_t n = 1; n <= BISECT_MAX; n = n * 3 + 1)
        for (size_t g = 0; g < n; g += 1 + n / 7) {
            struct job j = {.checkpoint_step = 30};
            int runs;
            for (size_t i = 0; i < n; i++)
                ids[i] = 1000 - 3 * (int64_t) i;
            assert_int_equal(die_until_found(&j, ids, n, ids[g], &runs),
                             ids[g]);
            // Three deaths, halves, and three of the only suspect.
            assert_true(runs <= 3 + 9 + 3);
            assert_int_equal(j.checkpoint_step, 0);
        }
}

static void deaths_at_other_places_are_no_poison(void **state)
{
    const int64_t ids[] = {1, 2};
    struct job j = {0};
    struct job_verdict v;

    for (int i = 0; i < 5; i++) {
        const struct job_end e = {.outcome = JOB_OUTCOME_TRANSIENT,
                                  .is_death = true,
                                  .place = i / 2,
                                  .ids = ids,
                                  .n_ids = 2};
        assert_int_equal(end(&j, &e, &v), JOB_STATE_QUEUED);
        assert_false(job_is_trial(&j));
    }
}

static void no_record_is_guilty_when_none_alone_kills(void **state)
{
    const int64_t ids[] = {1, 2, 3, 4};
    const struct job_end death = {.outcome = JOB_OUTCOME_TRANSIENT,
                                  .is_death = true,
                                  .ids = ids,
                                  .n_ids = 4};
    const struct job_end done = {.outcome = JOB_OUTCOME_DONE};
    struct job j = {0};
    struct job_verdict v;

    for (int i = 0; i < JOB_DEATHS_MAX; i++)
        assert_int_equal(end(&j, &death, &v), JOB_STATE_QUEUED);
    assert_true(v.began_bisect);
    assert_int_equal(end(&j, &done, &v), JOB_STATE_QUEUED); // 1 2
    assert_int_equal(end(&j, &done, &v), JOB_STATE_QUEUED); // 3
    assert_int_equal(j.bisect.count, 1);
    assert_int_equal(end(&j, &done, &v), JOB_STATE_QUEUED); // 4
    assert_int_equal(v.culprit, 0);
    assert_false(job_is_trial(&j));
    assert_int_equal(j.failures, JOB_DEATHS_MAX); // and it waits
    assert_true(j.not_before_ms > 1000);
}

static void one_death_of_a_single_suspect_convicts_nobody(void **state)
{
    const int64_t id = 5;
    const struct job_end death = {.outcome = JOB_OUTCOME_TRANSIENT,
                                  .is_death = true,
                                  .ids = &id,
                                  .n_ids = 1};
    const struct job_end done = {.outcome = JOB_OUTCOME_DONE};
    struct job j = {0};
    struct job_verdict v;

    for (int i = 0; i < JOB_DEATHS_MAX + BISECT_SURE - 1; i++)
        (void) end(&j, &death, &v);
    assert_int_equal(v.culprit, 0);
    (void) end(&j, &done, &v);
    assert_int_equal(v.culprit, 0);
    assert_false(job_is_trial(&j));
}

static void a_record_that_the_worker_names_is_left_out_at_once(void **state)
{
    const int64_t id = 12;
    const struct job_end e = {.outcome = JOB_OUTCOME_POISON,
                              .ids = &id,
                              .n_ids = 1};
    struct job j = {.checkpoint_step = 3};
    struct job_verdict v;

    assert_int_equal(end(&j, &e, &v), JOB_STATE_QUEUED);
    assert_int_equal(v.culprit, 12);
    assert_true(v.restarts);
}

static void deaths_before_any_record_end_the_job(void **state)
{
    const struct job_end e = {.outcome = JOB_OUTCOME_TRANSIENT,
                              .is_death = true,
                              .place = JOB_PLACE_NONE};
    struct job j = {0};
    struct job_verdict v;

    assert_int_equal(end(&j, &e, &v), JOB_STATE_QUEUED);
    assert_int_equal(end(&j, &e, &v), JOB_STATE_QUEUED);
    assert_int_equal(end(&j, &e, &v), JOB_STATE_FAILED);
}

static void what_the_owner_wants_comes_first(void **state)
{
    struct job j = {.wants_cancel = true};
    struct job_verdict v;

    assert_int_equal(end(&j,
                         &(struct job_end){.outcome = JOB_OUTCOME_INTERRUPTED},
                         &v),
                     JOB_STATE_CANCELLED);
    assert_int_equal(end(&j, &(struct job_end){.outcome = JOB_OUTCOME_DONE},
                         &v),
                     JOB_STATE_DONE);
    j = (struct job){.wants_pause = true};
    assert_int_equal(end(&j,
                         &(struct job_end){.outcome = JOB_OUTCOME_TRANSIENT},
                         &v),
                     JOB_STATE_PAUSED);
}

static void suspects_survive_the_store(void **state)
{
    char text[BISECT_TEXT_BYTES];
    int64_t ids[BISECT_MAX];
    struct bisect a = {0};
    struct bisect b = {0};

    for (int i = 0; i < BISECT_MAX; i++)
        ids[i] = INT64_MAX - i * 7;
    bisect_begin(&a, ids, BISECT_MAX);
    bisect_print(text, sizeof(text), &a);
    assert_true(strlen(text) > 0);
    assert_true(bisect_parse(&b, text));
    assert_memory_equal(&a, &b, sizeof(a));
    bisect_end(&a);
    bisect_print(text, sizeof(text), &a);
    assert_string_equal(text, "");
}

static void what_no_bisection_wrote_is_as_nothing(void **state)
{
    static const char *const texts[] = {
        "",        "1",
        "1 0",     "x",
        "1 0 5 4", "2 0 5",
        "1 3 5",   "1 1 5 6",
        "-1 0 5",  "1 0 5 5",
        "1 0 5x",  "1 0 -5",
        "0 0",     "1 0 99999999999999999999",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct bisect b = {.count = 4};
        assert_false(bisect_parse(&b, texts[i]));
        assert_int_equal(b.count, 0);
    }
}

static void more_suspects_than_there_is_room_for_are_none(void **state)
{
    int64_t ids[BISECT_MAX + 1] = {0};
    struct bisect b = {0};

    bisect_begin(&b, ids, BISECT_MAX + 1);
    assert_int_equal(b.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_every_step_that_is_not_in_the_table),
        cmocka_unit_test(final_states_lead_nowhere),
        cmocka_unit_test(names_round_trip),
        cmocka_unit_test(backs_off_twice_as_long_each_time_up_to_a_day),
        cmocka_unit_test(an_interruption_costs_nothing),
        cmocka_unit_test(five_runs_without_a_checkpoint_are_told_of),
        cmocka_unit_test(gives_up_after_too_many_failures_in_a_row),
        cmocka_unit_test(progress_forgives_failures),
        cmocka_unit_test(a_full_disk_is_tried_again_for_ever),
        cmocka_unit_test(a_hard_failure_waits_a_day_and_then_is_quarantined),
        cmocka_unit_test(the_guilty_record_is_found_among_any),
        cmocka_unit_test(deaths_at_other_places_are_no_poison),
        cmocka_unit_test(no_record_is_guilty_when_none_alone_kills),
        cmocka_unit_test(one_death_of_a_single_suspect_convicts_nobody),
        cmocka_unit_test(a_record_that_the_worker_names_is_left_out_at_once),
        cmocka_unit_test(deaths_before_any_record_end_the_job),
        cmocka_unit_test(what_the_owner_wants_comes_first),
        cmocka_unit_test(suspects_survive_the_store),
        cmocka_unit_test(what_no_bisection_wrote_is_as_nothing),
        cmocka_unit_test(more_suspects_than_there_is_room_for_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
