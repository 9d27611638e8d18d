// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Opening, in order: directory, lock, connection, settings, whose file it is,
 * was it closed well (else check it), migrations, adapter files. A database
 * that is damaged is moved aside once, and a new one begun: the daemon then
 * runs degraded, instead of never.
 */

#include "storage/store.h"

#include "engine/base/fault.h"
#include "storage/blob.h"
#include "storage/migrate.h"
#include "storage/store_adapter.h"
#include "storage/store_audit.h"
#include "storage/store_erase.h"
#include "storage/store_key.h"
#include "storage/store_sql.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    APPLICATION_ID = 0x504f434b, // "POCK"
    HEAP_BYTES_MAX = 64 << 20,
    ROW_BYTES_MAX = 4 << 20,
    SQL_BYTES_MAX = 64 << 10,
    LOCK_PAUSE_MS = 10,
    LOCK_PAUSES_MAX = 300,
};

static int no_dir(const struct store *s, const char *what, struct error *err)
{
    const int rc = -errno;

    return error_set(err, rc, "cannot %s %s: %s", what, s->dir, strerror(-rc));
}

static int open_dir(struct store *s, struct error *err)
{
    struct stat st;

    if (mkdir(s->dir, 0700) < 0 && errno != EEXIST)
        return no_dir(s, "make", err);
    s->dirfd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->dirfd < 0)
        return no_dir(s, "open", err);
    // Whoever made it: nobody else may look inside.
    if (fstat(s->dirfd, &st) < 0 ||
        ((st.st_mode & 077) && fchmod(s->dirfd, 0700) < 0))
        return no_dir(s, "close to others", err);
    if (mkdirat(s->dirfd, "adapters", 0700) < 0 && errno != EEXIST)
        return no_dir(s, "make adapters in", err);
    s->adapters_dirfd =
        openat(s->dirfd, "adapters", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return s->adapters_dirfd < 0 ? no_dir(s, "open adapters in", err) : 0;
}

// Who wrote its pid into the lock; 0: nobody knows.
static long lock_owner(const struct store *s)
{
    char pid[16] = "";
    const ssize_t n = pread(s->lockfd, pid, sizeof(pid) - 1, 0);

    pid[n > 0 ? n : 0] = '\0';
    return strtol(pid, NULL, 10);
}

// A daemon that was killed while it made a worker leaves a child that has all
// of its descriptors until it becomes another program: soon.
static int wait_for_lock(struct store *s)
{
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000L};

    for (int i = 0; flock(s->lockfd, LOCK_EX | LOCK_NB) < 0; i++) {
        const int why = errno;
        const long owner = lock_owner(s);
        if (why != EWOULDBLOCK || i == LOCK_PAUSES_MAX || owner <= 0 ||
            kill((pid_t) owner, 0) == 0 || errno != ESRCH)
            return -why;
        (void) nanosleep(&pause, NULL);
    }
    return 0;
}

static int take_lock(struct store *s, struct error *err)
{
    char pid[16];

    s->lockfd = openat(s->dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lockfd < 0)
        return no_dir(s, "make a lock in", err);
    const int rc = wait_for_lock(s);
    if (rc == -EWOULDBLOCK)
        return error_set(err, -EBUSY,
                         "the store in %s is in use by process %ld: stop that "
                         "pockd, or name another state directory",
                         s->dir, lock_owner(s));
    if (rc < 0)
        return error_set(err, rc, "cannot lock %s: %s", s->dir, strerror(-rc));
    int n = snprintf(pid, sizeof(pid), "%ld\n", (long) getpid());
    // Only for the sentence above: not worth failing for.
    if (ftruncate(s->lockfd, 0) < 0 ||
        pwrite(s->lockfd, pid, (size_t) n, 0) < 0)
        return 0;
    return 0;
}

static void disconnect(struct store *s)
{
    store_sql_forget(s);
    (void) sqlite3_close(s->db);
    s->db = NULL;
}

static int connect_db(struct store *s, struct error *err)
{
    char path[STORE_PATH_SIZE];
    int n = snprintf(path, sizeof(path), "%s/data.db", s->dir);

    if (n < 0 || (size_t) n >= sizeof(path))
        return error_set(err, -ENAMETOOLONG, "the path %s is too long", s->dir);
    (void) sqlite3_hard_heap_limit64(HEAP_BYTES_MAX);
    int rc = sqlite3_open_v2(path, &s->db,
                             SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
                                 SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                             s->vfs);
    if (rc != SQLITE_OK)
        return store_sql_error(s, rc, "open the database", err);
    (void) sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    (void) sqlite3_db_config(s->db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    (void) sqlite3_db_config(s->db, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
    (void) sqlite3_db_config(s->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    (void) sqlite3_db_config(s->db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0,
                             NULL);
    (void) sqlite3_limit(s->db, SQLITE_LIMIT_LENGTH, ROW_BYTES_MAX);
    (void) sqlite3_limit(s->db, SQLITE_LIMIT_SQL_LENGTH, SQL_BYTES_MAX);
    return 0;
}

// Exclusive: one process through one connection, so no -shm is needed. Random
// uids touch an index page for each record: a log of 16 MiB takes four times
// as many commits as the default before they are copied and synced.
static int set_pragmas(struct store *s, struct error *err)
{
    int rc = store_sql_exec(s,
                            "PRAGMA busy_timeout = 5000;"
                            "PRAGMA locking_mode = EXCLUSIVE;"
                            "PRAGMA journal_mode = WAL;"
                            "PRAGMA synchronous = FULL;"
                            "PRAGMA foreign_keys = ON;"
                            "PRAGMA secure_delete = ON;"
                            "PRAGMA cell_size_check = ON;"
                            "PRAGMA mmap_size = 0;"
                            "PRAGMA wal_autocheckpoint = 4000;"
                            "PRAGMA journal_size_limit = 16777216;",
                            "open the database", err);
    return rc < 0 ? rc : store_sql_make_temp(s, err);
}

int store_sql_make_temp(struct store *s, struct error *err)
{
    return store_sql_exec(s,
                          "PRAGMA temp_store = MEMORY;"
                          "CREATE TEMP TABLE IF NOT EXISTS erasing"
                          " (id INTEGER PRIMARY KEY) STRICT",
                          "open the database", err);
}

// A statement whose first row's first column is the answer.
static int query_int(struct store *s, const char *sql, int64_t *out,
                     struct error *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = store_sql(s, &stmt, sql, err);

    if (rc < 0)
        return rc;
    rc = store_sql_step(s, stmt, "read the database", err);
    if (rc == 1)
        *out = sqlite3_column_int64(stmt, 0);
    store_sql_done(stmt);
    return rc == 0 ? -ENOENT : rc < 0 ? rc : 0;
}

static int claim(struct store *s, bool *is_new, struct error *err)
{
    char set[64];
    int64_t id = 0;
    int64_t tables = 0;
    int rc;

    if ((rc = query_int(s, "PRAGMA application_id", &id, err)) < 0 ||
        (rc = query_int(s, "SELECT count(*) FROM sqlite_schema", &tables,
                        err)) < 0)
        return rc;
    *is_new = tables == 0;
    if (id == APPLICATION_ID)
        return 0;
    if (id != 0 || tables != 0)
        return error_set(err, -EINVAL,
                         "%s/data.db is a database of another program: name "
                         "another state directory",
                         s->dir);
    (void) snprintf(set, sizeof(set), "PRAGMA application_id = %d",
                    APPLICATION_ID);
    return store_sql_exec(s, set, "begin a database", err);
}

// One pragma that says "ok", or a row for each fault.
static int check_with(struct store *s, const char *pragma, bool wants_ok,
                      struct error *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = store_sql(s, &stmt, pragma, err);

    if (rc < 0)
        return rc;
    rc = store_sql_step(s, stmt, "check the database", err);
    if (rc == 1) {
        const char *text = (const char *) sqlite3_column_text(stmt, 0);
        rc = wants_ok && text && strcmp(text, "ok") == 0
                 ? 0
                 : error_set(err, -EUCLEAN,
                             "the database in %s is damaged: %.200s", s->dir,
                             text ? text : "no answer");
    }
    store_sql_done(stmt);
    return rc;
}

int store_check(struct store *s, bool full, struct error *err)
{
    int rc =
        check_with(s,
                   full ? "PRAGMA integrity_check(1)" : "PRAGMA quick_check(1)",
                   true, err);

    if (rc == 0 && full)
        rc = check_with(s, "PRAGMA foreign_key_check", false, err);
    return rc;
}

static int prepare_db(struct store *s, struct store_report *r,
                      struct error *err)
{
    char value[STORE_PATH_SIZE] = "1";
    int rc;

    if ((rc = connect_db(s, err)) < 0 || (rc = set_pragmas(s, err)) < 0 ||
        (rc = claim(s, &r->is_new, err)) < 0)
        return rc;
    if ((rc = migrate_check_version(s, migration_count, err)) < 0)
        return rc;
    if (!r->is_new) {
        rc = store_meta_get(s, "clean", value, sizeof(value), NULL);
        r->was_clean = rc == 0 && strcmp(value, "1") == 0;
        if (!r->was_clean && (rc = store_check(s, false, err)) < 0)
            return rc;
    }
    if ((rc = migrate_run(s, migrations, migration_count, err)) < 0)
        return rc;
    // Only now: the copy that a migration makes is an attached database.
    (void) sqlite3_limit(s->db, SQLITE_LIMIT_ATTACHED, 0);
    rc = store_meta_get(s, "quarantine", r->quarantine, sizeof(r->quarantine),
                        err);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    s->is_degraded = r->is_degraded = rc == 0;
    return store_meta_set(s, "clean", "0", err);
}

static int move_aside(struct store *s, const char *suffix, const char *to,
                      struct error *err)
{
    char old[64], new[STORE_TEXT_SIZE];

    (void) snprintf(old, sizeof(old), "data.db%s", suffix);
    (void) snprintf(new, sizeof(new), "%s%s", to, suffix);
    if (renameat(s->dirfd, old, s->dirfd, new) < 0 && errno != ENOENT)
        return no_dir(s, "move a damaged database aside in", err);
    return 0;
}

// Keep the damaged files for a salvage, and begin anew.
static int quarantine(struct store *s, int64_t now_ms, struct store_report *r,
                      struct error *err)
{
    char to[64], path[STORE_PATH_SIZE];
    int rc;

    disconnect(s);
    s->is_damaged = false;
    (void) snprintf(to, sizeof(to), "data.db.corrupt-%lld", (long long) now_ms);
    if ((rc = move_aside(s, "", to, err)) < 0 ||
        (rc = move_aside(s, "-wal", to, err)) < 0)
        return rc;
    (void) unlinkat(s->dirfd, "data.db-shm", 0);
    if (fsync(s->dirfd) < 0)
        return no_dir(s, "write to", err);
    *r = (struct store_report){0};
    if ((rc = prepare_db(s, r, err)) < 0)
        return rc;
    (void) snprintf(path, sizeof(path), "%s/%s", s->dir, to);
    if ((rc = store_meta_set(s, "quarantine", path, err)) < 0)
        return rc;
    (void) snprintf(r->quarantine, sizeof(r->quarantine), "%s", path);
    s->is_degraded = r->is_degraded = true;
    return 0;
}

static int open_db(struct store *s, int64_t now_ms, struct store_report *r,
                   struct error *err)
{
    int rc = prepare_db(s, r, err);

    if (rc == -EUCLEAN)
        rc = quarantine(s, now_ms, r, err);
    return rc;
}

static struct store *store_new(const struct store_params *p)
{
    struct store *s = fault_calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->dirfd = s->adapters_dirfd = s->lockfd = -1;
    s->dir = fault_malloc(strlen(p->dir) + 1);
    s->vfs = p->vfs ? fault_malloc(strlen(p->vfs) + 1) : NULL;
    if (!s->dir || (p->vfs && !s->vfs)) {
        free(s->dir);
        free(s->vfs);
        free(s);
        return NULL;
    }
    memcpy(s->dir, p->dir, strlen(p->dir) + 1);
    if (p->vfs)
        memcpy(s->vfs, p->vfs, strlen(p->vfs) + 1);
    return s;
}

static void store_free(struct store *s)
{
    store_keys_close(s);
    disconnect(s);
    if (s->adapters_dirfd >= 0)
        close(s->adapters_dirfd);
    if (s->lockfd >= 0)
        close(s->lockfd);
    if (s->dirfd >= 0)
        close(s->dirfd);
    free(s->noted);
    free(s->dir);
    free(s->vfs);
    free(s);
}

int store_open(struct store **out, const struct store_params *params,
               struct store_report *report, struct error *err)
{
    struct store_report r = {0};
    struct store *s = store_new(params);
    int rc;

    if (!s)
        return error_set(err, -ENOMEM, "cannot open the store: out of memory");
    if ((rc = open_dir(s, err)) < 0 || (rc = take_lock(s, err)) < 0 ||
        (rc = open_db(s, params->now_ms, &r, err)) < 0 ||
        (rc = store_keys_open(s, params, &r, err)) < 0 ||
        (rc = store_seal_all(s, &r.sealed, err)) < 0)
        goto error;
    // What a process that is gone was counting.
    if ((rc = store_audit_flush(s, params->now_ms, 0, true, err)) < 0)
        goto error;
    // With the rows in quarantine no file has one: they must not be swept.
    if (!r.is_degraded && ((rc = store_version_retire_lost(s, params->now_ms,
                                                           &r.lost, err)) < 0 ||
                           (rc = store_blob_sweep(s, &r.orphans, err)) < 0))
        goto error;
    // What cannot be deleted yet is no reason not to start.
    if (store_erase_resume(s, NULL) < 0 &&
        (rc = store_erase_pending(s, &r.erasures, err)) < 0)
        goto error;

    *out = s;
    *report = r;
    return 0;

error:
    store_free(s);
    return rc;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    if (store_is_in_transaction(s))
        store_rollback(s);
    (void) store_audit_flush(s, 0, 0, true, NULL);
    // Without the mark the next start checks the file: no need to complain.
    if (!s->is_damaged && store_meta_set(s, "clean", "1", NULL) == 0)
        (void) store_checkpoint(s, NULL);
    store_free(s);
}

int store_checkpoint(struct store *s, struct error *err)
{
    int rc = sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_TRUNCATE,
                                       NULL, NULL);

    return rc == SQLITE_OK ? 0 : store_sql_error(s, rc, "empty the log", err);
}

// The files that quarantine() kept.
int store_forget_quarantine(struct store *s, struct error *err)
{
    static const char *const suffixes[] = {"", "-wal"};
    char path[STORE_PATH_SIZE], file[STORE_PATH_SIZE + 8];
    int rc = store_meta_get(s, "quarantine", path, sizeof(path), err);

    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    const char *name = strrchr(path, '/');
    for (size_t i = 0; i < 2; i++) {
        (void) snprintf(file, sizeof(file), "%s%s", name ? name + 1 : path,
                        suffixes[i]);
        if (unlinkat(s->dirfd, file, 0) < 0 && errno != ENOENT)
            return no_dir(s, "delete the damaged database in", err);
    }
    return 0;
}

int store_accept_loss(struct store *s, struct error *err)
{
    int rc = store_forget_quarantine(s, err);

    if (rc == 0)
        rc = store_sql_exec(s, "DELETE FROM meta WHERE key = 'quarantine'",
                            "write to the store", err);
    if (rc == 0)
        s->is_degraded = false;
    return rc;
}

int64_t store_bytes(const struct store *s)
{
    static const char *const names[] = {"data.db", "data.db-wal"};
    int64_t total = 0;
    struct stat st;

    for (size_t i = 0; i < 2; i++)
        if (fstatat(s->dirfd, names[i], &st, 0) == 0)
            total += st.st_size;
    return total;
}
