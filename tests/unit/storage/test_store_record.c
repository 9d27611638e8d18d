// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_record.h"

#include "fixture.h"

#include <errno.h>

#include "storage/store_lineage.h"
#include "storage/store_sql.h"

static int64_t seen[64];
static size_t n_seen;
static struct store_stream streams[8];
static struct store_used_by used[8];

static int on_record(const struct store_record *r, void *user)
{
    assert_true(n_seen < 64);
    seen[n_seen++] = r->id;
    if (user)
        assert_int_equal(r->body_bytes, r->bytes);
    else
        assert_null(r->body);
    return 0;
}

static int on_stream(const struct store_stream *st, void *user)
{
    streams[n_seen++] = *st;
    return 0;
}

static int on_used(const struct store_used_by *u, void *user)
{
    used[n_seen++] = *u;
    return 0;
}

static size_t list(const struct store_filter *f)
{
    n_seen = 0;
    OK(store_record_each(store, f, 0, 0, false, on_record, NULL, &err));
    return n_seen;
}

static void putting_again_changes_nothing(void **state)
{
    int64_t stream, id, again;
    bool is_new;

    OK(store_stream_make(store, STORE_APP_HOST, "notes", NOW, &stream, &err));
    struct store_record r = record_of(stream, 1, "Seven hives.");
    OK(store_record_put(store, &r, &id, &is_new, &err));
    assert_true(is_new);
    r.added_ms++;
    OK(store_record_put(store, &r, &again, &is_new, &err));
    assert_false(is_new);
    assert_int_equal(id, again);

    r.body = "Eight hives.";
    assert_int_equal(store_record_put(store, &r, &again, &is_new, &err),
                     -ENOTUNIQ);
    assert_says("same uid with other content");
    assert_int_equal(list(NULL), 1);
}

static void set_back_to_schema_11(int64_t id, const struct store_record *r)
{
    sqlite3_stmt *q;

    OK(store_sql(store, &q,
                 "UPDATE records SET uid = ?, app_uid = NULL WHERE id = ?",
                 &err));
    (void) sqlite3_bind_blob(q, 1, r->uid, STORE_UID_BYTES, SQLITE_STATIC);
    (void) sqlite3_bind_int64(q, 2, id);
    OK(store_sql_run(store, q, "put it back", &err));
}

static int same_uid(const struct store_record *r, void *user)
{
    assert_memory_equal(r->uid, user, STORE_UID_BYTES);
    assert_true(r->body_bytes > 0);
    return 0;
}

static void each_app_has_uids_of_its_own(void **state)
{
    static const char *const apps[] = {STORE_APP_HOST, "host:a", "host:b"};
    struct store_record r[3];
    int64_t ids[3];
    int64_t again;
    bool is_new;

    for (int i = 0; i < 3; i++) {
        int64_t stream;
        OK(store_stream_make(store, apps[i], "notes", NOW, &stream, &err));
        r[i] = record_of(stream, 1, "Seven hives.");
        OK(store_record_put(store, &r[i], &ids[i], &is_new, &err));
        assert_true(is_new);
        OK(store_record_get(store, ids[i], same_uid, r[i].uid, &err));
    }
    for (int i = 0; i < 3; i++) {
        OK(store_record_put(store, &r[i], &again, &is_new, &err));
        assert_false(is_new);
        assert_int_equal(again, ids[i]);
        r[i].body = "Eight hives.";
        assert_int_equal(store_record_put(store, &r[i], &again, &is_new, &err),
                         -ENOTUNIQ);
        r[i].body = "Seven hives.";
    }
    // An app's record from before is found, by this app alone.
    struct store_record old = record_of(r[1].stream_id, 2, "Seven hives.");
    OK(store_record_put(store, &old, &again, &is_new, &err));
    set_back_to_schema_11(again, &old);
    OK(store_record_put(store, &old, &ids[1], &is_new, &err));
    assert_false(is_new);
    assert_int_equal(again, ids[1]);
    old.body = "Eight hives.";
    assert_int_equal(store_record_put(store, &old, &again, &is_new, &err),
                     -ENOTUNIQ);
    old.stream_id = r[2].stream_id;
    OK(store_record_put(store, &old, &again, &is_new, &err));
    assert_true(is_new);
}

static void a_stream_must_exist(void **state)
{
    int64_t id;
    bool is_new;
    struct store_record r = record_of(77, 1, "x");

    assert_int_equal(store_stream_find(store, STORE_APP_HOST, "notes", &id,
                                       &err),
                     -ENOENT);
    assert_says("there is no stream notes: set create_stream");
    assert_int_equal(store_record_put(store, &r, &id, &is_new, &err), -ENOENT);
    assert_says("stream 77");
    OK(store_stream_make(store, STORE_APP_HOST, "notes", NOW, &id, &err));
    int64_t same;
    OK(store_stream_make(store, STORE_APP_HOST, "notes", NOW, &same, &err));
    assert_int_equal(id, same);
    OK(store_stream_make(store, "org.example", "notes", NOW, &same, &err));
    assert_int_not_equal(id, same);
}

static void filters_combine(void **state)
{
    int64_t a = add_record("a", 1, "one");
    int64_t b = add_record("a", 2, "two");
    int64_t c = add_record("b", 3, "three");
    const char *const names[] = {"b", "it's"};
    const int64_t ids[] = {a, c, 999};
    struct store_filter f = {.streams = names, .n_streams = 2};

    assert_int_equal(list(&f), 1);
    assert_int_equal(seen[0], c);
    f = (struct store_filter){.ids = ids, .n_ids = 3};
    assert_int_equal(list(&f), 2);
    f = (struct store_filter){.has_after = true, .after_ms = NOW + 2000};
    assert_int_equal(list(&f), 2);
    assert_int_equal(seen[0], b);
    f.has_before = true;
    f.before_ms = NOW + 3000;
    assert_int_equal(list(&f), 1);
    f = (struct store_filter){.app = "org.example"};
    assert_int_equal(list(&f), 0);
    f = (struct store_filter){.ids = ids, .n_ids = 0};
    assert_int_equal(list(&f), 0);

    // Pages.
    n_seen = 0;
    OK(store_record_each(store, NULL, 0, 2, true, on_record, &f, &err));
    assert_int_equal(n_seen, 2);
    OK(store_record_each(store, NULL, seen[1], 2, true, on_record, &f, &err));
    assert_int_equal(n_seen, 3);
    n_seen = 0;
    OK(store_record_get(store, c, on_record, &f, &err));
    assert_int_equal(seen[0], c);
    assert_int_equal(store_record_get(store, 999, on_record, &f, &err),
                     -ENOENT);
}

static void pages_are_in_the_order_of_ids(void **state)
{
    const char *const names[] = {"a", "b"};
    const char *const in[] = {"b", "c", "a", "b", "c", "a"};
    const int64_t ids[] = {6, 3, 1, 3};
    struct store_filter f = {.streams = names, .n_streams = 2};
    int64_t cursor = 0;

    // Later records have earlier times, and streams are not in order.
    for (uint32_t i = 0; i < 6; i++)
        assert_int_equal(add_record(in[i], 9 - i, "text"), i + 1);
    n_seen = 0;
    for (size_t before = 1; n_seen != before; cursor = seen[n_seen - 1]) {
        before = n_seen;
        OK(store_record_each(store, &f, cursor, 1, true, on_record, &f, &err));
        assert_true(n_seen <= before + 1);
    }
    assert_int_equal(n_seen, 4);
    assert_int_equal(seen[0], 1);
    assert_int_equal(seen[1], 3);
    assert_int_equal(seen[2], 4);
    assert_int_equal(seen[3], 6);

    f = (struct store_filter){.ids = ids, .n_ids = 4};
    assert_int_equal(list(&f), 3);
    assert_int_equal(seen[0], 1);
    assert_int_equal(seen[1], 3);
    assert_int_equal(seen[2], 6);
    n_seen = 0;
    OK(store_record_each(store, &f, 1, 1, true, on_record, &f, &err));
    assert_int_equal(n_seen, 1);
    assert_int_equal(seen[0], 3);
}

// What SQLite did for the first page, of two records.
static int steps_of_a_page(const struct store_filter *f)
{
    int steps = 0;

    for (int reset = 1; reset >= 0; reset--) {
        n_seen = 0;
        OK(store_record_each(store, f, 0, 2, true, on_record, store, &err));
        assert_int_equal(n_seen, 2);
        steps = 0;
        for (sqlite3_stmt *q = sqlite3_next_stmt(store->db, NULL); q;
             q = sqlite3_next_stmt(store->db, q))
            steps += sqlite3_stmt_status(q, SQLITE_STMTSTATUS_VM_STEP, reset);
    }
    return steps;
}

static void add_of_app(const char *app, uint32_t number)
{
    int64_t stream, id;
    bool is_new;

    OK(store_stream_make(store, app, "notes", NOW, &stream, &err));
    struct store_record r = record_of(stream, number, "of an app");
    OK(store_record_put(store, &r, &id, &is_new, &err));
}

// Whatever else the store holds, of others too.
static void a_page_costs_what_is_in_it(void **state)
{
    const int64_t ids[] = {1, 2};
    const struct store_filter app = {.app = "org.example"};
    const struct store_filter some = {.ids = ids, .n_ids = 2};
    int before[3];

    (void) add_record("a", 1, "one");
    (void) add_record("b", 2, "two");
    add_of_app("org.example", 1001);
    add_of_app("org.example", 1002);
    before[0] = steps_of_a_page(NULL);
    before[1] = steps_of_a_page(&app);
    before[2] = steps_of_a_page(&some);
    for (uint32_t i = 3; i < 300; i++)
        (void) add_record(i % 2 ? "a" : "b", i, "more");
    assert_in_range(steps_of_a_page(NULL), 1, before[0] + 10);
    assert_in_range(steps_of_a_page(&app), 1, before[1] + 10);
    assert_in_range(steps_of_a_page(&some), 1, before[2] + 10);
}

static void counts_by_stream(void **state)
{
    int64_t empty;
    struct store_filter f = {.has_before = true, .before_ms = NOW + 3000};

    (void) add_record("a", 1, "one");
    (void) add_record("a", 5, "five");
    (void) add_record("b", 2, "two");
    OK(store_stream_make(store, STORE_APP_HOST, "c", NOW, &empty, &err));
    n_seen = 0;
    OK(store_record_count(store, NULL, on_stream, NULL, &err));
    assert_int_equal(n_seen, 3);
    assert_string_equal(streams[0].name, "a");
    assert_int_equal(streams[0].records, 2);
    assert_int_equal(streams[0].bytes, 7);
    assert_int_equal(streams[0].first_ms, NOW + 1000);
    assert_int_equal(streams[0].last_ms, NOW + 5000);
    assert_int_equal(streams[2].records, 0);
    n_seen = 0;
    OK(store_record_count(store, &f, on_stream, NULL, &err));
    assert_int_equal(n_seen, 2);
    assert_int_equal(streams[0].records, 1);
}

static void erased_text_is_nowhere(void **state)
{
    struct store_erased e;
    struct store_filter f = {.has_before = true, .before_ms = NOW + 2000};
    char backup[300];

    (void) add_record("a", 1, "the lodger bubbled like a drain");
    int64_t kept = add_record("a", 2, "the bread was all right");
    assert_false(in_files("bubbled like a drain"));
    // A copy that a migration left.
    (void) snprintf(backup, sizeof(backup), "%s/data.db.backup-1", dir);
    FILE *file = fopen(backup, "w");
    assert_non_null(file);
    (void) fputs("bubbled like a drain", file);
    (void) fclose(file);
    assert_true(in_files("bubbled like a drain"));

    OK(store_record_erase(store, &f, true, NOW, &e, NULL, NULL, &err));
    assert_int_equal(e.records, 1);
    assert_int_equal(e.bytes, 31);
    assert_int_equal(list(NULL), 2);
    OK(store_record_erase(store, &f, false, NOW, &e, NULL, NULL, &err));
    assert_int_equal(e.records, 1);
    assert_int_equal(list(NULL), 1);
    assert_int_equal(seen[0], kept);
    assert_false(in_files("bubbled like a drain"));
    OK(store_record_erase(store, &f, false, NOW, &e, NULL, NULL, &err));
    assert_int_equal(e.records, 0);
}

// v1 learned a; v2, from v1, learned b; v3 stands alone and learned b.
static void erase_retires_what_learned_from_it(void **state)
{
    struct store_erased e;
    struct store_adapter a;
    struct store_version v;
    int64_t adapter, ids[3];
    size_t lost;

    ids[0] = add_record("a", 1, "one");
    ids[1] = add_record("a", 2, "two");
    OK(store_adapter_add(store, "mine", add_model("m"), NOW, &adapter, &err));
    uint32_t v3 = add_version(adapter, "three", 0, STORE_GATE_PASSED);
    uint32_t v1 = add_version(adapter, "one", 0, STORE_GATE_PASSED);
    uint32_t v2 = add_version(adapter, "two", v1, STORE_GATE_PASSED);
    OK(store_lineage_add(store, adapter, v3, &ids[1], 1, &lost, &err));
    OK(store_lineage_add(store, adapter, v1, ids, 1, &lost, &err));
    OK(store_lineage_add(store, adapter, v2, &ids[1], 1, &lost, &err));
    OK(store_adapter_activate(store, adapter, v3, false, NOW, &err));
    OK(store_adapter_activate(store, adapter, v1, false, NOW, &err));
    OK(store_adapter_activate(store, adapter, v2, false, NOW, &err));

    struct store_filter f = {.ids = ids, .n_ids = 1};
    n_seen = 0;
    OK(store_record_erase(store, &f, true, NOW, &e, on_used, NULL, &err));
    assert_int_equal(n_seen, 2);
    assert_int_equal(used[0].version, v1);
    assert_false(used[0].is_active);
    assert_int_equal(used[1].version, v2);
    assert_true(used[1].is_active);
    OK(store_version_get(store, adapter, v2, &v, &err));
    assert_int_equal(v.state, STORE_VERSION_ACTIVE);

    OK(store_record_erase(store, &f, false, NOW, &e, NULL, NULL, &err));
    assert_int_equal(e.versions, 2);
    OK(store_adapter_get(store, "mine", &a, &err));
    assert_int_equal(a.active, v3);
    OK(store_version_get(store, adapter, v2, &v, &err));
    assert_int_equal(v.state, STORE_VERSION_RETIRED);
    assert_false(store_blob_exists(store, v.sha256, (uint64_t) v.bytes));
    OK(store_version_get(store, adapter, v3, &v, &err));
    assert_true(store_blob_exists(store, v.sha256, (uint64_t) v.bytes));
    // The other record takes the last one: the base model is left.
    OK(store_record_erase(store, NULL, false, NOW, &e, NULL, NULL, &err));
    OK(store_adapter_get(store, "mine", &a, &err));
    assert_int_equal(a.active, 0);
    OK(store_check(store, true, &err));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(putting_again_changes_nothing),
        TEST(each_app_has_uids_of_its_own),
        TEST(a_stream_must_exist),
        TEST(filters_combine),
        TEST(pages_are_in_the_order_of_ids),
        TEST(a_page_costs_what_is_in_it),
        TEST(counts_by_stream),
        TEST(erased_text_is_nowhere),
        TEST(erase_retires_what_learned_from_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
