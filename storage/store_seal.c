// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * A store from before there were keys, in this order: records are sealed where
 * they are, so many at a time, and files beside it; the database's file is
 * written anew, because pages may hold what rows do not; the log is emptied;
 * copies that migrations left are deleted. Meta "sealed" is set at the end.
 * Each step may be repeated.
 */

#include "storage/store_key.h"

#include "engine/base/fault.h"
#include "storage/blob.h"
#include "storage/migrate.h"
#include "storage/sealed_file.h"
#include "storage/store_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BATCH = 512 };

// The next record in the clear; 0 at the end.
static int next_plain(struct store *s, int64_t after, sqlite3_stmt **out,
                      struct store_record *r, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "SELECT id, uid, stream_id, kind, time_ms, added_ms,"
                       " bytes, body FROM records WHERE id > ?1 AND"
                       " substr(body, 1, 1) <> x'c1' ORDER BY id LIMIT 1",
                       err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, after);
    *out = q;
    if ((rc = store_sql_step(s, q, "seal a record", err)) != 1)
        return rc;
    *r = (struct store_record){
        .id = sqlite3_column_int64(q, 0),
        .stream_id = sqlite3_column_int64(q, 2),
        .kind = (uint32_t) sqlite3_column_int(q, 3),
        .time_ms = sqlite3_column_int64(q, 4),
        .added_ms = sqlite3_column_int64(q, 5),
        .bytes = sqlite3_column_int64(q, 6),
        .body = sqlite3_column_blob(q, 7),
        .body_bytes = (size_t) sqlite3_column_bytes(q, 7),
    };
    const void *uid = sqlite3_column_blob(q, 1);
    if (uid && sqlite3_column_bytes(q, 1) == STORE_UID_BYTES)
        memcpy(r->uid, uid, STORE_UID_BYTES);
    return 1;
}

// 1: there was one. Only its body changes, so that the row is found again.
static int seal_next(struct store *s, int64_t *after, struct error *err)
{
    sqlite3_stmt *read = NULL;
    sqlite3_stmt *write;
    struct store_record r;
    const void *sealed;
    size_t bytes;
    int rc = next_plain(s, *after, &read, &r, err);

    const int did =
        rc == 1 ? store_seal_record(s, &r, &sealed, &bytes, err) : 0;
    store_sql_done(read);
    if (rc != 1 || did < 0)
        return did < 0 ? did : rc;
    *after = r.id;
    if ((rc = store_sql(s, &write, "UPDATE records SET body = ? WHERE id = ?",
                        err)) < 0)
        return rc;
    (void) sqlite3_bind_blob64(write, 1, sealed, bytes, SQLITE_STATIC);
    (void) sqlite3_bind_int64(write, 2, r.id);
    rc = store_sql_run(s, write, "seal a record", err);
    return rc < 0 ? rc : 1;
}

static int seal_batch(struct store *s, int64_t *after, int64_t *count,
                      struct error *err)
{
    int rc = store_begin(s, err);
    int more = 1;

    for (int i = 0; rc == 0 && more == 1 && i < BATCH; i++) {
        more = seal_next(s, after, err);
        *count += more == 1;
        rc = more < 0 ? more : 0;
    }
    if (rc == 0)
        rc = store_commit(s, err);
    else
        store_rollback(s);
    return rc < 0 ? rc : more;
}

// Its own file for what does not fit into memory: all of it is sealed by now.
static int write_anew(struct store *s)
{
    (void) sqlite3_limit(s->db, SQLITE_LIMIT_ATTACHED, 1);
    int rc = store_sql_exec(s, "PRAGMA temp_store = FILE; VACUUM;",
                            "write the store anew", NULL);
    (void) sqlite3_limit(s->db, SQLITE_LIMIT_ATTACHED, 0);
    return rc;
}

static int seal_checkpoint(struct store *s, const char *file, struct error *err)
{
    char name[128];

    if (file[0] == '.' ||
        snprintf(name, sizeof(name), "ckpt/%s", file) >= (int) sizeof(name))
        return 0;
    const int fd = openat(s->dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return 0;
    const int rc =
        sealed_file_is(fd) ? 0 : store_file_save(s, name, fd, UINT64_MAX, err);
    (void) close(fd);
    fault_step();
    return rc;
}

// Adapters, checkpoints; what can be computed again goes.
static int seal_files(struct store *s, struct error *err)
{
    int rc = blob_seal_all(s, err);
    const int fd = openat(s->dirfd, "ckpt", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;

    if (!d && fd >= 0)
        (void) close(fd);
    while (rc == 0 && d && (e = readdir(d)))
        rc = seal_checkpoint(s, e->d_name, err);
    if (d)
        (void) closedir(d);
    return rc < 0 ? rc : store_file_remove(s, "prefix.cache", err);
}

int store_seal_all(struct store *s, int64_t *count, struct error *err)
{
    char is_sealed[8] = "";
    int64_t after = 0;
    int rc = store_meta_get(s, "sealed", is_sealed, sizeof(is_sealed), err);

    *count = 0;
    if (rc != -ENOENT)
        return rc;
    while ((rc = seal_batch(s, &after, count, err)) == 1)
        fault_step();
    if (rc == 0)
        rc = seal_files(s, err);
    if (rc < 0)
        return error_prefix(err, rc, "sealing the store");
    // A disk that is too full for it has it tried again at the next start:
    // deleted text was overwritten where it was already (secure_delete).
    const int written = write_anew(s);
    fault_step();
    if ((rc = store_sql_make_temp(s, err)) < 0 ||
        (rc = store_checkpoint(s, err)) < 0 ||
        (rc = migrate_forget_backups(s, err)) < 0)
        return rc;
    return written < 0 ? 0 : store_meta_set(s, "sealed", "1", err);
}
