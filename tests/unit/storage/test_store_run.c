// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_run.h"

#include "fixture.h"

#include <errno.h>
#include <math.h>

#include "storage/store_job.h"

static struct store_night nights[16];
static int n_nights;

static int on_night(const struct store_night *n, void *user)
{
    nights[n_nights++] = *n;
    return 0;
}

static int64_t add_job(void)
{
    struct store_job j;
    int64_t id;

    store_job_init(&j);
    j.model_id = add_model("m");
    OK(store_adapter_add(store, "mine", j.model_id, NOW, &j.adapter_id, &err));
    OK(store_job_add(store, &j, &id, &err));
    return id;
}

static void add_run(int64_t job, int64_t night, const char *reason,
                    double energy, double before, double after)
{
    struct store_run r = {.job_id = job,
                          .night = night,
                          .started_ms = NOW + night,
                          .run_ms = 1000,
                          .slices = 2,
                          .first_step = 10,
                          .last_step = 14,
                          .energy_j = energy,
                          .heldout_before = before,
                          .heldout_after = after,
                          .version = strcmp(reason, "NONE") == 0};

    strcpy(r.stop_reason, reason);
    OK(store_run_add(store, &r, &err));
}

static void a_night_is_all_of_its_runs(void **state)
{
    int64_t job = add_job();

    add_run(job, 7, "ACTIVE", (double) NAN, (double) NAN, (double) NAN);
    add_run(job, 8, "ACTIVE", 10, 3.5, 3.25);
    add_run(job, 8, "POWER", (double) NAN, 3.25, (double) NAN);
    add_run(job, 8, "ACTIVE", 5, 3.25, 3);
    add_run(job, 8, "NONE", 1, 3, 2.75);
    n_nights = 0;
    OK(store_night_each(store, 0, on_night, NULL, &err));
    assert_int_equal(n_nights, 2);
    assert_int_equal(nights[0].night, 8);
    assert_int_equal(nights[0].runs, 4);
    assert_int_equal(nights[0].slices, 8);
    assert_int_equal(nights[0].run_ms, 4000);
    assert_int_equal(nights[0].steps, 16);
    assert_int_equal(nights[0].versions, 1);
    assert_int_equal(nights[0].started_ms, NOW + 8);
    assert_string_equal(nights[0].stopped_by, "ACTIVE 2, POWER");
    assert_true(nights[0].energy_j == 16);
    assert_true(nights[0].heldout_before == 3.5);
    assert_true(nights[0].heldout_after == 2.75);
    // Nothing reported it: nothing is made up.
    assert_true(isnan(nights[1].energy_j));
    assert_true(isnan(nights[1].heldout_after));
    n_nights = 0;
    OK(store_night_each(store, 1, on_night, NULL, &err));
    assert_int_equal(n_nights, 1);
}

static void outcomes_of_a_job_survive(void **state)
{
    int64_t id = add_job();
    struct store_job j;
    struct store_job back;

    OK(store_job_get(store, id, &j, &err));
    j.permanents = 1;
    j.fruitless = 4;
    j.deaths = 2;
    j.death_place = -3;
    strcpy(j.suspects, "1 0 17 21");
    OK(store_job_update(store, &j, &err));
    OK(store_job_get(store, id, &back, &err));
    assert_int_equal(back.permanents, 1);
    assert_int_equal(back.fruitless, 4);
    assert_int_equal(back.deaths, 2);
    assert_int_equal(back.death_place, -3);
    assert_string_equal(back.suspects, "1 0 17 21");
}

static int64_t skipped[4];
static int n_skipped;

static int on_skipped(int64_t record, void *user)
{
    skipped[n_skipped++] = record;
    return 0;
}

static int count_skipped(const char *program)
{
    n_skipped = 0;
    OK(store_skipped_each(store, program, on_skipped, NULL, &err));
    return n_skipped;
}

static void another_version_gives_a_record_another_chance(void **state)
{
    int64_t record = add_record("notes", 1, "text");

    OK(store_skipped_add(store, record, 1, NOW, "0.1", &err));
    OK(store_skipped_add(store, record, 2, NOW, "0.1", &err));
    assert_int_equal(count_skipped("0.1"), 1);
    assert_int_equal(skipped[0], record);
    assert_int_equal(count_skipped("0.2"), 0);
    OK(store_skipped_add(store, record, 2, NOW, "0.2", &err));
    assert_int_equal(count_skipped("0.1"), 0);
    assert_int_equal(store_skipped_add(store, record + 1, 1, NOW, "0.1", &err),
                     -ENOENT);
    assert_says("is gone");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_night_is_all_of_its_runs),
        TEST(outcomes_of_a_job_survive),
        TEST(another_version_gives_a_record_another_chance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
