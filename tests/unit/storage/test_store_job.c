// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_job.h"

#include "fixture.h"

#include <errno.h>
#include <math.h>

static int64_t adapter, model;
static int64_t ids[16];
static size_t n_ids;

static int job_setup(void **state)
{
    (void) setup(state);
    model = add_model("m");
    OK(store_adapter_add(store, "mine", model, NOW, &adapter, &err));
    n_ids = 0;
    return 0;
}

static int on_job(const struct store_job *j, void *user)
{
    ids[n_ids++] = j->id;
    return 0;
}

static int64_t add_job(enum store_job_state job_state)
{
    struct store_job j;
    int64_t id;

    store_job_init(&j);
    j.state = job_state;
    j.adapter_id = adapter;
    j.model_id = model;
    j.created_ms = NOW;
    OK(store_job_add(store, &j, &id, &err));
    return id;
}

static void keeps_every_field(void **state)
{
    struct store_job j, out;
    int64_t id = add_job(STORE_JOB_QUEUED);

    OK(store_job_get(store, id, &out, &err));
    assert_true(isnan(out.loss));
    assert_false(out.has_before);
    assert_string_equal(out.stop_reason, "NONE");
    assert_string_equal(out.adapter, "mine");
    assert_string_equal(out.model, "m");

    memset(&j, 0, sizeof(j));
    j.id = id;
    j.state = STORE_JOB_STOPPING;
    strcpy(j.phase, "train");
    strcpy(j.stop_reason, "POWER");
    strcpy(j.message, "external power was lost");
    j.adapter_id = adapter;
    strcpy(j.adapter, "mine");
    j.model_id = model;
    strcpy(j.model, "m");
    strcpy(j.streams, "notes messages");
    j.has_before = true;
    j.before_ms = 1;
    j.is_forced = true;
    strcpy(j.recipe, "rank=8 lr=0.003");
    j.created_ms = 2;
    j.started_ms = 3;
    j.finished_ms = 4;
    j.not_before_ms = 5;
    j.attempts = 6;
    j.failures = 7;
    j.step = 8;
    j.steps = 9;
    j.epoch = 0.5;
    j.tokens = 10;
    j.records = 11;
    j.heldout_records = 12;
    j.run_ms = 13;
    j.loss = 1.5;
    j.heldout_start = 2.5;
    j.heldout_best = 3.5;
    j.heldout_step = 14;
    j.version = 15;
    strcpy(j.checkpoint, "job-1.ckpt");
    j.checkpoint_step = 16;
    OK(store_job_update(store, &j, &err));
    memset(&out, 0, sizeof(out));
    OK(store_job_get(store, id, &out, &err));
    assert_memory_equal(&j, &out, sizeof(j));
    j.id = 99;
    assert_int_equal(store_job_update(store, &j, &err), -ENOENT);
    assert_int_equal(store_job_get(store, 99, &out, &err), -ENOENT);
    j.adapter_id = 99;
    assert_int_equal(store_job_add(store, &j, &id, &err), -ENOENT);
}

static void lists_by_state_and_page(void **state)
{
    int64_t first = add_job(STORE_JOB_DONE);
    int64_t second = add_job(STORE_JOB_PAUSED);
    int64_t third = add_job(STORE_JOB_QUEUED);

    OK(store_job_each_alive(store, on_job, NULL, &err));
    assert_int_equal(n_ids, 2);
    assert_int_equal(ids[0], second);
    n_ids = 0;
    OK(store_job_each(store, 0, 0, 2, on_job, NULL, &err));
    assert_int_equal(n_ids, 2);
    assert_int_equal(ids[0], third);
    OK(store_job_each(store, adapter, ids[1], 2, on_job, NULL, &err));
    assert_int_equal(n_ids, 3);
    assert_int_equal(ids[2], first);
    n_ids = 0;
    OK(store_job_each(store, adapter + 1, 0, 0, on_job, NULL, &err));
    assert_int_equal(n_ids, 0);
}

static void a_crash_puts_running_jobs_back(void **state)
{
    struct store_job j;
    uint32_t count;
    int64_t running = add_job(STORE_JOB_RUNNING);
    int64_t paused = add_job(STORE_JOB_PAUSED);

    (void) add_job(STORE_JOB_STARTING);
    (void) add_job(STORE_JOB_FAILED);
    OK(store_job_recover(store, &count, &err));
    assert_int_equal(count, 2);
    OK(store_job_get(store, running, &j, &err));
    assert_int_equal(j.state, STORE_JOB_QUEUED);
    assert_string_equal(j.stop_reason, "SHUTDOWN");
    OK(store_job_get(store, paused, &j, &err));
    assert_int_equal(j.state, STORE_JOB_PAUSED);
}

static void states_have_names(void **state)
{
    assert_string_equal(store_job_state_name(STORE_JOB_QUEUED), "queued");
    assert_string_equal(store_job_state_name(STORE_JOB_CANCELLED), "cancelled");
    assert_false(store_job_is_finished(STORE_JOB_PAUSED));
    assert_true(store_job_is_finished(STORE_JOB_DONE));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, job_setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(keeps_every_field),
        TEST(lists_by_state_and_page),
        TEST(a_crash_puts_running_jobs_back),
        TEST(states_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
