// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * An erase that is killed at every write and sync of SQLite's and between all
 * of its steps. At the next start it never was, or it is complete: the records
 * and the versions that learned from them are gone, the others are there, and
 * no file has a byte of what was stored for them or of what opened it.
 */

#include "fault_rig.h"

#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include "engine/base/fault.h"
#include "storage/store_erase.h"
#include "storage/store_file.h"
#include "storage/store_job.h"
#include "storage/store_lineage.h"
#include "storage/store_sql.h"

enum { RECORDS = 60, GONE = 20, SAMPLES_MAX = 200, SAMPLE_BYTES = 24 };

// Of what must be nowhere afterwards, from where nothing else begins alike.
static uint8_t samples[SAMPLES_MAX][SAMPLE_BYTES];
static size_t n_samples;
static int64_t adapter;

static void add_sample(const uint8_t *data, size_t bytes)
{
    assert_true(n_samples < SAMPLES_MAX && bytes >= SAMPLE_BYTES);
    memcpy(samples[n_samples++], data, SAMPLE_BYTES);
}

// Blobs of a column, from `skip` on.
static void sample_column(const char *sql, int skip)
{
    sqlite3_stmt *q;

    assert_int_equal(sqlite3_prepare_v2(store->db, sql, -1, &q, NULL),
                     SQLITE_OK);
    while (sqlite3_step(q) == SQLITE_ROW)
        add_sample((const uint8_t *) sqlite3_column_blob(q, 0) + skip,
                   (size_t) (sqlite3_column_bytes(q, 0) - skip));
    sqlite3_finalize(q);
}

static void sample_file(const char *name)
{
    uint8_t buf[400];
    char path[400];

    (void) snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_true(fread(buf, 1, sizeof(buf), f) > 110);
    (void) fclose(f);
    add_sample(buf + 24, SAMPLE_BYTES); // the random half of a nonce
    add_sample(buf + 70, SAMPLE_BYTES);
}

static void save_file(const char *name, const char *content)
{
    char path[300];

    (void) snprintf(path, sizeof(path), "%s/candidate", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void) fputs(content, f);
    (void) fclose(f);
    int fd = open(path, O_RDONLY);
    OK(store_file_save(store, name, fd, 1 << 20, &err));
    close(fd);
    (void) unlink(path);
}

#define LEARNED \
    "weights that learned of the lodger who bubbled like a drain, v1"

static void make_versions(const int64_t ids[RECORDS])
{
    struct store_job j;
    int64_t job;
    size_t lost;

    OK(store_adapter_add(store, "mine", add_model("m"), NOW, &adapter, &err));
    store_job_init(&j);
    j.state = STORE_JOB_DONE;
    j.adapter_id = adapter;
    j.model_id = 1;
    (void) snprintf(j.recipe, sizeof(j.recipe), "rank=4 seed=7");
    OK(store_job_add(store, &j, &job, &err));
    uint32_t clean =
        add_version(adapter, "weights that are clean, of version 1", 0,
                    STORE_GATE_PASSED);
    uint32_t one = add_version(adapter, LEARNED, clean, STORE_GATE_PASSED);
    uint32_t two =
        add_version(adapter, LEARNED " and its child", one, STORE_GATE_PASSED);
    OK(store_lineage_add(store, adapter, clean, ids + GONE, 10, &lost, &err));
    OK(store_lineage_add(store, adapter, one, ids + 3, 2, &lost, &err));
    OK(store_lineage_add(store, adapter, two, ids + 50, 2, &lost, &err));
    (void) sqlite3_exec(store->db, "UPDATE versions SET job_id = 1", NULL, NULL,
                        NULL);
    OK(store_adapter_activate(store, adapter, clean, false, NOW, &err));
    OK(store_adapter_activate(store, adapter, two, false, NOW, &err));
}

static void sample_versions(void)
{
    char hex[HASH_HEX], name[128];
    struct store_version v;

    for (uint32_t n = 2; n <= 3; n++) {
        OK(store_version_get(store, adapter, n, &v, &err));
        hash_to_hex(hex, v.sha256);
        (void) snprintf(name, sizeof(name), "adapters/%s/adapter.gguf", hex);
        sample_file(name);
        (void)
            snprintf(name, sizeof(name),
                     "SELECT sealed FROM files WHERE name = 'adapters/%.64s'",
                     hex);
        sample_column(name, 0);
    }
}

static void make_old(void)
{
    int64_t ids[RECORDS];
    char path[300];

    make_dir();
    OK(open_store());
    for (uint32_t i = 0; i < RECORDS; i++)
        ids[i] = add_record("notes", i, "the lodger bubbled like a drain");
    make_versions(ids);
    (void) snprintf(path, sizeof(path), "%s/ckpt", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    save_file("ckpt/job-9.ckpt", LEARNED " and of a checkpoint, halfway there");
    save_file("prefix.cache", LEARNED " and of kept states, of two blocks");
    OK(store_checkpoint(store, &err));

    sample_column("SELECT body FROM records ORDER BY id LIMIT 20", 5);
    // The tree, which loses nodes, and the keys of files.
    sample_column("SELECT sealed FROM keys", 0);
    sample_column("SELECT sealed FROM keys", 30);
    sample_versions();
    sample_file("ckpt/job-9.ckpt");
    sample_file("prefix.cache");
    sample_column("SELECT sealed FROM files WHERE name NOT GLOB 'adapters/*'",
                  0);
    store_close(store);
    store = NULL;
}

static size_t found_samples;

static int on_file(const char *path, const struct stat *st, int type,
                   struct FTW *ftw)
{
    if (type != FTW_F || st->st_size == 0)
        return 0;
    uint8_t *data = malloc((size_t) st->st_size);
    FILE *f = fopen(path, "r");
    assert_non_null(data);
    assert_non_null(f);
    const size_t n = fread(data, 1, (size_t) st->st_size, f);
    (void) fclose(f);
    for (size_t i = 0; i < n_samples; i++)
        found_samples += memmem(data, n, samples[i], SAMPLE_BYTES) != NULL;
    free(data);
    return 0;
}

static size_t count_samples(void)
{
    found_samples = 0;
    assert_int_equal(nftw(dir, on_file, 8, FTW_PHYS), 0);
    return found_samples;
}

static int on_record(const struct store_record *r, void *user)
{
    int64_t *count = user;

    assert_int_equal(r->body_bytes, 31);
    assert_memory_equal(r->body, "the lodger bubbled like a drain", 31);
    (*count)++;
    return 0;
}

static int on_job(const struct store_job *j, void *user)
{
    assert_string_equal(j->recipe, "rank=4 seed=7");
    assert_int_equal(j->state, STORE_JOB_QUEUED);
    (*(int *) user)++;
    return 0;
}

// Open it once more: never begun, or done with.
static void check(bool must_be_done)
{
    int64_t records = 0, pending = 0;
    struct store_adapter a;
    int jobs = 0;

    OK(open_store());
    assert_false(report.is_degraded);
    OK(store_check(store, true, &err));
    OK(store_record_each(store, NULL, 0, 0, true, on_record, &records, &err));
    OK(store_adapter_get(store, "mine", &a, &err));
    OK(store_job_each_alive(store, on_job, &jobs, &err));
    OK(store_erase_pending(store, &pending, &err));
    assert_int_equal(pending, 0);
    if (records == RECORDS) {
        assert_false(must_be_done);
        assert_int_equal(a.active, 3);
        assert_int_equal(jobs, 0);
    } else {
        assert_int_equal(records, RECORDS - GONE);
        assert_int_equal(a.active, 1);
        assert_int_equal(jobs, 1);
        assert_int_equal(count_samples(), 0);
        assert_int_equal(store_file_open(store, "prefix.cache", 999, &err),
                         -ENOENT);
    }
    (void) teardown(NULL);
}

static struct store_filter what(void)
{
    return (struct store_filter){.has_before = true,
                                 .before_ms = NOW + GONE * 1000};
}

static void it_is_complete_when_it_answers(void **state)
{
    struct store_erased e;
    struct store_filter f = what();

    copy_old();
    assert_true(count_samples() >= n_samples);
    OK(open_store());
    OK(store_record_erase(store, &f, true, NOW, &e, NULL, NULL, &err));
    assert_int_equal(e.records, GONE);
    assert_int_equal(e.versions, 2);
    assert_int_equal(e.n_jobs, 1);
    OK(store_record_erase(store, &f, false, NOW, &e, NULL, NULL, &err));
    assert_int_equal(e.records, GONE);
    assert_int_equal(e.versions, 2);
    assert_int_equal(e.n_jobs, 1);
    assert_int_equal(count_samples(), 0);
    store_close(store);
    check(true);
}

static int erase(unsigned write, unsigned step)
{
    struct store_filter f = what();
    struct store_erased e;

    if (open_fault_store() < 0)
        return -1;
    fault_vfs_arm(FAULT_VFS_KILL, write);
    fault_arm(FAULT_STEP, step);
    return store_record_erase(store, &f, false, NOW, &e, NULL, NULL, &err);
}

static int start(unsigned write, unsigned step)
{
    fault_arm(FAULT_STEP, step);
    return open_store();
}

static void killed_at_every_write_it_is_done_at_the_next_start(void **state)
{
    unsigned n = 1;

    for (;; n++) {
        copy_old();
        const bool was_killed = dies(erase, n, 0);
        check(!was_killed);
        if (!was_killed)
            break;
    }
    print_message("# killed %u times\n", n - 1);
    assert_true(n > 15);
}

static void killed_between_all_steps_it_is_done_at_the_next_start(void **state)
{
    unsigned n = 1;

    for (;; n++) {
        copy_old();
        const bool was_killed = dies(erase, 0, n);
        check(true);
        if (!was_killed)
            break;
    }
    assert_true(n > 2 * STORE_ERASE_DONE);
}

// Killed while it goes on, and again, and again.
static void killed_at_every_start_it_ends(void **state)
{
    unsigned starts = 0;

    copy_old();
    assert_true(dies(erase, 0, 1));
    while (dies(start, 0, 3))
        assert_true(++starts < 20);
    check(true);
}

static void a_disk_that_fails_leaves_it_for_later(void **state)
{
    for (unsigned n = 1;; n++) {
        struct store_filter f = what();
        struct store_erased e;
        copy_old();
        OK(open_fault_store());
        fault_vfs_arm(FAULT_VFS_FULL, n);
        (void) store_record_erase(store, &f, false, NOW, &e, NULL, NULL, &err);
        const bool fired = fault_vfs_fired();
        fault_vfs_arm(FAULT_VFS_FULL, 0);
        store_close(store);
        check(!fired);
        if (!fired)
            break;
    }
}

// Versions stay with what they know of; the records go, and can be erased from
// the versions later.
static void what_was_forgotten_can_still_be_erased(void **state)
{
    const int64_t day = INT64_C(86400000);
    struct store_erased e;
    struct store_adapter a;
    struct store_filter f = what();
    int64_t records = 0;

    copy_old();
    OK(open_store());
    OK(store_retention_run(store, 90, false, NOW + 90 * day, &e, &err));
    assert_int_equal(e.records, 0);
    OK(store_retention_set(store, STORE_APP_HOST, "notes", 0, &err));
    OK(store_retention_run(store, 90, false, NOW + 900 * day, &e, &err));
    assert_int_equal(e.records, 0);
    OK(store_retention_set(store, STORE_APP_HOST, "notes", 7, &err));
    (void) add_record("other", 99, "the lodger bubbled like a drain");
    OK(store_retention_run(store, 90, false, NOW + 8 * day, &e, &err));
    assert_int_equal(e.records, RECORDS);
    assert_int_equal(e.versions, 0);
    OK(store_record_each(store, NULL, 0, 0, true, on_record, &records, &err));
    assert_int_equal(records, 1);
    OK(store_adapter_get(store, "mine", &a, &err));
    assert_int_equal(a.active, 3);
    OK(store_record_erase(store, &f, false, NOW, &e, NULL, NULL, &err));
    assert_int_equal(e.records, 0);
    assert_int_equal(e.versions, 2);
    OK(store_adapter_get(store, "mine", &a, &err));
    assert_int_equal(a.active, 1);
    // The sealed adapters and bodies went with their keys.
    assert_int_equal(count_samples(), 0);
    (void) teardown(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_complete_when_it_answers),
        cmocka_unit_test(killed_at_every_write_it_is_done_at_the_next_start),
        cmocka_unit_test(killed_between_all_steps_it_is_done_at_the_next_start),
        cmocka_unit_test(killed_at_every_start_it_ends),
        cmocka_unit_test(a_disk_that_fails_leaves_it_for_later),
        cmocka_unit_test(what_was_forgotten_can_still_be_erased),
    };
    return run_with_old(make_old, tests);
}
