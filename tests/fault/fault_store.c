// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * The store against a disk that fails, power that goes, and SIGKILL: what was
 * acknowledged is there, nothing is half there, the file is sound.
 */

#include "../unit/storage/fixture.h"

#include "engine/base/memfile.h"
#include "fault_vfs.h"
#include "storage/store_policy.h"

#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

enum { GROUP = 4, GROUPS = 6, TEXT = 700 };

// What the scenario was told is durable.
static struct {
    uint32_t groups;
    bool is_activated;
    bool is_erased;
} acked;

static const char *vfs_name;

// Of the operations that could fail each n-th: 1, or more where all is slow.
static unsigned stride = 1;

static int open_with(const char *vfs)
{
    return store_open(&store,
                      &(struct store_params){.dir = dir,
                                             .vfs = vfs,
                                             .now_ms = NOW},
                      &report, &err);
}

static void fill_text(char text[TEXT], uint32_t number)
{
    for (int i = 0; i < TEXT - 1; i++)
        text[i] = (char) ('a' + (number * 7 + (uint32_t) i * 13) % 26);
    text[TEXT - 1] = '\0';
}

static int put_group(int64_t stream, uint32_t group)
{
    char text[TEXT];
    int rc = store_begin(store, &err);

    for (uint32_t i = 0; rc == 0 && i < GROUP; i++) {
        int64_t id;
        bool is_new;
        fill_text(text, group * GROUP + i);
        struct store_record r = record_of(stream, group * GROUP + i, text);
        rc = store_record_put(store, &r, &id, &is_new, &err);
    }
    if (rc < 0) {
        store_rollback(store);
        return rc;
    }
    return store_commit(store, &err);
}

static int activate(void)
{
    struct store_model m;
    struct store_adapter a;
    struct store_version v;
    uint32_t number;
    int64_t id = 0;
    int rc = store_model_get(store, "m", &m, &err);

    if (rc == -ENOENT) {
        m = (struct store_model){.name = "m", .path = "/m", .bytes = 1};
        rc = store_model_add(store, &m, &m.id, &err);
    }
    if (rc == 0)
        rc = store_adapter_add(store, "mine", m.id, NOW, &id, &err);
    int fd = -1;
    if (rc == 0)
        rc = memfile_from_bytes(&fd, "adapter", "an adapter", 10);
    store_version_init(&v);
    uint64_t bytes = 0;
    if (rc == 0)
        rc = store_blob_put_fd(store, fd, 1 << 26, v.sha256, &bytes, &err);
    close(fd);
    v.adapter_id = id;
    v.bytes = (int64_t) bytes;
    v.gate = STORE_GATE_PASSED;
    if (rc == 0)
        rc = store_version_add(store, &v, &number, &err);
    if (rc == 0)
        rc = store_adapter_activate(store, id, number, false, NOW, &err);
    if (rc == 0)
        rc = store_adapter_get(store, "mine", &a, &err);
    return rc;
}

static int scenario(void)
{
    struct store_erased e;
    struct store_filter f = {.has_before = true,
                             .before_ms = NOW + GROUP * 1000};
    int64_t stream = 0;
    int rc = open_with(vfs_name);

    if (rc < 0)
        return rc;
    rc = store_stream_make(store, STORE_APP_HOST, "notes", NOW, &stream, &err);
    for (uint32_t g = 0; rc == 0 && g < GROUPS; g++) {
        rc = put_group(stream, g);
        acked.groups += rc == 0;
        if (rc == 0 && g == GROUPS / 2)
            rc = store_checkpoint(store, &err);
    }
    if (rc == 0) {
        rc = activate();
        acked.is_activated = rc == 0;
    }
    if (rc == 0) {
        rc = store_record_erase(store, &f, false, NOW, &e, NULL, NULL, &err);
        acked.is_erased = rc == 0;
    }
    return rc;
}

static uint32_t found[GROUPS];

static int on_record(const struct store_record *r, void *user)
{
    char text[TEXT];
    uint32_t number = (uint32_t) ((r->time_ms - NOW) / 1000);

    assert_true(number < GROUPS * GROUP);
    fill_text(text, number);
    assert_int_equal(r->body_bytes, TEXT - 1);
    assert_memory_equal(r->body, text, TEXT - 1);
    found[number / GROUP]++;
    return 0;
}

// The disk is well again.
static void check_what_is_left(bool erase_began)
{
    struct store_adapter a;

    OK(open_with(NULL));
    assert_false(report.is_degraded);
    OK(store_check(store, true, &err));
    memset(found, 0, sizeof(found));
    OK(store_record_each(store, NULL, 0, 0, true, on_record, NULL, &err));
    for (uint32_t g = 0; g < GROUPS; g++) {
        // Group 0 is what the erase takes.
        if (g < acked.groups && !(g == 0 && erase_began))
            assert_int_equal(found[g], GROUP);
        else
            assert_true(found[g] == 0 || found[g] == GROUP);
    }
    if (acked.is_erased)
        assert_int_equal(found[0], 0);
    if (acked.is_activated) {
        OK(store_adapter_get(store, "mine", &a, &err));
        assert_int_equal(a.active, 1);
        assert_int_equal(report.lost, 0);
    }
}

static void run_mode(enum fault_vfs_mode mode)
{
    unsigned n = 1 + (unsigned) mode % stride;

    vfs_name = "fault";
    for (;; n += stride) {
        make_dir();
        memset(&acked, 0, sizeof(acked));
        fault_vfs_arm(mode, n);
        int rc = scenario();
        bool fired = fault_vfs_fired();
        if (!fired && rc < 0)
            fail_msg("%d: %s", rc, err.text);
        else if (rc < 0)
            assert_true(rc == -ENOSPC || rc == -EIO);
        // The close fails as well where the disk stays broken.
        store_close(store);
        store = NULL;
        if (mode == FAULT_VFS_POWER)
            fault_vfs_lose_power(n);
        fault_vfs_arm(mode, 0);
        check_what_is_left(acked.is_activated);
        (void) teardown(NULL);
        if (!fired)
            break;
    }
    assert_true(n > 50);
}

static void a_disk_that_is_full_once(void **state)
{
    run_mode(FAULT_VFS_FULL_ONCE);
}

static void a_disk_that_stays_full(void **state)
{
    run_mode(FAULT_VFS_FULL);
}

static void an_error_of_the_disk(void **state)
{
    run_mode(FAULT_VFS_EIO_ONCE);
}

static void a_torn_write(void **state)
{
    run_mode(FAULT_VFS_TORN);
}

static void a_power_loss(void **state)
{
    run_mode(FAULT_VFS_POWER);
}

static void ingest_goes_on_after_space_was_freed(void **state)
{
    int64_t stream;

    make_dir();
    OK(open_with("fault"));
    OK(store_stream_make(store, STORE_APP_HOST, "notes", NOW, &stream, &err));
    fault_vfs_arm(FAULT_VFS_FULL, 1);
    assert_int_equal(put_group(stream, 0), -ENOSPC);
    assert_says("no space left in");
    fault_vfs_arm(FAULT_VFS_FULL, 0);
    OK(put_group(stream, 0));
    OK(store_check(store, true, &err));
    (void) teardown(NULL);
}

// Puts groups for ever, and counts in shared memory what was acknowledged.
static void put_for_ever(volatile uint32_t *count)
{
    int64_t stream;

    if (open_with(NULL) < 0 || store_stream_make(store, STORE_APP_HOST, "notes",
                                                 NOW, &stream, &err) < 0)
        _exit(1);
    for (;;) {
        char text[TEXT];
        if (store_begin(store, &err) < 0)
            _exit(1);
        for (uint32_t i = 0; i < GROUP; i++) {
            int64_t id;
            bool is_new;
            fill_text(text, *count * GROUP + i);
            struct store_record r = record_of(stream, *count * GROUP + i, text);
            if (store_record_put(store, &r, &id, &is_new, &err) < 0)
                _exit(1);
        }
        if (store_commit(store, &err) < 0)
            _exit(1);
        (*count)++;
    }
}

static int on_stream(const struct store_stream *st, void *user)
{
    *(int64_t *) user += st->records;
    return 0;
}

static void acknowledged_records_survive_sigkill(void **state)
{
    uint64_t x = 42;
    int status;
    int64_t records = 0;
    volatile uint32_t *count = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
                                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_true(count != MAP_FAILED);
    make_dir();
    for (int cycle = 0; cycle < 50; cycle++) {
        uint32_t before = *count;
        pid_t child = fork();
        if (child == 0)
            put_for_ever(count);
        // Now and then it got somewhere, however busy the machine is.
        for (int ms = 0; cycle % 5 == 0 && *count == before && ms < 30000; ms++)
            (void) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        x = x * 6364136223846793005u + 1442695040888963407u;
        const struct timespec t = {.tv_nsec =
                                       1000000 + (long) (x >> 40) % 25000000};
        (void) nanosleep(&t, NULL);
        (void) kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));

        OK(open_with(NULL));
        assert_false(report.is_degraded);
        records = 0;
        OK(store_record_count(store, NULL, on_stream, &records, &err));
        // The last group may be in, though nobody was told.
        assert_true(records == (int64_t) *count * GROUP ||
                    records == ((int64_t) *count + 1) * GROUP);
        *count = (uint32_t) (records / GROUP);
        assert_true(*count >= before);
        store_close(store);
        store = NULL;
    }
    assert_true(records > 0);
    remove_dir();
    (void) munmap((void *) (uintptr_t) count, 4096);
}

// Killed between fork() and exec() of a worker, it leaves a child that has its
// lock for a moment. Who is there for good is told of at once.
static void a_lock_that_outlives_its_owner_is_waited_for(void **state)
{
    const struct timespec moment = {.tv_nsec = 300000000};
    int ready[2], status;
    char byte;

    make_dir();
    assert_int_equal(pipe(ready), 0);
    const pid_t owner = fork();
    if (owner == 0) {
        if (open_with(NULL) < 0)
            _exit(1);
        const pid_t child = fork();
        if (child == 0) {
            (void) nanosleep(&moment, NULL);
            _exit(0);
        }
        (void) !write(ready[1], "x", 1);
        (void) pause();
        _exit(1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(open_with(NULL), -EBUSY);
    assert_says("in use by process");
    (void) kill(owner, SIGKILL);
    assert_int_equal(waitpid(owner, &status, 0), owner);
    OK(open_with(NULL));
    (void) close(ready[0]);
    (void) close(ready[1]);
    (void) teardown(NULL);
}

static int on_policy(const char *key, const char *value, void *user)
{
    *(int *) user += strlen(key) > 0 && strcmp(value, "7") == 0;
    return 0;
}

static void run_sql(const char *sql)
{
    char path[300];
    sqlite3 *db;

    (void) snprintf(path, sizeof(path), "%s/data.db", dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

// A damaged page can say so of a column that the schema keeps from it.
static void a_setting_that_is_nothing_is_left_out(void **state)
{
    int n = 0;

    make_dir();
    OK(open_with(NULL));
    OK(store_policy_set(store, "idle_s", "7", NOW, &err));
    OK(store_policy_set(store, "min_records", "7", NOW, &err));
    store_close(store);
    run_sql("PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql ="
            " replace(sql, 'NOT NULL', '') WHERE name = 'policy'");
    run_sql("UPDATE policy SET value = NULL WHERE key = 'min_records'");
    OK(open_with(NULL));
    OK(store_policy_each(store, on_policy, &n, &err));
    assert_int_equal(n, 1);
    (void) teardown(NULL);
}

// usage: fault_store [--third]     --third: of the operations that could fail
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_setting_that_is_nothing_is_left_out),
        cmocka_unit_test(a_lock_that_outlives_its_owner_is_waited_for),
        cmocka_unit_test(a_disk_that_is_full_once),
        cmocka_unit_test(a_disk_that_stays_full),
        cmocka_unit_test(an_error_of_the_disk),
        cmocka_unit_test(a_torn_write),
        cmocka_unit_test(a_power_loss),
        cmocka_unit_test(ingest_goes_on_after_space_was_freed),
        cmocka_unit_test(acknowledged_records_survive_sigkill),
    };
    if (argc > 1 && strcmp(argv[1], "--third") == 0)
        stride = 3;
    if (fault_vfs_register() != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
