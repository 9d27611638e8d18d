// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_audit.h"

#include "fixture.h"

#include <errno.h>

#include "storage/store_sql.h"

static char text[512];

static int on_audit(const struct store_audit *a, void *user)
{
    size_t n = strlen(text);

    (void) snprintf(text + n, sizeof(text) - n, "%lld/%lld:%s%s%.9s=%lld ",
                    (long long) a->id, (long long) a->pid, a->action,
                    a->text[0] ? "," : "", a->text, (long long) a->count);
    return 0;
}

static const char *list(bool with_open)
{
    text[0] = '\0';
    OK(store_audit_each(store,
                        &(struct store_audit_filter){.with_open = with_open},
                        on_audit, NULL, &err));
    return text;
}

static struct store_audit entry(int64_t pid, const char *action, int64_t count,
                                int64_t time_ms)
{
    struct store_audit a = {.time_ms = time_ms,
                            .uid = 1000,
                            .pid = pid,
                            .count = count};

    strcpy(a.app, "host");
    (void) snprintf(a.action, sizeof(a.action), "%s", action);
    return a;
}

static void note(int64_t pid, const char *action, int64_t count,
                 int64_t time_ms)
{
    const struct store_audit a = entry(pid, action, count, time_ms);

    OK(store_audit_note(store, &a, &err));
}

static void add(const char *action, int64_t count, int64_t time_ms)
{
    const struct store_audit a = entry(7, action, count, time_ms);

    OK(store_audit_add(store, &a, &err));
}

static struct store_audit_state verified(void)
{
    struct store_audit_state st;

    OK(store_audit_verify(store, NULL, &st, &err));
    return st;
}

static void rows_are_chained(void **state)
{
    struct store_audit_state st = verified();

    assert_true(st.is_whole);
    assert_int_equal(st.rows, 0);
    add("data.put", 5, NOW);
    add("data.erase", 2, NOW + 1);
    assert_string_equal(list(true), "1/7:data.put=5 2/7:data.erase=2 ");
    st = verified();
    assert_true(st.is_whole);
    assert_int_equal(st.rows, 2);
    assert_int_equal(st.last, 2);
    // The head is found again later.
    uint8_t head[STORE_HASH_BYTES];
    memcpy(head, st.head, sizeof(head));
    add("data.put", 1, NOW + 2);
    OK(store_audit_verify(store, head, &st, &err));
    assert_true(st.has_wanted);
    assert_int_equal(st.wanted_id, 2);
    head[0] ^= 1;
    OK(store_audit_verify(store, head, &st, &err));
    assert_true(st.is_whole);
    assert_false(st.has_wanted);
}

static void tamper(const char *sql, const char *problem)
{
    OK(store_sql_exec(store, "SAVEPOINT t", "test", &err));
    OK(store_sql_exec(store, sql, "test", &err));
    const struct store_audit_state st = verified();
    assert_false(st.is_whole);
    if (!strstr(st.problem, problem))
        fail_msg("%s: %s", sql, st.problem);
    OK(store_sql_exec(store, "ROLLBACK TO t; RELEASE t", "test", &err));
}

static void every_change_shows(void **state)
{
    for (int i = 0; i < 6; i++)
        add("data.put", i, NOW + i);
    assert_true(verified().is_whole);
    tamper("UPDATE audit SET count = 9 WHERE id = 3", "entry 3");
    tamper("UPDATE audit SET uid = 0 WHERE id = 1", "entry 1");
    tamper("UPDATE audit SET until_ms = until_ms + 1 WHERE id = 6", "entry 6");
    tamper("UPDATE audit SET text = 'x' WHERE id = 2", "entry 2");
    tamper("UPDATE audit SET hash = randomblob(32) WHERE id = 2", "entry 2");
    tamper("DELETE FROM audit WHERE id = 4", "entries 4 to 4 are missing");
    tamper("DELETE FROM audit WHERE id < 3", "entries 1 to 2 are missing");
    tamper("DELETE FROM audit WHERE id > 4", "entries 5 to 6 are missing");
    tamper("UPDATE audit SET id = id + 10 WHERE id = 6", "are missing");
    tamper("INSERT INTO meta VALUES ('audit.anchor', 'x')", "anchor");
    assert_true(verified().is_whole);
}

static void what_is_done_again_is_counted_in_one_row(void **state)
{
    OK(store_begin(store, &err));
    for (int i = 0; i < 100; i++)
        note(7, "data.put", 2, NOW + i);
    note(8, "data.put", 1, NOW);
    OK(store_commit(store, &err));
    OK(store_begin(store, &err));
    note(7, "data.put", 3, NOW + 500);
    OK(store_commit(store, &err));
    assert_string_equal(list(false), "");
    assert_string_equal(list(true), "0/7:data.put=203 0/8:data.put=1 ");
    // When its time is over, what comes next closes it.
    note(7, "data.list", 1, NOW + STORE_AUDIT_WINDOW_MS + 10);
    OK(store_audit_flush(store, NOW + STORE_AUDIT_WINDOW_MS + 10, 0, false,
                         &err));
    assert_string_equal(list(true),
                        "1/7:data.put=203 2/8:data.put=1 0/7:data.list=1 ");
    reopen();
    assert_string_equal(list(true),
                        "1/7:data.put=203 2/8:data.put=1 3/7:data.list=1 ");
    assert_true(verified().is_whole);
}

static void what_is_rolled_back_was_not_done(void **state)
{
    OK(store_begin(store, &err));
    note(7, "data.put", 2, NOW);
    store_rollback(store);
    OK(store_begin(store, &err));
    note(7, "data.erase", 1, NOW);
    OK(store_commit(store, &err));
    assert_string_equal(list(true), "0/7:data.erase=1 ");
}

static void more_than_has_room_is_written_at_once(void **state)
{
    OK(store_begin(store, &err));
    for (int i = 0; i < STORE_AUDIT_NOTED_MAX + 5; i++)
        note(i, "data.get", 1, NOW);
    OK(store_commit(store, &err));
    OK(store_audit_flush(store, NOW, 0, true, &err));
    const struct store_audit_state st = verified();
    assert_true(st.is_whole);
    assert_int_equal(st.rows, STORE_AUDIT_NOTED_MAX + 5);
}

static void old_rows_go_and_the_chain_stays(void **state)
{
    for (int i = 0; i < 10; i++)
        add("data.put", i, NOW + i * 1000);
    OK(store_audit_flush(store, NOW, NOW + 4000, false, &err));
    struct store_audit_state st = verified();
    assert_true(st.is_whole);
    assert_int_equal(st.first, 5);
    assert_int_equal(st.dropped, 4);
    assert_int_equal(st.rows, 6);
    // All of them, and then another one.
    OK(store_audit_flush(store, NOW, NOW + 1000000, false, &err));
    st = verified();
    assert_true(st.is_whole);
    assert_int_equal(st.rows, 0);
    add("data.put", 1, NOW);
    st = verified();
    assert_true(st.is_whole);
    assert_int_equal(st.first, 11);
    OK(store_sql_exec(store, "DELETE FROM audit", "test", &err));
    assert_false(verified().is_whole);
}

static void there_is_a_limit_to_their_number(void **state)
{
    OK(store_begin(store, &err));
    for (int i = 0; i < STORE_AUDIT_MAX + 3; i++)
        add("data.put", 1, NOW);
    OK(store_commit(store, &err));
    const struct store_audit_state st = verified();
    assert_true(st.is_whole);
    assert_int_equal(st.rows, STORE_AUDIT_MAX);
    assert_int_equal(st.first, 4);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(rows_are_chained),
        TEST(every_change_shows),
        TEST(what_is_done_again_is_counted_in_one_row),
        TEST(what_is_rolled_back_was_not_done),
        TEST(more_than_has_room_is_written_at_once),
        TEST(old_rows_go_and_the_chain_stays),
        TEST(there_is_a_limit_to_their_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
