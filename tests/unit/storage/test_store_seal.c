// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_record.h"

#include "fixture.h"

#include <errno.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "engine/base/fault.h"
#include "storage/migrate.h"
#include "storage/store_key.h"

static char text[4][128];
static size_t n_texts;

static int on_text(const struct store_record *r, void *user)
{
    assert_true(n_texts < 4 && r->body_bytes < 128);
    memcpy(text[n_texts], r->body, r->body_bytes);
    text[n_texts++][r->body_bytes] = '\0';
    return 0;
}

static void read_texts(void)
{
    n_texts = 0;
    OK(store_record_each(store, NULL, 0, 0, true, on_text, NULL, &err));
}

static void sql(const char *statement)
{
    char *why = NULL;

    if (sqlite3_exec(store->db, statement, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s: %s", statement, why);
}

static int64_t number(const char *statement)
{
    sqlite3_stmt *q;
    int64_t n = -1;

    assert_int_equal(sqlite3_prepare_v2(store->db, statement, -1, &q, NULL),
                     SQLITE_OK);
    if (sqlite3_step(q) == SQLITE_ROW)
        n = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return n;
}

static void records_are_on_the_disk_sealed(void **state)
{
    (void) add_record("a", 1, "the lodger bubbled like a drain");
    OK(store_checkpoint(store, &err));
    (void) add_record("a", 2, "the bread was all right");
    assert_false(in_files("bubbled like"));
    assert_false(in_files("bread was"));
    reopen();
    read_texts();
    assert_int_equal(n_texts, 2);
    assert_string_equal(text[0], "the lodger bubbled like a drain");
    assert_string_equal(text[1], "the bread was all right");
}

// Whoever can write to the file moves a body to another row, or changes a
// column: the record cannot be read, the others can.
static void a_moved_or_changed_row_is_found_out(void **state)
{
    static const char *const changes[] = {
        "UPDATE records SET body = (SELECT body FROM records WHERE id = 1)"
        " WHERE id = 2",
        "UPDATE records SET stream_id = (SELECT max(id) FROM streams)"
        " WHERE id = 2",
        "UPDATE records SET time_ms = time_ms + 1 WHERE id = 2",
        "UPDATE records SET kind = 2 WHERE id = 2",
        "UPDATE records SET uid = randomblob(16) WHERE id = 2",
        "UPDATE records SET bytes = 3 WHERE id = 2",
        "UPDATE records SET body = substr(body, 1, 60) WHERE id = 2",
        "UPDATE records SET body = x'c100' WHERE id = 2",
        "UPDATE records SET body = CAST(x'c1' || randomblob(80) AS BLOB) WHERE id = 2",
        "UPDATE records SET body = CAST('plain' AS BLOB) WHERE id = 2",
    };

    (void) add_record("b", 1, "the lodger bubbled like a drain");
    (void) add_record("a", 2, "the bread was all right");
    (void) add_record("c", 3, "seven hives");
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        sql("BEGIN");
        sql(changes[i]);
        read_texts();
        assert_int_equal(n_texts, 3);
        assert_string_equal(text[1], "");
        assert_string_equal(text[2], "seven hives");
        store_rollback(store);
        read_texts();
        assert_string_equal(text[1], "the bread was all right");
    }
}

static void keys_are_for_an_app_and_a_month(void **state)
{
    const int64_t month = INT64_C(31) * 86400000;
    int64_t stream, id;
    bool is_new;

    (void) add_record("a", 1, "one");
    (void) add_record("b", 2, "two");
    assert_int_equal(number("SELECT count(*) FROM keys"), 1);
    OK(store_stream_make(store, "org.example", "a", NOW, &stream, &err));
    struct store_record r = record_of(stream, 3, "three");
    OK(store_record_put(store, &r, &id, &is_new, &err));
    assert_int_equal(number("SELECT count(*) FROM keys"), 2);
    r = record_of(stream, 4, "four");
    r.added_ms += month;
    OK(store_record_put(store, &r, &id, &is_new, &err));
    assert_int_equal(number("SELECT count(*) FROM keys"), 3);
    // A clock that was set back finds the key of then.
    r = record_of(stream, 5, "five");
    OK(store_record_put(store, &r, &id, &is_new, &err));
    assert_int_equal(number("SELECT count(*) FROM keys"), 3);
    // A tree has so many leaves.
    sql("UPDATE sqlite_sequence SET seq = 66000 WHERE name = 'records'");
    reopen();
    r = record_of(stream, 6, "six");
    OK(store_record_put(store, &r, &id, &is_new, &err));
    assert_int_equal(id, 66001);
    assert_int_equal(number("SELECT count(*) FROM keys"), 4);
    sql("DELETE FROM records WHERE id IN (1, 3)");
    read_texts();
    assert_int_equal(n_texts, 4);
    assert_string_equal(text[0], "two");
    assert_string_equal(text[3], "six");
}

static void a_rolled_back_key_is_not_used_again(void **state)
{
    int64_t stream, id;
    bool is_new;

    OK(store_stream_make(store, STORE_APP_HOST, "a", NOW, &stream, &err));
    struct store_record r = record_of(stream, 1, "one");
    OK(store_begin(store, &err));
    OK(store_record_put(store, &r, &id, &is_new, &err));
    store_rollback(store);
    assert_int_equal(number("SELECT count(*) FROM keys"), 0);
    OK(store_record_put(store, &r, &id, &is_new, &err));
    assert_true(is_new);
    reopen();
    read_texts();
    assert_string_equal(text[0], "one");
}

// The ciphertext and everything that is left cannot bring it back.
static void an_erased_record_has_no_key_any_more(void **state)
{
    uint8_t key_before[4096], body[256];
    int64_t ids[3];
    struct store_erased e;
    sqlite3_stmt *q;

    ids[0] = add_record("a", 1, "one of the lodgers");
    ids[1] = add_record("a", 2, "two of the lodgers");
    ids[2] = add_record("a", 3, "three of the lodgers");
    // Somebody kept the row, as flash memory does.
    sqlite3_prepare_v2(store->db, "SELECT body FROM records WHERE id = 2", -1,
                       &q, NULL);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    const int body_bytes = sqlite3_column_bytes(q, 0);
    memcpy(body, sqlite3_column_blob(q, 0), (size_t) body_bytes);
    sqlite3_finalize(q);
    sqlite3_prepare_v2(store->db, "SELECT sealed FROM keys", -1, &q, NULL);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    const int key_bytes = sqlite3_column_bytes(q, 0);
    memcpy(key_before, sqlite3_column_blob(q, 0), (size_t) key_bytes);
    sqlite3_finalize(q);
    sql("CREATE TEMP TABLE kept AS SELECT * FROM records");

    struct store_filter f = {.ids = &ids[1], .n_ids = 1};
    OK(store_record_erase(store, &f, false, NOW, &e, NULL, NULL, &err));
    assert_int_equal(e.records, 1);
    sql("INSERT INTO records SELECT * FROM temp.kept WHERE id = 2");
    read_texts();
    assert_int_equal(n_texts, 3);
    assert_string_equal(text[0], "one of the lodgers");
    assert_string_equal(text[1], "");
    assert_string_equal(text[2], "three of the lodgers");
    sql("DELETE FROM records WHERE id = 2");
    OK(store_checkpoint(store, &err));
    // The tree as it was, and the body, are in no file.
    char path[300];
    static char file[1 << 20];
    (void) snprintf(path, sizeof(path), "%s/data.db", dir);
    FILE *in = fopen(path, "r");
    const size_t n = fread(file, 1, sizeof(file), in);
    (void) fclose(in);
    assert_null(memmem(file, n, key_before, (size_t) key_bytes));
    assert_null(memmem(file, n, key_before + 30, 24));
    assert_null(memmem(file, n, body + 5, (size_t) body_bytes - 5));
    // With the last records the whole key goes.
    OK(store_record_erase(store, NULL, false, NOW, &e, NULL, NULL, &err));
    assert_int_equal(e.records, 2);
    assert_int_equal(number("SELECT count(*) FROM keys"), 0);
    (void) add_record("a", 4, "four");
    reopen();
    read_texts();
    assert_string_equal(text[0], "four");
}

static void path_of(char path[400], const char *name)
{
    (void) snprintf(path, 400, "%s/%s", dir, name);
}

static void copy_file(const char *from, const char *to)
{
    char command[1000];

    (void) snprintf(command, sizeof(command), "cp '%s/%s' '%s/%s'", dir, from,
                    dir, to);
    assert_int_equal(system(command), 0);
}

static void a_missing_or_wrong_key_is_refused_and_nothing_is_lost(void **state)
{
    char key[400], kept[400];

    (void) add_record("a", 1, "one");
    store_close(store);
    store = NULL;
    path_of(key, "pockd.key");
    path_of(kept, "kept");
    assert_int_equal(rename(key, kept), 0);
    assert_int_equal(open_store(), -ENOKEY);
    assert_says("is missing: put");
    assert_int_not_equal(access(key, F_OK), 0);
    FILE *f = fopen(key, "w");
    for (int i = 0; i < 32; i++)
        (void) fputs("5a", f);
    (void) fclose(f);
    assert_int_equal(open_store(), -ENOKEY);
    assert_says("put the right one back");
    (void) unlink(key);
    assert_int_equal(symlink("/dev/null", key), 0);
    assert_int_equal(open_store(), -EINVAL);
    assert_says("it has 0 bytes");
    (void) unlink(key);
    assert_int_equal(rename(kept, key), 0);
    OK(open_store());
    assert_false(report.is_degraded);
    read_texts();
    assert_string_equal(text[0], "one");
}

static void assert_adapter_opens(int64_t adapter, const char *content)
{
    struct store_version v;
    char got[64] = "";

    OK(store_version_get(store, adapter, 1, &v, &err));
    const int fd = store_blob_open(store, v.sha256, (uint64_t) v.bytes, &err);
    if (fd < 0)
        fail_msg("%s", err.text);
    assert_int_equal(pread(fd, got, sizeof(got) - 1, 0), strlen(content));
    (void) close(fd);
    assert_string_equal(got, content);
}

static void a_changed_key_opens_what_the_old_one_sealed(void **state)
{
    int64_t adapter;
    struct store_key_info before, after;
    uint8_t sealed[64];
    sqlite3_stmt *q;

    (void) add_record("a", 1, "one");
    OK(store_adapter_add(store, "mine", add_model("m"), NOW, &adapter, &err));
    (void) add_version(adapter, "weights", 0, STORE_GATE_PASSED);
    OK(store_key_info(store, &before, &err));
    assert_int_equal(before.place, STORE_KEY_FILE);
    assert_true(before.is_beside);
    assert_int_equal(before.keys, 1);
    sqlite3_prepare_v2(store->db, "SELECT sealed FROM keys", -1, &q, NULL);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    memcpy(sealed, sqlite3_column_blob(q, 0), sizeof(sealed));
    sqlite3_finalize(q);
    copy_file("pockd.key", "old.key");
    OK(store_key_rotate(store, STORE_KEY_SAME, &err));
    OK(store_key_info(store, &after, &err));
    assert_string_not_equal(before.name, after.name);
    (void) add_record("a", 2, "two");
    reopen();
    read_texts();
    assert_int_equal(n_texts, 2);
    assert_string_equal(text[0], "one");
    assert_string_equal(text[1], "two");
    assert_int_equal(number("SELECT count(*) FROM keys"), 1);
    assert_adapter_opens(adapter, "weights");
    char path[400], new[400];
    path_of(path, "pockd.key.new");
    assert_int_not_equal(access(path, F_OK), 0);
    store_close(store);
    store = NULL;
    path_of(path, "pockd.key");
    path_of(new, "new.key");
    assert_int_equal(rename(path, new), 0);
    copy_file("old.key", "pockd.key");
    assert_int_equal(open_store(), -ENOKEY);
    // As a credential, with the one before it beside it.
    char credentials[400];
    path_of(credentials, "credentials");
    assert_int_equal(mkdir(credentials, 0700), 0);
    copy_file("new.key", "credentials/pockd.key.old");
    copy_file("old.key", "credentials/pockd.key");
    OK(store_open(&store,
                  &(struct store_params){.dir = dir,
                                         .now_ms = NOW,
                                         .credentials = credentials},
                  &report, &err));
    read_texts();
    assert_string_equal(text[0], "one");
    OK(store_key_info(store, &after, &err));
    assert_int_equal(after.place, STORE_KEY_CREDENTIAL);
    assert_string_equal(after.name, before.name);
    assert_adapter_opens(adapter, "weights");
    assert_int_equal(store_key_rotate(store, STORE_KEY_SAME, &err),
                     -EOPNOTSUPP);
    assert_says("pockd.key.old");
}

// Killed at any place, it has one key or the other.
static void a_killed_change_of_the_key_leaves_one_that_opens(void **state)
{
    int status, kills = 0;

    (void) add_record("a", 1, "one");
    for (unsigned n = 1;; n++) {
        store_close(store);
        store = NULL;
        pid_t child = fork();
        if (child == 0) {
            OK(open_store());
            fault_arm(FAULT_STEP, n);
            _exit(store_key_rotate(store, STORE_KEY_SAME, &err) < 0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        OK(open_store());
        read_texts();
        assert_string_equal(text[0], "one");
        if (WIFEXITED(status)) {
            assert_int_equal(WEXITSTATUS(status), 0);
            break;
        }
        kills++;
    }
    assert_true(kills >= 3);
    // A disk that fails, too.
    for (unsigned n = 1;; n++) {
        fault_arm(FAULT_WRITE, n);
        int rc = store_key_rotate(store, STORE_KEY_SAME, &err);
        bool fired = fault_fired(FAULT_WRITE);
        fault_arm(FAULT_WRITE, 0);
        (void) add_record("a", 10 + n, "x");
        n_texts = 0;
        OK(store_record_get(store, 1, on_text, NULL, &err));
        assert_string_equal(text[0], "one");
        reopen();
        n_texts = 0;
        OK(store_record_get(store, 1, on_text, NULL, &err));
        assert_string_equal(text[0], "one");
        if (!fired) {
            assert_int_equal(rc, 0);
            break;
        }
    }
}

static void a_damaged_key_takes_only_its_own(void **state)
{
    (void) add_record("a", 1, "one");
    sql("UPDATE keys SET sealed = randomblob(76)");
    reopen();
    (void) add_record("a", 2, "two");
    read_texts();
    assert_int_equal(n_texts, 2);
    assert_string_equal(text[0], "");
    assert_string_equal(text[1], "two");
    assert_int_equal(number("SELECT count(*) FROM keys"), 2);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(records_are_on_the_disk_sealed),
        TEST(a_moved_or_changed_row_is_found_out),
        TEST(keys_are_for_an_app_and_a_month),
        TEST(a_rolled_back_key_is_not_used_again),
        TEST(an_erased_record_has_no_key_any_more),
        TEST(a_missing_or_wrong_key_is_refused_and_nothing_is_lost),
        TEST(a_changed_key_opens_what_the_old_one_sealed),
        TEST(a_killed_change_of_the_key_leaves_one_that_opens),
        TEST(a_damaged_key_takes_only_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
