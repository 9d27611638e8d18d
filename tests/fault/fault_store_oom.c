// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * The store when memory runs out: in the n-th allocation, its own ones and
 * those of SQLite, for all n.
 */

#include "../unit/storage/fixture.h"

#include "engine/base/fault.h"

#include <errno.h>
#include <sqlite3.h>

static sqlite3_mem_methods real;

static void *on_malloc(int bytes)
{
    return fault_hit(FAULT_ALLOC) ? NULL : real.xMalloc(bytes);
}

static void *on_realloc(void *p, int bytes)
{
    return fault_hit(FAULT_ALLOC) ? NULL : real.xRealloc(p, bytes);
}

static int scenario(void)
{
    struct store_erased e;
    int64_t stream, id;
    bool is_new;
    int rc = open_store();

    if (rc < 0)
        return rc;
    rc = store_stream_make(store, STORE_APP_HOST, "notes", NOW, &stream, &err);
    if (rc == 0) {
        struct store_record r = record_of(stream, 1, "Seven hives.");
        rc = store_record_put(store, &r, &id, &is_new, &err);
    }
    if (rc == 0) {
        struct store_filter f = {.ids = &id, .n_ids = 1};
        rc = store_record_erase(store, &f, false, NOW, &e, NULL, NULL, &err);
    }
    return rc;
}

static int on_stream(const struct store_stream *st, void *user)
{
    *(int64_t *) user += st->records;
    return 0;
}

static void survives_every_failing_allocation(void **state)
{
    unsigned long n = 1;

    // The first open makes the store, all others find one.
    make_dir();
    OK(scenario());
    store_close(store);
    store = NULL;
    for (;; n += 1 + n / 100) {
        fault_arm(FAULT_ALLOC, n);
        int rc = scenario();
        bool fired = fault_fired(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        // SQLite does without some of them.
        if (rc != 0 && rc != -ENOMEM)
            fail_msg("n %lu: %d: %s", n, rc, err.text);
        store_close(store);
        store = NULL;
        OK(open_store());
        assert_false(report.is_degraded);
        OK(store_check(store, true, &err));
        store_close(store);
        store = NULL;
        if (!fired) {
            assert_int_equal(rc, 0);
            break;
        }
    }
    assert_true(n > 100);
    remove_dir();
}

static void a_new_store_survives_too(void **state)
{
    for (unsigned long n = 1;; n += 1 + n / 20) {
        make_dir();
        fault_arm(FAULT_ALLOC, n);
        int rc = open_store();
        bool fired = fault_fired(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        if (rc != 0 && rc != -ENOMEM)
            fail_msg("n %lu: %d: %s", n, rc, err.text);
        store_close(store);
        store = NULL;
        OK(open_store());
        assert_false(report.is_degraded);
        (void) teardown(NULL);
        if (!fired)
            break;
    }
}

// Else the next one to write would think that it is inside a transaction, and
// what it was told is durable would not be.
static void a_rollback_without_memory_is_made_up_for(void **state)
{
    int64_t stream, id, records = 0;
    bool is_new;

    make_dir();
    OK(open_store());
    OK(store_stream_make(store, STORE_APP_HOST, "notes", NOW, &stream, &err));
    for (int round = 0; round < 3; round++) {
        struct store_record lost = record_of(stream, 1, "Seven hives.");
        OK(store_begin(store, &err));
        OK(store_record_put(store, &lost, &id, &is_new, &err));
        // The first makes do; then nothing can be done for a while.
        fault_arm_often(FAULT_ALLOC, 1, round == 0 ? 1 : 1000000);
        store_rollback(store);
        fault_arm(FAULT_ALLOC, 0);
        if (round == 2)
            OK(store_begin(store, &err));
        struct store_record kept = record_of(stream, 2, "All quiet.");
        OK(store_record_put(store, &kept, &id, &is_new, &err));
        if (round == 2)
            OK(store_commit(store, &err));
        assert_false(store_is_in_transaction(store));
    }
    OK(store_record_count(store, NULL, on_stream, &records, &err));
    assert_int_equal(records, 1);
    (void) teardown(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rollback_without_memory_is_made_up_for),
        cmocka_unit_test(survives_every_failing_allocation),
        cmocka_unit_test(a_new_store_survives_too),
    };
    sqlite3_mem_methods mem;

    if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real) != SQLITE_OK)
        return 1;
    mem = real;
    mem.xMalloc = on_malloc;
    mem.xRealloc = on_realloc;
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &mem) != SQLITE_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
