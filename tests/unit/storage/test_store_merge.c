// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_merge.h"

#include "fixture.h"

#include <errno.h>

#include "storage/store_lineage.h"

static int64_t a, b, both;
static int64_t ids[3];
static struct store_part parts[2];
static uint32_t n_seen;

// a:1 learned record 0, a:2 comes of it and learned 1; b:1 learned record 2.
static int merge_setup(void **state)
{
    (void) setup(state);
    const int64_t model = add_model("m");
    OK(store_adapter_add(store, "a", model, NOW, &a, &err));
    OK(store_adapter_add(store, "b", model, NOW, &b, &err));
    OK(store_adapter_add(store, "both", model, NOW, &both, &err));
    for (uint32_t i = 0; i < 3; i++)
        ids[i] = add_record("s", i, "text");
    (void) add_version(a, "a1", 0, STORE_GATE_PASSED);
    (void) add_version(a, "a2", 1, STORE_GATE_PASSED);
    (void) add_version(b, "b1", 0, STORE_GATE_PASSED);
    OK(store_lineage_add(store, a, 1, &ids[0], 1, NULL, &err));
    OK(store_lineage_add(store, a, 2, &ids[1], 1, NULL, &err));
    OK(store_lineage_add(store, b, 1, &ids[2], 1, NULL, &err));
    parts[0] = (struct store_part){.adapter = "a",
                                   .adapter_id = a,
                                   .version = 2,
                                   .weight = 0.7};
    parts[1] = (struct store_part){.adapter = "b",
                                   .adapter_id = b,
                                   .version = 1,
                                   .weight = -0.3};
    for (int i = 0; i < 2; i++) {
        struct store_version v;
        OK(store_version_get(store, parts[i].adapter_id, parts[i].version, &v,
                             &err));
        memcpy(parts[i].sha256, v.sha256, sizeof(v.sha256));
    }
    n_seen = 0;
    return 0;
}

// The bytes of a version of another adapter stand for those of the sum.
static int merge(uint32_t *number)
{
    struct store_version v;

    (void) add_version(b, "sum", 0, STORE_GATE_NONE);
    OK(store_version_get(store, b, 2, &v, &err));
    v.adapter_id = both;
    return store_merge_add(store, &v, parts, 2, number, &err);
}

static int on_part(const struct store_part *p, void *user)
{
    assert_string_equal(p->adapter, parts[n_seen].adapter);
    assert_int_equal(p->version, parts[n_seen].version);
    assert_true(p->weight == parts[n_seen].weight);
    n_seen++;
    return 0;
}

static void parts_are_remembered(void **state)
{
    struct store_version v;
    uint32_t number = 0;

    OK(merge(&number));
    assert_int_equal(number, 1);
    OK(store_merge_each(store, both, 1, on_part, NULL, &err));
    assert_int_equal(n_seen, 2);
    OK(store_version_get(store, both, 1, &v, &err));
    assert_true(v.is_merged);
    assert_int_equal(v.records, 3); // with those of a:1, which a:2 comes of
    OK(store_version_get(store, a, 2, &v, &err));
    assert_false(v.is_merged);
    OK(store_merge_each(store, a, 2, on_part, NULL, &err));
    assert_int_equal(n_seen, 2);
}

static bool goes_with(int64_t record)
{
    const struct store_filter f = {.ids = &record, .n_ids = 1};
    struct store_erased e;
    struct store_version v;

    OK(store_record_erase(store, &f, false, NOW, &e, NULL, NULL, &err));
    assert_int_equal(e.records, 1);
    OK(store_version_get(store, both, 1, &v, &err));
    return v.state == STORE_VERSION_RETIRED;
}

static void erasing_a_record_of_an_ancestor_reaches_it(void **state)
{
    uint32_t number;

    OK(merge(&number));
    assert_true(goes_with(ids[0]));
}

static void erasing_reaches_it_when_its_parts_are_deleted(void **state)
{
    uint32_t number;

    OK(merge(&number));
    OK(store_adapter_delete(store, a, &err));
    OK(store_adapter_delete(store, b, &err));
    reopen();
    OK(store_merge_each(store, both, 1, on_part, NULL, &err));
    assert_int_equal(n_seen, 2);
    OK(store_adapter_activate(store, both, 1, true, NOW, &err));
    assert_true(goes_with(ids[1]));
}

static void other_records_leave_it_alone(void **state)
{
    const int64_t other = add_record("s", 9, "other");
    uint32_t number;

    OK(merge(&number));
    assert_false(goes_with(other));
}

static void a_part_that_was_erased_meanwhile_is_not_merged(void **state)
{
    struct store_version v;
    uint32_t number = 0;

    OK(store_version_retire(store, b, 1, "erased", &err));
    assert_int_equal(merge(&number), -ESTALE);
    assert_says("version 1 of b was retired or deleted meanwhile");
    assert_int_equal(number, 0);
    assert_int_equal(store_version_get(store, both, 1, &v, &err), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(parts_are_remembered, merge_setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            erasing_a_record_of_an_ancestor_reaches_it, merge_setup, teardown),
        cmocka_unit_test_setup_teardown(
            erasing_reaches_it_when_its_parts_are_deleted, merge_setup,
            teardown),
        cmocka_unit_test_setup_teardown(other_records_leave_it_alone,
                                        merge_setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_part_that_was_erased_meanwhile_is_not_merged, merge_setup,
            teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
