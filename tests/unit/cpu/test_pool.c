// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/fault.h"
#include "engine/base/pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { TASKS = 97 };

struct job {
    struct pool *pool;
    atomic_int ran[TASKS];
    atomic_int in_use[POOL_THREADS_MAX];
    atomic_bool stop;
    bool is_stopping; // every task asks for a stop
    uint32_t limit;   // of threads; 0: all
};

static void count(void *ctx, uint32_t task, uint32_t worker)
{
    struct job *j = ctx;

    assert_true(worker < (j->limit ? j->limit : pool_threads(j->pool)));
    assert_int_equal(atomic_fetch_add(&j->in_use[worker], 1), 0);
    atomic_fetch_add(&j->ran[task], 1);
    if (j->is_stopping)
        atomic_store(&j->stop, true);
    atomic_fetch_sub(&j->in_use[worker], 1);
}

static void runs_each_task_once(void **state)
{
    for (uint32_t threads = 1; threads <= 4; threads++) {
        struct job j = {0};
        assert_int_equal(pool_create(&j.pool, threads), 0);
        assert_int_equal(pool_threads(j.pool), threads);
        for (int round = 1; round <= 200; round++) {
            assert_true(pool_run(j.pool, TASKS, count, &j));
            for (int i = 0; i < TASKS; i++)
                assert_int_equal(atomic_load(&j.ran[i]), round);
        }
        pool_destroy(j.pool);
    }
}

static void runs_without_a_pool(void **state)
{
    struct job j = {0};

    assert_true(pool_run(NULL, TASKS, count, &j));
    for (int i = 0; i < TASKS; i++)
        assert_int_equal(atomic_load(&j.ran[i]), 1);
    assert_int_equal(pool_threads(NULL), 1);
    assert_false(pool_gave_up(NULL));
    pool_destroy(NULL);
}

static void runs_nothing_for_no_tasks(void **state)
{
    struct job j = {0};

    assert_int_equal(pool_create(&j.pool, 2), 0);
    assert_true(pool_run(j.pool, 0, count, &j));
    pool_destroy(j.pool);
}

static void gives_up_when_told_to_stop(void **state)
{
    for (uint32_t threads = 1; threads <= 3; threads++) {
        struct job j = {.is_stopping = true};
        int ran = 0;

        assert_int_equal(pool_create(&j.pool, threads), 0);
        pool_watch(j.pool, &j.stop);
        assert_false(pool_run(j.pool, TASKS, count, &j));
        assert_true(pool_gave_up(j.pool));
        for (int i = 0; i < TASKS; i++)
            ran += atomic_load(&j.ran[i]);
        // Each thread sees the flag after its first task at the latest.
        assert_in_range(ran, 1, threads);
        // Later parts of the same work are left out as well.
        assert_false(pool_run(j.pool, TASKS, count, &j));

        // Unwatched work runs to its end, flag or not.
        pool_watch(j.pool, NULL);
        assert_false(pool_gave_up(j.pool));
        assert_true(pool_run(j.pool, TASKS, count, &j));
        pool_destroy(j.pool);
    }
}

static void no_more_threads_work_than_the_limit(void **state)
{
    static const uint32_t limits[] = {1, 2, 4, 3, 0, 2, 9, 1};
    struct job j = {0};
    int rounds = 0;

    assert_int_equal(pool_create(&j.pool, 4), 0);
    for (size_t k = 0; k < sizeof(limits) / sizeof(limits[0]); k++) {
        const uint32_t most = limits[k] > 0 && limits[k] < 4 ? limits[k] : 4;
        pool_limit(j.pool, limits[k]);
        j.limit = most;
        for (int i = 0; i < 200; i++, rounds++)
            assert_true(pool_run(j.pool, TASKS, count, &j));
        assert_int_equal(pool_threads(j.pool), 4);
    }
    for (int i = 0; i < TASKS; i++)
        assert_int_equal(atomic_load(&j.ran[i]), rounds);
    pool_destroy(j.pool);
    pool_limit(NULL, 1);
}

struct masks {
    atomic_int started;
    sigset_t of[2]; // of the thread that ran the task
};

// Waits for the other: so each thread takes one.
static void read_mask(void *ctx, uint32_t task, uint32_t worker)
{
    struct masks *m = ctx;

    (void) task;
    pthread_sigmask(SIG_SETMASK, NULL, &m->of[worker]);
    atomic_fetch_add(&m->started, 1);
    while (atomic_load(&m->started) < 2)
        (void) sched_yield();
}

// A blocked fault ends the process whatever handler there is; a model that is
// truncated while it is mapped must reach the worker's handler from any thread.
static void a_helper_takes_its_own_faults_and_no_other_signal(void **state)
{
    static const int faults[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP};
    static const int others[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGALRM};
    struct masks m = {0};
    struct pool *p;

    (void) state;
    assert_int_equal(pool_create(&p, 2), 0);
    assert_true(pool_run(p, 2, read_mask, &m));
    for (int i = 0; i < 5; i++) {
        assert_false(sigismember(&m.of[0], faults[i]));
        assert_false(sigismember(&m.of[1], faults[i]));
        assert_true(sigismember(&m.of[1], others[i]));
    }
    pool_destroy(p);
}

struct places {
    atomic_int started;
    cpu_set_t mask; // that the helper should have
    int caller;
    int wrong; // masks
};

// The helper goes to the caller's CPU, where the next job finds it.
static void crowd(void *ctx, uint32_t task, uint32_t worker)
{
    struct places *at = ctx;
    cpu_set_t now;
    cpu_set_t one;

    (void) task;
    if (worker == 0)
        at->caller = sched_getcpu();
    atomic_fetch_add(&at->started, 1);
    while (atomic_load(&at->started) < 2)
        (void) sched_yield();
    if (worker == 0)
        return;
    CPU_ZERO(&one);
    CPU_SET(at->caller, &one);
    at->wrong += sched_getaffinity(0, sizeof(now), &now) < 0 ||
                 !CPU_EQUAL(&now, &at->mask) ||
                 sched_setaffinity(0, sizeof(one), &one) < 0 ||
                 sched_setaffinity(0, sizeof(at->mask), &at->mask) < 0;
}

// With one CPU there is none to leave for; with more, who left is free again.
static void a_helper_may_run_where_it_could_whether_it_met_the_caller(
    void **state)
{
    struct places at = {0};
    cpu_set_t all;

    (void) state;
    assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
    for (int is_bound = 0; is_bound < 2; is_bound++) {
        struct pool *p;
        at.mask = all;
        if (is_bound) {
            CPU_ZERO(&at.mask);
            CPU_SET(sched_getcpu(), &at.mask);
        }
        assert_int_equal(sched_setaffinity(0, sizeof(at.mask), &at.mask), 0);
        assert_int_equal(pool_create(&p, 2), 0);
        for (int i = 0; i < 100; i++) {
            atomic_store(&at.started, 0);
            assert_true(pool_run(p, 2, crowd, &at));
        }
        pool_destroy(p);
    }
    assert_int_equal(at.wrong, 0);
    assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
}

static void refuses_a_silly_number_of_threads(void **state)
{
    struct pool *p = NULL;

    assert_int_equal(pool_create(&p, 0), -EINVAL);
    assert_int_equal(pool_create(&p, POOL_THREADS_MAX + 1), -EINVAL);
    assert_null(p);
}

static void reports_missing_memory(void **state)
{
    struct pool *p = NULL;

    fault_arm(FAULT_ALLOC, 1);
    assert_int_equal(pool_create(&p, 2), -ENOMEM);
    fault_arm(FAULT_ALLOC, 0);
    assert_null(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_each_task_once),
        cmocka_unit_test(runs_without_a_pool),
        cmocka_unit_test(runs_nothing_for_no_tasks),
        cmocka_unit_test(gives_up_when_told_to_stop),
        cmocka_unit_test(no_more_threads_work_than_the_limit),
        cmocka_unit_test(a_helper_takes_its_own_faults_and_no_other_signal),
        cmocka_unit_test(
            a_helper_may_run_where_it_could_whether_it_met_the_caller),
        cmocka_unit_test(refuses_a_silly_number_of_threads),
        cmocka_unit_test(reports_missing_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
