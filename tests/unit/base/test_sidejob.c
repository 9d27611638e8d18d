// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/sidejob.h"

#include "engine/base/fault.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct work {
    atomic_bool *may_end; // NULL: at once
    int n;
    pthread_t by;
};

static void work(void *ctx)
{
    struct work *w = ctx;

    while (w->may_end && !atomic_load(w->may_end))
        (void) sched_yield();
    w->by = pthread_self();
    w->n++;
}

static void the_owner_goes_on_and_then_waits(void **state)
{
    atomic_bool may_end = false;
    struct work w = {.may_end = &may_end};
    struct sidejob *s;

    assert_int_equal(sidejob_create(&s), 0);
    sidejob_wait(s); // for nothing
    sidejob_start(s, work, &w);
    // The job cannot be done before this.
    atomic_store(&may_end, true);
    sidejob_wait(s);
    assert_int_equal(w.n, 1);
    assert_false(pthread_equal(w.by, pthread_self()));
    sidejob_destroy(s);
}

static void jobs_come_one_after_another(void **state)
{
    struct work w = {0};
    struct sidejob *s;

    assert_int_equal(sidejob_create(&s), 0);
    for (int i = 0; i < 1000; i++)
        sidejob_start(s, work, &w);
    sidejob_wait(s);
    assert_int_equal(w.n, 1000);
    sidejob_destroy(s);
}

static void what_was_begun_ends_before_it_is_gone(void **state)
{
    struct work w = {0};
    struct sidejob *s;

    assert_int_equal(sidejob_create(&s), 0);
    sidejob_start(s, work, &w);
    sidejob_destroy(s);
    assert_int_equal(w.n, 1);
    sidejob_destroy(NULL);
}

static void without_memory_there_is_none(void **state)
{
    struct sidejob *s = NULL;

    fault_arm(FAULT_ALLOC, 1);
    assert_int_equal(sidejob_create(&s), -ENOMEM);
    fault_arm(FAULT_ALLOC, 2);
    assert_int_equal(sidejob_create(&s), -EAGAIN);
    assert_null(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_owner_goes_on_and_then_waits),
        cmocka_unit_test(jobs_come_one_after_another),
        cmocka_unit_test(what_was_begun_ends_before_it_is_gone),
        cmocka_unit_test(without_memory_there_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
