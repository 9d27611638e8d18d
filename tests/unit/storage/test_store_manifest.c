// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_manifest.h"

#include "fixture.h"

#include <errno.h>

#include "storage/store_lineage.h"
#include "storage/store_merge.h"
#include "storage/store_sql.h"

static int64_t a, ids[4];
static char months[512], empty[] = "{}";

// Version 2 comes of 1, 3 of 2; each learned a record more.
static int lineage_setup(void **state)
{
    (void) setup(state);
    OK(store_adapter_add(store, "a", add_model("m"), NOW, &a, &err));
    for (uint32_t i = 0; i < 4; i++)
        ids[i] = add_record(i < 2 ? "notes" : "mail", i * 86400 * 20, "text");
    (void) add_version(a, "1", 0, STORE_GATE_PASSED);
    (void) add_version(a, "2", 1, STORE_GATE_PASSED);
    (void) add_version(a, "3", 2, STORE_GATE_PASSED);
    for (uint32_t i = 0; i < 3; i++)
        OK(store_lineage_add(store, a, i + 1, &ids[i], 1, NULL, &err));
    return 0;
}

static void a_line_has_the_records_of_all_its_versions(void **state)
{
    int64_t *list;
    size_t n;

    OK(store_lineage_ids(store, a, 3, &list, &n, &err));
    assert_int_equal(n, 3);
    assert_memory_equal(list, ids, 3 * sizeof(ids[0]));
    free(list);
    OK(store_lineage_ids(store, a, 1, &list, &n, &err));
    assert_int_equal(n, 1);
    free(list);
}

static int on_month(const struct store_month *m, void *user)
{
    const size_t n = strlen(months);

    (void) snprintf(months + n, sizeof(months) - n, "%s/%s/%s=%lld ", m->app,
                    m->stream, m->month, (long long) m->records);
    return 0;
}

static void counts_by_stream_and_month(void **state)
{
    months[0] = '\0';
    OK(store_lineage_months(store, a, 3, on_month, NULL, &err));
    // NOW is of 2025-03-01.
    assert_string_equal(months, "host/mail/2025-04=1 host/notes/2025-03=2 ");
}

static void a_manifest_is_written_once_and_goes_with_its_version(void **state)
{
    struct store_manifest m = {.has_root = true, .leaves = 5, .json = empty};
    struct store_manifest back;

    memset(m.root, 7, sizeof(m.root));
    memset(m.signature, 8, sizeof(m.signature));
    assert_int_equal(store_manifest_get(store, a, 1, &back, &err), -ENOENT);
    assert_says("version 1 has no manifest");
    OK(store_manifest_add(store, a, 1, &m, &err));
    assert_int_equal(store_manifest_add(store, a, 1, &m, &err), -EEXIST);
    assert_int_equal(store_manifest_add(store, a, 77, &m, &err), -EBUSY);
    OK(store_manifest_get(store, a, 1, &back, &err));
    assert_true(back.has_root);
    assert_string_equal(back.json, "{}");
    assert_memory_equal(back.root, m.root, sizeof(m.root));
    assert_memory_equal(back.signature, m.signature, sizeof(m.signature));
    store_manifest_finish(&back);
    OK(store_adapter_delete(store, a, &err));
    assert_int_equal(store_manifest_get(store, a, 1, &back, &err), -ENOENT);
}

static void what_was_imported_is_not_known_nor_what_comes_of_it(void **state)
{
    struct store_manifest m = {.has_root = false, .json = empty};

    assert_int_equal(store_lineage_is_complete(store, a, 3, &err), 1);
    OK(store_manifest_add(store, a, 2, &m, &err));
    assert_int_equal(store_lineage_is_complete(store, a, 3, &err), 0);
    assert_int_equal(store_lineage_is_complete(store, a, 1, &err), 1);
}

static void what_was_forgotten_is_not_known_either(void **state)
{
    assert_int_equal(store_lineage_is_complete(store, a, 3, &err), 1);
    OK(store_sql_exec(store,
                      "INSERT INTO forgotten (record_id, stream_id, kind,"
                      " is_feedback, time_ms, added_ms) SELECT 77, min(id), 1,"
                      " 0, 1, 1 FROM streams;"
                      "INSERT INTO lineage_forgotten (adapter_id, version,"
                      " record_id) SELECT id, 2, 77 FROM adapters",
                      "test", &err));
    assert_int_equal(store_lineage_is_complete(store, a, 3, &err), 0);
    assert_int_equal(store_lineage_is_complete(store, a, 1, &err), 1);
}

static void salts_are_made_once_and_go_with_their_records(void **state)
{
    const struct store_filter f = {.ids = ids, .n_ids = 1};
    uint8_t one[STORE_SALT_BYTES], two[STORE_SALT_BYTES];
    struct store_erased e;

    assert_int_equal(store_salt_get(store, ids[0], one, &err), -ENOENT);
    OK(store_salt_make(store, ids[0], one, &err));
    OK(store_salt_make(store, ids[0], two, &err));
    assert_memory_equal(one, two, sizeof(one));
    OK(store_salt_make(store, ids[1], two, &err));
    assert_memory_not_equal(one, two, sizeof(one));
    OK(store_salt_put(store, ids[1], one, &err)); // another one is there
    OK(store_salt_make(store, ids[1], one, &err));
    assert_memory_equal(one, two, sizeof(one));
    assert_int_equal(store_salt_make(store, 999, one, &err), -ENOENT);
    OK(store_record_erase(store, &f, false, NOW, &e, NULL, NULL, &err));
    assert_int_equal(store_salt_get(store, ids[0], one, &err), -ENOENT);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, lineage_setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_line_has_the_records_of_all_its_versions),
        TEST(counts_by_stream_and_month),
        TEST(a_manifest_is_written_once_and_goes_with_its_version),
        TEST(what_was_imported_is_not_known_nor_what_comes_of_it),
        TEST(what_was_forgotten_is_not_known_either),
        TEST(salts_are_made_once_and_go_with_their_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
