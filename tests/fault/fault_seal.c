// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * A store of the release before there were keys, while it is sealed: killed at
 * every write and sync of SQLite's and between all steps, it goes on, keeps
 * every record, and leaves none of the texts on the disk.
 */

#include "fault_rig.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include "engine/base/fault.h"
#include "storage/migrate.h"
#include "storage/store_file.h"

enum { RECORDS = 1300, OLD_SCHEMA = 3 };

#define ADAPTER    "canary-adapter: weights that know the lodger"
#define CHECKPOINT "canary-checkpoint: half of them"

static void text_of(char text[200], int number)
{
    (void) snprintf(text, 200,
                    "canary-%05d: the lodger bubbled like a drain, %d times, "
                    "and asked for %d more of the bread",
                    number, number * 7, number % 13);
}

static void run(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
}

static void write_file(const char *name, const char *content)
{
    char path[400];

    (void) snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void) fputs(content, f);
    (void) fclose(f);
}

// What lies beside the database: an adapter, a checkpoint, kept states.
static void make_files(sqlite3 *db)
{
    char hex[HASH_HEX], name[400], sql[700];
    uint8_t hash[32];

    hash_bytes(hash, ADAPTER, strlen(ADAPTER));
    hash_to_hex(hex, hash);
    (void) snprintf(name, sizeof(name), "%s/adapters", dir);
    assert_int_equal(mkdir(name, 0700), 0);
    (void) snprintf(name, sizeof(name), "%s/adapters/%s", dir, hex);
    assert_int_equal(mkdir(name, 0700), 0);
    (void) snprintf(name, sizeof(name), "%s/ckpt", dir);
    assert_int_equal(mkdir(name, 0700), 0);
    (void) snprintf(name, sizeof(name), "adapters/%s/adapter.gguf", hex);
    write_file(name, ADAPTER);
    write_file("ckpt/job-1.ckpt", CHECKPOINT);
    write_file("prefix.cache", "canary-states");
    (void) snprintf(
        sql, sizeof(sql),
        "INSERT INTO models VALUES (1, 'm', '/m', zeroblob(32), 1, 0, 1, 1,"
        " '', '', '', 1, 1, 1, 1, 1, '', '');"
        "INSERT INTO adapters VALUES (1, 'mine', 1, 1, 2);"
        "INSERT INTO versions (adapter_id, version, is_imported, created_ms,"
        " sha256, bytes, rank, records, gate, reason) VALUES (1, 1, 0, 1,"
        " x'%s', %zu, 1, 1, 1, '')",
        hex, strlen(ADAPTER));
    run(db, sql);
}

// As the old release left it: pages that rows have left, a log, a copy.
static void make_old(void)
{
    char path[300], text[200];
    sqlite3 *db;
    sqlite3_stmt *q;

    make_dir();
    (void) snprintf(path, sizeof(path), "%s/data.db", dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    run(db, "PRAGMA journal_mode = WAL");
    for (size_t i = 0; i < OLD_SCHEMA; i++)
        run(db, migrations[i].sql);
    run(db, "PRAGMA application_id = 0x504f434b; PRAGMA user_version = 3;"
            "INSERT INTO streams VALUES (1, 'host', 'notes', 1), (2, 'host',"
            " 'chats', 1); BEGIN");
    assert_int_equal(
        sqlite3_prepare_v2(db,
                           "INSERT INTO records VALUES (?1, CAST(printf("
                           "'%016d', ?1) AS BLOB), 1 + ?1 % 2, 1, ?1 * 1000,"
                           " 1740787200000 + ?1 * 86400000, length(?2), ?2)",
                           -1, &q, NULL),
        SQLITE_OK);
    for (int i = 1; i <= RECORDS; i++) {
        text_of(text, i);
        (void) sqlite3_bind_int(q, 1, i);
        (void) sqlite3_bind_blob(q, 2, text, (int) strlen(text),
                                 SQLITE_TRANSIENT);
        assert_int_equal(sqlite3_step(q), SQLITE_DONE);
        (void) sqlite3_reset(q);
    }
    sqlite3_finalize(q);
    make_files(db);
    run(db, "COMMIT; PRAGMA secure_delete = OFF;"
            "DELETE FROM records WHERE id > 1200");
    sqlite3_close(db);
}

static void copy_plain(void)
{
    copy_old();
    assert_true(in_files("canary-00007"));
    assert_true(in_files("canary-01234")); // deleted, but not overwritten
}

static int found;

static int on_record(const struct store_record *r, void *user)
{
    char text[200];

    found++;
    assert_int_equal(r->id, found);
    text_of(text, found);
    assert_int_equal(r->body_bytes, strlen(text));
    assert_memory_equal(r->body, text, r->body_bytes);
    return 0;
}

static void check_file(int fd, const char *content)
{
    char buf[100];

    if (fd < 0)
        fail_msg("%d: %s", fd, err.text);
    assert_int_equal(read(fd, buf, sizeof(buf)), strlen(content));
    assert_memory_equal(buf, content, strlen(content));
    (void) close(fd);
}

static void check_files(void)
{
    uint8_t hash[32];
    char path[300];

    hash_bytes(hash, ADAPTER, strlen(ADAPTER));
    check_file(store_blob_open(store, hash, strlen(ADAPTER), &err), ADAPTER);
    check_file(store_file_open(store, "ckpt/job-1.ckpt", 100, &err),
               CHECKPOINT);
    (void) snprintf(path, sizeof(path), "%s/prefix.cache", dir);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void check_sealed(void)
{
    found = 0;
    OK(open_store());
    assert_false(report.is_degraded);
    OK(store_record_each(store, NULL, 0, 0, true, on_record, NULL, &err));
    assert_int_equal(found, 1200);
    assert_int_equal(report.lost, 0);
    check_files();
    OK(store_check(store, true, &err));
    assert_false(in_files("canary-"));
    (void) teardown(NULL);
}

static int seal(unsigned write, unsigned step)
{
    fault_vfs_arm(FAULT_VFS_KILL, write);
    fault_arm(FAULT_STEP, step);
    return open_fault_store();
}

static void an_old_store_is_sealed(void **state)
{
    copy_plain();
    OK(open_store());
    assert_int_equal(report.sealed, 1200);
    store_close(store);
    OK(open_store());
    assert_int_equal(report.sealed, 0);
    store_close(store);
    check_sealed();
}

static void killed_at_every_write_it_goes_on(void **state)
{
    unsigned kills = 0;

    for (unsigned n = 1;; n += 1 + n / 16) {
        copy_plain();
        const bool was_killed = dies(seal, n, 0);
        check_sealed();
        kills += was_killed;
        if (!was_killed)
            break;
    }
    print_message("# killed %u times\n", kills);
    assert_true(kills > 30);
}

static void killed_between_all_steps_it_goes_on(void **state)
{
    unsigned n = 1;

    for (;; n++) {
        copy_plain();
        const bool was_killed = dies(seal, 0, n);
        check_sealed();
        if (!was_killed)
            break;
    }
    assert_true(n > 3);
}

static void a_full_disk_loses_nothing(void **state)
{
    for (unsigned n = 1;; n += 1 + n / 8) {
        copy_plain();
        fault_vfs_arm(FAULT_VFS_FULL, n);
        const int rc = open_fault_store();
        const bool fired = fault_vfs_fired();
        if (rc == 0)
            store_close(store);
        store = NULL;
        fault_vfs_arm(FAULT_VFS_FULL, 0);
        check_sealed();
        if (!fired)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_old_store_is_sealed),
        cmocka_unit_test(killed_at_every_write_it_goes_on),
        cmocka_unit_test(killed_between_all_steps_it_goes_on),
        cmocka_unit_test(a_full_disk_loses_nothing),
    };
    return run_with_old(make_old, tests);
}
