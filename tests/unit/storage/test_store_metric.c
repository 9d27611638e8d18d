// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_metric.h"

#include "fixture.h"

#include <errno.h>
#include <math.h>

#include "storage/store_job.h"

static struct store_point points[2048];
static size_t n_points;

static int on_point(const struct store_point *p, void *user)
{
    points[n_points++] = *p;
    return user && n_points == *(size_t *) user ? 7 : 0;
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

static void keeps_points_by_step(void **state)
{
    int64_t job = add_job();
    struct store_point p = {.step = 2,
                            .time_ms = NOW,
                            .tokens = 2048,
                            .loss = 4.5,
                            .heldout = (double) NAN,
                            .rate = 1e-3};

    OK(store_metric_put(store, job, &p, &err));
    p.step = 1;
    OK(store_metric_put(store, job, &p, &err));
    p.step = 2;
    p.loss = 4.25; // the step again, after an interruption
    OK(store_metric_put(store, job, &p, &err));
    n_points = 0;
    OK(store_metric_each(store, job, 0, on_point, NULL, &err));
    assert_int_equal(n_points, 2);
    assert_int_equal(points[0].step, 1);
    assert_true(points[1].loss == 4.25);
    assert_true(isnan(points[1].heldout));
    assert_true(points[1].rate == 1e-3);
    assert_int_equal(points[1].tokens, 2048);
    assert_int_equal(store_metric_put(store, 99, &p, &err), -ENOENT);
}

static void thins_long_curves(void **state)
{
    int64_t job = add_job();
    size_t stop = 3;

    OK(store_begin(store, &err));
    for (int i = 1; i <= 1000; i++) {
        struct store_point p = {.step = i,
                                .loss = 1,
                                .heldout = i == 501 ? 2 : (double) NAN};
        OK(store_metric_put(store, job, &p, &err));
    }
    OK(store_commit(store, &err));
    n_points = 0;
    OK(store_metric_each(store, job, 100, on_point, NULL, &err));
    assert_int_equal(n_points, 101);
    assert_int_equal(points[100].step, 1000);
    bool has_heldout = false;
    for (size_t i = 0; i < n_points; i++)
        has_heldout |= points[i].step == 501;
    assert_true(has_heldout);
    n_points = 0;
    assert_int_equal(store_metric_each(store, job, 0, on_point, &stop, &err),
                     7);
    assert_int_equal(n_points, 3);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(keeps_points_by_step),
        TEST(thins_long_curves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
