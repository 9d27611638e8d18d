// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store.h"

#include "fixture.h"

#include <errno.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "engine/base/fault.h"
#include "storage/store_policy.h"

// Change a closed store behind its back.
static void patch(const char *sql)
{
    char path[300];
    sqlite3 *db;

    (void) snprintf(path, sizeof(path), "%s/data.db", dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void scribble(const char *name, long at, size_t count)
{
    char path[300];

    (void) snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    for (size_t i = 0; i < count; i++)
        (void) fputc(0xa5, f);
    (void) fclose(f);
}

static bool file_holds(const char *name, const char *text)
{
    char path[300];
    static char buf[1 << 22];

    (void) snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    size_t n = fread(buf, 1, sizeof(buf), f);
    (void) fclose(f);
    return memmem(buf, n, text, strlen(text)) != NULL;
}

static void begins_empty_and_keeps_what_it_was_given(void **state)
{
    struct stat st;
    char value[32];

    assert_true(report.is_new);
    assert_false(report.is_degraded);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    OK(store_policy_set(store, "level.start", "50", NOW, &err));
    reopen();
    assert_false(report.is_new);
    assert_true(report.was_clean);
    OK(store_policy_get(store, "level.start", value, sizeof(value), &err));
    assert_string_equal(value, "50");
    OK(store_check(store, true, &err));
}

static void settings_are_those_that_durability_needs(void **state)
{
    store_close(store);
    store = NULL;
    char path[300];
    sqlite3 *db;
    sqlite3_stmt *q;
    (void) snprintf(path, sizeof(path), "%s/data.db", dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    static const struct {
        const char *sql;
        int64_t value;
    } cases[] = {{"PRAGMA application_id", 0x504f434b},
                 {"PRAGMA user_version", STORE_SCHEMA}};
    for (size_t i = 0; i < 2; i++) {
        sqlite3_prepare_v2(db, cases[i].sql, -1, &q, NULL);
        assert_int_equal(sqlite3_step(q), SQLITE_ROW);
        assert_int_equal(sqlite3_column_int64(q, 0), cases[i].value);
        sqlite3_finalize(q);
    }
    sqlite3_prepare_v2(db, "PRAGMA journal_mode", -1, &q, NULL);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    assert_string_equal((const char *) sqlite3_column_text(q, 0), "wal");
    sqlite3_finalize(q);
    sqlite3_close(db);
}

static void a_second_process_is_told_who_has_it(void **state)
{
    char pid[32];
    int status;

    (void) snprintf(pid, sizeof(pid), "process %ld", (long) getpid());
    pid_t child = fork();
    if (child == 0) {
        struct store *second;
        struct store_report r;
        int rc =
            store_open(&second, &(struct store_params){.dir = dir}, &r, &err);
        _exit(rc == -EBUSY && strstr(err.text, pid) ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void a_newer_store_is_refused(void **state)
{
    char sql[64], say[80];

    store_close(store);
    store = NULL;
    snprintf(sql, sizeof(sql), "PRAGMA user_version = %d", STORE_SCHEMA + 1);
    snprintf(say, sizeof(say),
             "has version %d, but this pockd knows only versions up to %d",
             STORE_SCHEMA + 1, STORE_SCHEMA);
    patch(sql);
    assert_int_equal(open_store(), -EPROTO);
    assert_says(say);
    snprintf(sql, sizeof(sql), "PRAGMA user_version = %d", STORE_SCHEMA);
    patch(sql);
    OK(open_store());
}

static void another_program_s_database_is_refused(void **state)
{
    store_close(store);
    store = NULL;
    patch("PRAGMA application_id = 42");
    assert_int_equal(open_store(), -EINVAL);
    assert_says("another program");
}

static void what_is_no_database_is_moved_aside(void **state)
{
    char value[32];

    OK(store_policy_set(store, "k", "v", NOW, &err));
    uint8_t kept[32];
    int64_t adapter;
    OK(store_adapter_add(store, "default", add_model("m"), NOW, &adapter,
                         &err));
    (void) add_version(adapter, "weights", 0, STORE_GATE_PASSED);
    hash_bytes(kept, "weights", 7);
    store_close(store);
    store = NULL;
    scribble("data.db", 0, 100);
    OK(open_store());
    assert_true(report.is_degraded);
    assert_int_equal(access(report.quarantine, R_OK), 0);
    assert_int_equal(store_policy_get(store, "k", value, sizeof(value), &err),
                     -ENOENT);
    // Without rows nothing tells which files are needed: all stay.
    assert_true(store_blob_exists(store, kept, 7));
    reopen();
    assert_true(report.is_degraded);
    OK(store_accept_loss(store, &err));
    assert_int_not_equal(access(report.quarantine, R_OK), 0);
    reopen();
    assert_false(report.is_degraded);
}

// A process that dies leaves no mark of a clean shutdown; then damage inside
// is found.
static void an_unclean_store_is_checked(void **state)
{
    int status;
    char text[2001];

    memset(text, 'x', 2000);
    text[2000] = '\0';
    for (uint32_t i = 0; i < 100; i++)
        (void) add_record("notes", i, text);
    OK(store_checkpoint(store, &err));
    store_close(store);
    store = NULL;
    pid_t child = fork();
    if (child == 0) {
        (void) open_store();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    OK(open_store());
    assert_false(report.was_clean);
    assert_false(report.is_degraded);
    store_close(store);
    store = NULL;

    if ((child = fork()) == 0) {
        (void) open_store();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    // A tree page in the middle.
    for (long page = 20; page < 40; page++)
        scribble("data.db", page * 4096, 64);
    OK(open_store());
    assert_true(report.is_degraded);
}

static void groups_commit_or_vanish_together(void **state)
{
    char value[8];

    OK(store_begin(store, &err));
    OK(store_policy_set(store, "a", "1", NOW, &err));
    OK(store_policy_set(store, "b", "2", NOW, &err));
    store_rollback(store);
    assert_int_equal(store_policy_get(store, "a", value, 8, &err), -ENOENT);
    OK(store_begin(store, &err));
    OK(store_policy_set(store, "a", "1", NOW, &err));
    assert_true(store_is_in_transaction(store));
    OK(store_commit(store, &err));
    OK(store_policy_get(store, "a", value, 8, &err));
}

static void a_checkpoint_leaves_no_deleted_text(void **state)
{
    OK(store_policy_set(store, "k", "the secret of Number Seven", NOW, &err));
    OK(store_checkpoint(store, &err));
    assert_true(file_holds("data.db", "Number Seven"));
    OK(store_policy_set(store, "k", NULL, NOW, &err));
    OK(store_checkpoint(store, &err));
    assert_false(file_holds("data.db", "Number Seven"));
    assert_false(file_holds("data.db-wal", "Number Seven"));
    assert_true(store_bytes(store) > 4096);
}

static void survives_every_failing_allocation_of_its_own(void **state)
{
    unsigned long n = 1;

    store_close(store);
    for (;; n++) {
        store = NULL;
        fault_arm(FAULT_ALLOC, n);
        int rc = open_store();
        bool fired = fault_fired(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        assert_int_equal(rc, fired ? -ENOMEM : 0);
        if (!fired)
            break;
        assert_null(store);
    }
    assert_true(n >= 3);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(begins_empty_and_keeps_what_it_was_given),
        TEST(settings_are_those_that_durability_needs),
        TEST(a_second_process_is_told_who_has_it),
        TEST(a_newer_store_is_refused),
        TEST(another_program_s_database_is_refused),
        TEST(what_is_no_database_is_moved_aside),
        TEST(an_unclean_store_is_checked),
        TEST(groups_commit_or_vanish_together),
        TEST(a_checkpoint_leaves_no_deleted_text),
        TEST(survives_every_failing_allocation_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
