// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_adapter.h"

#include "fixture.h"

#include <errno.h>
#include <math.h>

#include "storage/store_job.h"
#include "storage/store_lineage.h"
#include "storage/store_record.h"

static int64_t adapter;
static uint32_t n_seen;
static struct store_stream streams[4];

static int adapter_setup(void **state)
{
    (void) setup(state);
    OK(store_adapter_add(store, "mine", add_model("m"), NOW, &adapter, &err));
    n_seen = 0;
    return 0;
}

static uint32_t active(void)
{
    struct store_adapter a;

    OK(store_adapter_get_id(store, adapter, &a, &err));
    return a.active;
}

static int on_version(const struct store_version *v, void *user)
{
    n_seen++;
    assert_int_equal(v->version, n_seen);
    return 0;
}

static int on_adapter(const struct store_adapter *a, void *user)
{
    n_seen++;
    assert_string_equal(a->model, "m");
    return 0;
}

static int on_stream(const struct store_stream *st, void *user)
{
    streams[n_seen++] = *st;
    return 0;
}

static void numbers_are_never_used_twice(void **state)
{
    struct store_version v;

    assert_int_equal(add_version(adapter, "a", 0, STORE_GATE_PASSED), 1);
    assert_int_equal(add_version(adapter, "b", 1, STORE_GATE_FAILED), 2);
    OK(store_version_retire(store, adapter, 2, "deleted by the owner", &err));
    assert_int_equal(add_version(adapter, "b", 1, STORE_GATE_NONE), 3);
    OK(store_version_each(store, adapter, on_version, NULL, &err));
    assert_int_equal(n_seen, 3);
    OK(store_version_get(store, adapter, 2, &v, &err));
    assert_int_equal(v.state, STORE_VERSION_RETIRED);
    assert_string_equal(v.reason, "deleted by the owner");
    assert_int_equal(v.parent, 1);
    assert_int_equal(v.bytes, 1);
    assert_true(isnan(v.heldout_after));
    assert_string_equal(store_gate_name(v.gate), "failed");
    assert_string_equal(store_version_state_name(v.state), "retired");
}

static void the_same_bytes_are_one_version(void **state)
{
    struct store_version v;
    uint32_t number = 0;

    (void) add_version(adapter, "a", 0, STORE_GATE_PASSED);
    OK(store_version_get(store, adapter, 1, &v, &err));
    assert_int_equal(store_version_add(store, &v, &number, &err), -EEXIST);
    assert_int_equal(number, 1);
    memset(v.sha256, 1, sizeof(v.sha256));
    assert_int_equal(store_version_add(store, &v, &number, &err), -ENOENT);
    assert_says("file is not in the store");
    assert_int_equal(store_version_get(store, adapter, 2, &v, &err), -ENOENT);
}

static void rolling_back_twice_goes_back_twice(void **state)
{
    uint32_t now;

    for (uint32_t i = 1; i <= 3; i++) {
        char text[2] = {(char) ('a' + i), '\0'};
        (void) add_version(adapter, text, i - 1, STORE_GATE_PASSED);
        OK(store_adapter_activate(store, adapter, i, false, NOW, &err));
    }
    assert_int_equal(active(), 3);
    OK(store_adapter_rollback(store, adapter, NOW, &now, &err));
    assert_int_equal(now, 2);
    OK(store_adapter_rollback(store, adapter, NOW, &now, &err));
    assert_int_equal(active(), 1);
    OK(store_adapter_rollback(store, adapter, NOW, &now, &err));
    assert_int_equal(active(), 0);
    assert_int_equal(store_adapter_rollback(store, adapter, NOW, &now, &err),
                     -ENOENT);
    // Activated again, the way back is the new one.
    OK(store_adapter_activate(store, adapter, 3, false, NOW, &err));
    OK(store_adapter_activate(store, adapter, 1, false, NOW, &err));
    OK(store_adapter_activate(store, adapter, 1, false, NOW, &err));
    OK(store_adapter_rollback(store, adapter, NOW, NULL, &err));
    assert_int_equal(active(), 3);
    OK(store_adapter_deactivate(store, adapter, NOW, &err));
    assert_int_equal(active(), 0);
    assert_int_equal(store_adapter_deactivate(store, 99, NOW, &err), -ENOENT);
}

static void rolling_back_skips_retired_versions(void **state)
{
    for (uint32_t i = 1; i <= 3; i++) {
        char text[2] = {(char) ('a' + i), '\0'};
        (void) add_version(adapter, text, 0, STORE_GATE_PASSED);
        OK(store_adapter_activate(store, adapter, i, false, NOW, &err));
    }
    OK(store_version_retire(store, adapter, 2, "x", &err));
    OK(store_adapter_rollback(store, adapter, NOW, NULL, &err));
    assert_int_equal(active(), 1);
}

static void the_gate_can_only_be_forced(void **state)
{
    struct store_version v;

    (void) add_version(adapter, "a", 0, STORE_GATE_FAILED);
    assert_int_equal(store_adapter_activate(store, adapter, 1, false, NOW,
                                            &err),
                     -ENOTUNIQ);
    assert_says("did not pass the gate");
    assert_int_equal(active(), 0);
    OK(store_adapter_activate(store, adapter, 1, true, NOW, &err));
    OK(store_version_get(store, adapter, 1, &v, &err));
    assert_int_equal(v.gate, STORE_GATE_FORCED);
    assert_int_equal(v.state, STORE_VERSION_ACTIVE);
    assert_int_equal(store_version_retire(store, adapter, 1, "x", &err),
                     -EBUSY);
    (void) add_version(adapter, "b", 0, STORE_GATE_PASSED);
    OK(store_version_retire(store, adapter, 2, "x", &err));
    assert_int_equal(store_adapter_activate(store, adapter, 2, true, NOW, &err),
                     -ENOTUNIQ);
    assert_int_equal(store_adapter_activate(store, adapter, 9, true, NOW, &err),
                     -ENOENT);
}

static void deletes_an_adapter_with_everything(void **state)
{
    struct store_job j;
    struct store_adapter a;
    int64_t job, other;
    uint32_t removed;
    size_t lost;
    int64_t record = add_record("notes", 1, "x");

    store_job_init(&j);
    j.adapter_id = adapter;
    OK(store_adapter_get(store, "mine", &a, &err));
    j.model_id = a.model_id;
    OK(store_job_add(store, &j, &job, &err));
    (void) add_version(adapter, "a", 0, STORE_GATE_PASSED);
    (void) add_version(adapter, "b", 1, STORE_GATE_PASSED);
    OK(store_lineage_add(store, adapter, 2, &record, 1, &lost, &err));
    OK(store_adapter_activate(store, adapter, 1, false, NOW, &err));
    OK(store_adapter_activate(store, adapter, 2, false, NOW, &err));
    OK(store_adapter_add(store, "other", a.model_id, NOW, &other, &err));
    (void) add_version(other, "a", 0, STORE_GATE_PASSED);
    assert_int_equal(store_adapter_delete(store, adapter, &err), -EBUSY);
    j.id = job;
    j.state = STORE_JOB_DONE;
    OK(store_job_update(store, &j, &err));
    OK(store_adapter_delete(store, adapter, &err));
    assert_int_equal(store_adapter_get(store, "mine", &a, &err), -ENOENT);
    assert_int_equal(store_adapter_delete(store, adapter, &err), -ENOENT);
    // The other one has the file of "a", too.
    OK(store_blob_sweep(store, &removed, &err));
    assert_int_equal(removed, 1);
    OK(store_adapter_each(store, on_adapter, NULL, &err));
    assert_int_equal(n_seen, 1);
    OK(store_check(store, true, &err));
    assert_int_equal(store_adapter_add(store, "other", a.model_id, NOW, &other,
                                       &err),
                     -EEXIST);
    assert_int_equal(store_adapter_add(store, "x", 99, NOW, &other, &err),
                     -ENOENT);
}

static void a_lost_file_retires_its_version(void **state)
{
    struct store_version v;
    char hex[HASH_HEX], path[400];

    (void) add_version(adapter, "aaaa", 0, STORE_GATE_PASSED);
    (void) add_version(adapter, "bbbb", 0, STORE_GATE_PASSED);
    OK(store_adapter_activate(store, adapter, 1, false, NOW, &err));
    OK(store_adapter_activate(store, adapter, 2, false, NOW, &err));
    OK(store_version_get(store, adapter, 2, &v, &err));
    hash_to_hex(hex, v.sha256);
    (void) snprintf(path, sizeof(path), "%s/adapters/%s/adapter.gguf", dir,
                    hex);
    assert_int_equal(truncate(path, 3), 0);
    reopen();
    assert_int_equal(report.lost, 1);
    assert_int_equal(active(), 1);
    OK(store_version_get(store, adapter, 2, &v, &err));
    assert_int_equal(v.state, STORE_VERSION_RETIRED);
}

static void lineage_follows_the_parents(void **state)
{
    int64_t ids[4];
    int64_t unseen;
    size_t lost;

    ids[0] = add_record("a", 1, "one");
    ids[1] = add_record("a", 2, "two");
    ids[2] = add_record("b", 3, "three");
    ids[3] = 999;
    (void) add_version(adapter, "a", 0, STORE_GATE_PASSED);
    (void) add_version(adapter, "b", 1, STORE_GATE_PASSED);
    OK(store_lineage_unseen(store, adapter, NULL, &unseen, &err));
    assert_int_equal(unseen, 3);
    OK(store_lineage_add(store, adapter, 1, ids, 1, &lost, &err));
    assert_int_equal(lost, 0);
    OK(store_lineage_add(store, adapter, 2, ids + 2, 2, &lost, &err));
    assert_int_equal(lost, 1);
    OK(store_lineage_unseen(store, adapter, NULL, &unseen, &err));
    assert_int_equal(unseen, 1);
    OK(store_lineage_streams(store, adapter, 2, on_stream, NULL, &err));
    assert_int_equal(n_seen, 2);
    assert_string_equal(streams[0].name, "a");
    assert_int_equal(streams[0].records, 1);
    assert_int_equal(streams[1].bytes, 5);
    n_seen = 0;
    OK(store_lineage_streams(store, adapter, 1, on_stream, NULL, &err));
    assert_int_equal(n_seen, 1);
    OK(store_version_retire(store, adapter, 2, "x", &err));
    OK(store_lineage_unseen(store, adapter, NULL, &unseen, &err));
    assert_int_equal(unseen, 2);
    assert_int_equal(store_lineage_add(store, adapter, 9, ids, 1, &lost, &err),
                     -ENOENT);
}

static void what_a_version_knows_by_heart_is_kept_with_it(void **state)
{
    const int64_t record = add_record("a", 1, "one");
    struct store_version v;
    struct store_filter one = {.ids = &record, .n_ids = 1};
    struct store_erased erased;
    int64_t other;
    uint32_t number;

    (void) add_version(adapter, "a", 0, STORE_GATE_PASSED);
    OK(store_version_get(store, adapter, 1, &v, &err));
    assert_int_equal(v.exposure.sequences, 0);
    OK(store_adapter_add(store, "other", add_model("n"), NOW, &other, &err));
    v.adapter_id = other;
    v.exposure = (struct store_exposure){.sequences = 9,
                                         .recited = 2,
                                         .bits = 26.5,
                                         .bits_base = 1.5,
                                         .bits_drawn = (double) NAN,
                                         .record_id = record};
    OK(store_version_add(store, &v, &number, &err));
    OK(store_version_get(store, other, number, &v, &err));
    assert_int_equal(v.exposure.sequences, 9);
    assert_int_equal(v.exposure.recited, 2);
    assert_true(v.exposure.bits == 26.5 && v.exposure.bits_base == 1.5);
    assert_true(isnan(v.exposure.bits_drawn));
    assert_int_equal(v.exposure.record_id, record);
    // The record may go; the version keeps what was found.
    OK(store_record_erase(store, &one, false, NOW, &erased, NULL, NULL, &err));
    OK(store_version_get(store, other, number, &v, &err));
    assert_int_equal(v.exposure.recited, 2);
    assert_int_equal(v.exposure.record_id, 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, adapter_setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(numbers_are_never_used_twice),
        TEST(the_same_bytes_are_one_version),
        TEST(rolling_back_twice_goes_back_twice),
        TEST(rolling_back_skips_retired_versions),
        TEST(the_gate_can_only_be_forced),
        TEST(deletes_an_adapter_with_everything),
        TEST(a_lost_file_retires_its_version),
        TEST(lineage_follows_the_parents),
        TEST(what_a_version_knows_by_heart_is_kept_with_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
