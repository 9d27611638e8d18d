// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/migrate.h"

#include "fixture.h"

#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "storage/store_policy.h"

// What this build has, and two steps that a later release might have.
enum { NOW_AT = STORE_SCHEMA, STEPS = STORE_SCHEMA + 2 };
static struct migration steps[STEPS];

static int migrate_setup(void **state)
{
    (void) setup(state);
    memcpy(steps, migrations, sizeof(steps[0]) * NOW_AT);
    steps[NOW_AT] = (struct migration){
        "9001_two", "CREATE TABLE two (a INTEGER NOT NULL) STRICT;"
                    "INSERT INTO two SELECT value FROM json_each('[1,2,3]');"};
    steps[NOW_AT + 1] =
        (struct migration){"9002_three", "ALTER TABLE two ADD COLUMN b INTEGER;"
                                         "UPDATE two SET b = a * 2;"};
    (void) sqlite3_limit(store->db, SQLITE_LIMIT_ATTACHED, 2);
    return 0;
}

static int64_t query(const char *sql)
{
    sqlite3_stmt *q;
    int64_t v = -1;

    if (sqlite3_prepare_v2(store->db, sql, -1, &q, NULL) == SQLITE_OK &&
        sqlite3_step(q) == SQLITE_ROW)
        v = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return v;
}

static void runs_the_steps_that_are_missing(void **state)
{
    char path[300], value[8];

    assert_int_equal(migration_count, STORE_SCHEMA);
    OK(store_policy_set(store, "k", "v", NOW, &err));
    OK(migrate_run(store, steps, STEPS, &err));
    assert_int_equal(query("PRAGMA user_version"), STEPS);
    assert_int_equal(query("SELECT sum(b) FROM two"), 12);
    OK(store_policy_get(store, "k", value, sizeof(value), &err));
    OK(migrate_run(store, steps, STEPS, &err)); // nothing to do

    // The copy made before holds what was there, at the old version.
    (void) snprintf(path, sizeof(path), "%s/data.db.backup-%d", dir, NOW_AT);
    sqlite3 *copy;
    sqlite3_stmt *q;
    assert_int_equal(sqlite3_open(path, &copy), SQLITE_OK);
    assert_int_equal(
        sqlite3_prepare_v2(copy,
                           "SELECT value, (SELECT user_version FROM"
                           " pragma_user_version) FROM policy",
                           -1, &q, NULL),
        SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    assert_string_equal((const char *) sqlite3_column_text(q, 0), "v");
    assert_int_equal(sqlite3_column_int(q, 1), NOW_AT);
    sqlite3_finalize(q);
    sqlite3_close(copy);
    OK(migrate_forget_backups(store, &err));
    assert_int_not_equal(access(path, F_OK), 0);
}

static void a_failing_step_leaves_the_version_before_it(void **state)
{
    steps[NOW_AT + 1].sql = "UPDATE two SET a = 7; SELECT * FROM nonsense;";
    assert_true(migrate_run(store, steps, STEPS, &err) < 0);
    assert_says(
        "migration 9002_three: cannot migrate the store: no such table");
    assert_int_equal(query("PRAGMA user_version"), NOW_AT + 1);
    assert_int_equal(query("SELECT sum(a) FROM two"), 6);
    assert_int_equal(migrate_check_version(store, NOW_AT, &err), -EPROTO);
}

// Dies when it is asked for the n-th time whether to go on.
static int on_progress(void *left)
{
    int *n = left;

    if (--*n == 0)
        raise(SIGKILL);
    return 0;
}

static void a_killed_migration_leaves_one_version_or_the_other(void **state)
{
    int status, kills = 0;

    OK(store_policy_set(store, "k", "v", NOW, &err));
    for (int n = 1;; n += 1 + n / 3) {
        store_close(store);
        store = NULL;
        remove_dir();
        assert_int_equal(mkdir(dir, 0700), 0);
        pid_t child = fork();
        if (child == 0) {
            if (open_store() < 0)
                _exit(1);
            (void) sqlite3_limit(store->db, SQLITE_LIMIT_ATTACHED, 2);
            int left = n;
            sqlite3_progress_handler(store->db, 20, on_progress, &left);
            _exit(migrate_run(store, steps, STEPS, &err) < 0 ? 1 : 0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        // What is newer than this build is refused there: look at it raw.
        char path[300];
        (void) snprintf(path, sizeof(path), "%s/data.db", dir);
        sqlite3 *db;
        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        struct store raw = {.db = db, .dir = dir};
        store = &raw;
        int64_t version = query("PRAGMA user_version");
        assert_in_range(version, NOW_AT, STEPS);
        assert_int_equal(query("SELECT count(*) FROM sqlite_schema WHERE name ="
                               " 'two'"),
                         version > NOW_AT);
        assert_int_equal(query("SELECT sum(b) FROM two"),
                         version == STEPS ? 12 : -1);
        assert_int_equal(query("SELECT count(*) FROM pragma_integrity_check"
                               " WHERE integrity_check <> 'ok'"),
                         0);
        sqlite3_close(db);
        store = NULL;
        if (WIFEXITED(status)) {
            assert_int_equal(WEXITSTATUS(status), 0);
            assert_int_equal(version, STEPS);
            break;
        }
        kills++;
    }
    assert_true(kills > 5);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, migrate_setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(runs_the_steps_that_are_missing),
        TEST(a_failing_step_leaves_the_version_before_it),
        TEST(a_killed_migration_leaves_one_version_or_the_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
