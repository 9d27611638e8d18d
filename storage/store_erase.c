// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_erase.h"

#include "engine/base/fault.h"
#include "storage/migrate.h"
#include "storage/store_adapter.h"
#include "storage/store_event.h"
#include "storage/store_file.h"
#include "storage/store_filter.h"
#include "storage/store_job.h"
#include "storage/store_key.h"
#include "storage/store_remerge.h"
#include "storage/store_sql.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct used_list {
    struct store_used_by *items;
    size_t count;
    size_t size;
};

static int append(struct used_list *l, sqlite3_stmt *q, struct error *err)
{
    if (l->count == l->size) {
        size_t size = l->size ? 2 * l->size : 16;
        struct store_used_by *p =
            fault_realloc(l->items, size * sizeof(l->items[0]));
        if (!p)
            return error_set(err, -ENOMEM, "cannot erase: out of memory");
        l->items = p;
        l->size = size;
    }
    struct store_used_by *u = &l->items[l->count++];
    *u = (struct store_used_by){.version = 0};
    u->adapter_id = sqlite3_column_int64(q, 0);
    store_sql_text(u->adapter, sizeof(u->adapter), q, 1);
    u->version = (uint32_t) sqlite3_column_int64(q, 2);
    u->is_active = sqlite3_column_int(q, 3) != 0;
    return 0;
}

static int run_filtered(struct store *s, sqlite3_stmt *q,
                        const struct store_filter *f, struct error *err)
{
    const int rc = store_filter_bind(q, f, err);

    if (rc == 0)
        return store_sql_run(s, q, "erase", err);
    store_sql_done(q);
    return rc;
}

// Put the ids of what passes into the temporary table: records, and what was
// forgotten but is still known by a version. Of that, what was not kept is as
// of a record that was stored when it was written, and said by its owner.
static int select_records(struct store *s, const struct store_filter *f,
                          struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql_exec(s, "DELETE FROM erasing", "erase", err);

    if (rc < 0 ||
        (rc = store_sql(s, &q,
                        "INSERT INTO erasing SELECT r.id FROM records r"
                        " WHERE" STORE_FILTER_SQL,
                        err)) < 0 ||
        (rc = run_filtered(s, q, f, err)) < 0 ||
        (rc = store_sql(s, &q,
                        "INSERT INTO erasing SELECT r.id FROM (SELECT"
                        " *, record_id AS id FROM forgotten) r"
                        " WHERE" STORE_FILTER_SQL,
                        err)) < 0)
        return rc;
    return run_filtered(s, q, f, err);
}

static int sum_up(struct store *s, struct store_erased *out, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "SELECT count(*), coalesce(sum(bytes), 0) FROM records"
                       " WHERE id IN (SELECT id FROM erasing)",
                       err);
    if (rc < 0)
        return rc;
    rc = store_sql_step(s, q, "erase", err);
    if (rc == 1) {
        out->records = sqlite3_column_int64(q, 0);
        out->bytes = sqlite3_column_int64(q, 1);
    }
    store_sql_done(q);
    return rc < 0 ? rc : 0;
}

static int find_versions(struct store *s, struct used_list *l,
                         struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(
        s, &q,
        "WITH RECURSIVE used (adapter_id, version) AS ("
        " SELECT adapter_id, version FROM lineage"
        "  WHERE record_id IN (SELECT id FROM erasing)"
        " UNION"
        " SELECT adapter_id, version FROM lineage_forgotten"
        "  WHERE record_id IN (SELECT id FROM erasing)"
        " UNION"
        " SELECT v.adapter_id, v.version FROM used u JOIN versions v"
        "  ON v.adapter_id = u.adapter_id AND v.parent = u.version)"
        "SELECT a.id, a.name, v.version, n.version IS v.version FROM used u"
        " JOIN versions v USING (adapter_id, version)"
        " JOIN adapters a ON a.id = v.adapter_id"
        " LEFT JOIN active c ON c.adapter_id = a.id"
        " LEFT JOIN activations n ON n.id = c.activation_id"
        " WHERE NOT v.is_retired ORDER BY a.name, v.version",
        err);

    if (rc < 0)
        return rc;
    while ((rc = store_sql_step(s, q, "erase", err)) == 1)
        if ((rc = append(l, q, err)) < 0)
            break;
    store_sql_done(q);
    return rc;
}

static int retire(struct store *s, const struct used_list *l, int64_t now_ms,
                  struct error *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < l->count; i++)
        rc = store_version_mark_retired(
            s, l->items[i].adapter_id, l->items[i].version,
            "it had learned from records that were erased", err);
    // Only now: a roll-back must not stop at a version of the list.
    for (size_t i = 0; rc == 0 && i < l->count; i++)
        if (l->items[i].is_active)
            rc = store_adapter_rollback(s, l->items[i].adapter_id, now_ms, NULL,
                                        err);
    return rc;
}

// What is merged again when its parts are clean.
static int remember_merged(struct store *s, const struct used_list *l,
                           int64_t now_ms, struct error *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < l->count; i++)
        rc = store_remerge_add(s, l->items[i].adapter_id, l->items[i].version,
                               l->items[i].is_active, now_ms, err);
    for (size_t i = 0; rc == 0 && i < l->count; i++)
        rc = store_remerge_waits(s, l->items[i].adapter_id, l->items[i].version,
                                 &l->items[i].is_merged_again,
                                 &l->items[i].is_part, err);
    return rc < 0 ? rc : store_remerge_note(s, err);
}

/*
 * Learning again
 */

// The job that made the newest version of an adapter that goes; 0: none, or
// it would have nothing to learn from, or another one is waiting.
static int find_lesson(struct store *s, int64_t adapter_id,
                       struct store_job *out, struct error *err)
{
    sqlite3_stmt *q;
    int64_t id = 0;
    int rc = store_sql(
        s, &q,
        "SELECT j.id FROM (SELECT job_id FROM versions WHERE adapter_id = ?1"
        " AND job_id IS NOT NULL AND is_retired ORDER BY version DESC LIMIT 1)"
        " v JOIN jobs j ON j.id = v.job_id WHERE NOT EXISTS (SELECT 1 FROM"
        " jobs WHERE adapter_id = ?1 AND state < 5) AND EXISTS (SELECT 1 FROM"
        " streams t WHERE (j.streams = '' OR instr(' ' || j.streams || ' ',"
        " ' ' || t.name || ' ')) AND EXISTS (SELECT 1 FROM records WHERE"
        " stream_id = t.id AND (j.before_ms IS NULL OR time_ms < j.before_ms)"
        " AND id NOT IN (SELECT id FROM erasing)))",
        err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, adapter_id);
    if ((rc = store_sql_step(s, q, "look for what to learn again", err)) == 1)
        id = sqlite3_column_int64(q, 0);
    store_sql_done(q);
    if (rc != 1)
        return rc;
    rc = store_job_get(s, id, out, err);
    return rc == -ENOENT ? 0 : rc < 0 ? rc : 1;
}

// Same recipe, same streams, from the newest clean version: what the old one
// would have been without the records.
static int queue_lesson(struct store *s, int64_t adapter_id, int64_t now_ms,
                        struct store_erased *out, struct error *err)
{
    struct store_job old, job;
    int64_t id;
    int rc = find_lesson(s, adapter_id, &old, err);

    if (rc != 1 || out->n_jobs == STORE_ERASED_JOBS)
        return rc < 0 ? rc : 0;
    store_job_init(&job);
    job.adapter_id = old.adapter_id;
    job.model_id = old.model_id;
    memcpy(job.streams, old.streams, sizeof(job.streams));
    memcpy(job.recipe, old.recipe, sizeof(job.recipe));
    job.has_before = old.has_before;
    job.before_ms = old.before_ms;
    job.created_ms = now_ms;
    (void) snprintf(job.message, sizeof(job.message),
                    "it learns again what remains after an erase");
    if ((rc = store_job_add(s, &job, &id, err)) == 0)
        out->jobs[out->n_jobs++] = id;
    return rc;
}

static int queue_lessons(struct store *s, const struct used_list *l,
                         int64_t now_ms, struct store_erased *out,
                         struct error *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < l->count; i++)
        if (l->items[i].is_active || l->items[i].is_part)
            rc = queue_lesson(s, l->items[i].adapter_id, now_ms, out, err);
    return rc;
}

/*
 * The transaction
 */

// What files can be read with. Every checkpoint and all kept states may be of
// the records.
static int shred_files(struct store *s, struct error *err)
{
    return store_sql_exec(
        s,
        "DELETE FROM files WHERE name = 'prefix.cache' OR name GLOB 'ckpt/*'"
        " OR (name GLOB 'adapters/*' AND NOT EXISTS (SELECT 1 FROM versions"
        " WHERE NOT is_retired AND lower(hex(sha256)) = substr(name, 10)));"
        "UPDATE jobs SET checkpoint = '', checkpoint_step = 0, step = 0"
        " WHERE state < 5",
        "shred keys", err);
}

static int write_down(struct store *s, const char *reason, int64_t now_ms,
                      const struct store_erased *e, struct error *err)
{
    struct store_audit a = {.time_ms = now_ms, .count = e->records};
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "INSERT INTO erasures (step, reason, started_ms,"
                       " records, bytes, versions) VALUES (0, ?, ?, ?, ?, ?)",
                       err);

    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(q, 1, reason);
    (void) sqlite3_bind_int64(q, 2, now_ms);
    (void) sqlite3_bind_int64(q, 3, e->records);
    (void) sqlite3_bind_int64(q, 4, e->bytes);
    (void) sqlite3_bind_int64(q, 5, e->versions);
    if ((rc = store_sql_run(s, q, "erase", err)) < 0)
        return rc;
    (void) snprintf(a.action, sizeof(a.action), "%s", reason);
    (void) snprintf(a.text, sizeof(a.text),
                    "%u versions retired, %u jobs queued to learn again",
                    e->versions, e->n_jobs);
    return store_audit_add(s, &a, err);
}

static int delete_rows(struct store *s, struct error *err)
{
    return store_sql_exec(
        s,
        "DELETE FROM records WHERE id IN (SELECT id FROM erasing);"
        "DELETE FROM forgotten WHERE record_id IN (SELECT id FROM erasing);"
        "DELETE FROM erasing",
        "erase", err);
}

// Versions stay and still know from which records.
static int keep_lineage(struct store *s, struct error *err)
{
    return store_sql_exec(
        s,
        "INSERT INTO forgotten (record_id, stream_id, kind, is_feedback,"
        " time_ms, added_ms) SELECT id, stream_id, kind, is_feedback, time_ms,"
        " added_ms FROM records r"
        " WHERE id IN (SELECT id FROM erasing) AND EXISTS (SELECT 1 FROM"
        " lineage WHERE record_id = r.id);"
        "INSERT INTO lineage_forgotten SELECT * FROM lineage WHERE record_id"
        " IN (SELECT id FROM erasing);"
        "DELETE FROM records WHERE id IN (SELECT id FROM erasing);"
        "DELETE FROM erasing",
        "forget", err);
}

/*
 * The steps after it
 */

static int delete_states(struct store *s, struct error *err)
{
    // Whoever has it open sees an empty file.
    const int fd =
        openat(s->dirfd, "prefix.cache", O_WRONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd >= 0) {
        (void) !ftruncate(fd, 0);
        (void) close(fd);
    }
    return store_file_remove(s, "prefix.cache", err);
}

// One whose key is there was written since.
static int delete_checkpoint(struct store *s, const char *file,
                             struct error *err)
{
    uint8_t key[SEAL_KEY_BYTES];
    char name[300];
    int rc;

    (void) snprintf(name, sizeof(name), "ckpt/%s", file);
    rc = store_file_key(s, name, false, key, err);
    seal_wipe(key, sizeof(key));
    return rc == -ENOKEY ? store_file_remove(s, name, err) : rc;
}

static int delete_checkpoints(struct store *s, struct error *err)
{
    const int fd = openat(s->dirfd, "ckpt", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;
    int rc = 0;

    if (!d) {
        if (fd >= 0)
            (void) close(fd);
        return errno == ENOENT
                   ? 0
                   : error_set(err, -errno, "cannot list %s/ckpt", s->dir);
    }
    while (rc == 0 && (e = readdir(d)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            rc = delete_checkpoint(s, e->d_name, err);
    (void) closedir(d);
    return rc;
}

static int do_step(struct store *s, enum store_erase_step step,
                   struct error *err)
{
    int rc = 0;

    switch (step) {
    case STORE_ERASE_LOG:
        return store_checkpoint(s, err);
    case STORE_ERASE_COPIES:
        rc = migrate_forget_backups(s, err);
        return rc < 0 ? rc : store_forget_quarantine(s, err);
    case STORE_ERASE_STATES:
        return delete_states(s, err);
    case STORE_ERASE_CHECKPOINTS:
        return delete_checkpoints(s, err);
    case STORE_ERASE_ADAPTERS:
        return s->is_degraded ? 0 : store_blob_sweep(s, NULL, err);
    case STORE_ERASE_ROWS:
    case STORE_ERASE_DONE:
        return 0;
    }
    return rc;
}

static int next_erasure(struct store *s, int64_t *id, int *step,
                        struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "SELECT id, step FROM erasures WHERE step < ?"
                       " ORDER BY id LIMIT 1",
                       err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int(q, 1, STORE_ERASE_DONE);
    if ((rc = store_sql_step(s, q, "look for what is to erase", err)) == 1) {
        *id = sqlite3_column_int64(q, 0);
        *step = sqlite3_column_int(q, 1);
    }
    store_sql_done(q);
    return rc;
}

static int mark_step(struct store *s, int64_t id, int step, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q, "UPDATE erasures SET step = ? WHERE id = ?", err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int(q, 1, step);
    (void) sqlite3_bind_int64(q, 2, id);
    return store_sql_run(s, q, "erase", err);
}

int store_erase_resume(struct store *s, struct error *err)
{
    int64_t id = 0;
    int step = 0;
    int rc;

    while ((rc = next_erasure(s, &id, &step, err)) == 1) {
        fault_step();
        if ((rc = do_step(s, (enum store_erase_step)(step + 1), err)) < 0)
            return error_prefix(err, rc,
                                "records are erased, but not all that was made "
                                "of them: it is tried again when pockd starts");
        fault_step();
        if ((rc = mark_step(s, id, step + 1, err)) < 0)
            return rc;
    }
    return rc;
}

int store_erase_pending(struct store *s, int64_t *count, struct error *err)
{
    sqlite3_stmt *q;
    int rc =
        store_sql(s, &q, "SELECT count(*) FROM erasures WHERE step < ?", err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int(q, 1, STORE_ERASE_DONE);
    if ((rc = store_sql_step(s, q, "count erasures", err)) == 1)
        *count = sqlite3_column_int64(q, 0);
    store_sql_done(q);
    return rc < 0 ? rc : 0;
}

/*
 * Both
 */

struct erasing {
    const char *reason;
    bool keeps_versions;
    bool dry_run;
    int64_t now_ms;
};

// What is in the temporary table, within the transaction. A dry run does the
// same, and is rolled back.
static int erase_selected(struct store *s, const struct erasing *how,
                          struct store_erased *e, struct used_list *l,
                          struct error *err)
{
    int rc = sum_up(s, e, err);

    if (rc == 0 && !how->keeps_versions)
        rc = find_versions(s, l, err);
    if (rc == 0)
        rc = store_remerge_settle(s, err);
    if (rc == 0)
        rc = retire(s, l, how->now_ms, err);
    if (rc == 0)
        rc = remember_merged(s, l, how->now_ms, err);
    if (rc == 0)
        rc = queue_lessons(s, l, how->now_ms, e, err);
    e->versions = (uint32_t) l->count;
    if (rc < 0 || how->dry_run)
        return rc;
    if ((rc = store_keys_shred(s, err)) < 0 || (rc = shred_files(s, err)) < 0 ||
        (rc = write_down(s, how->reason, how->now_ms, e, err)) < 0)
        return rc;
    return how->keeps_versions ? keep_lineage(s, err) : delete_rows(s, err);
}

void store_erased_jobs(struct store *s, const struct store_erased *e,
                       struct store_job **jobs, size_t *count)
{
    if (e->n_jobs == 0)
        return;
    struct store_job *more =
        fault_realloc(*jobs, (*count + e->n_jobs) * sizeof(*more));
    if (!more)
        return;
    *jobs = more;
    for (uint32_t i = 0; i < e->n_jobs; i++)
        *count += store_job_get(s, e->jobs[i], &more[*count], NULL) == 0;
}

int store_record_erase(struct store *s, const struct store_filter *f,
                       bool dry_run, int64_t now_ms, struct store_erased *out,
                       store_used_by_fn fn, void *user, struct error *err)
{
    const struct erasing how = {.reason = "data.erase",
                                .dry_run = dry_run,
                                .now_ms = now_ms};
    struct store_erased e = {0};
    struct used_list l = {0};
    int rc = store_begin(s, err);

    if (rc < 0)
        return rc;
    if ((rc = select_records(s, f, err)) == 0)
        rc = erase_selected(s, &how, &e, &l, err);
    if (rc == 0 && !dry_run)
        rc = store_commit(s, err);
    if (rc < 0 || dry_run)
        store_rollback(s);
    if (rc == 0 && !dry_run)
        rc = store_erase_resume(s, err);
    for (size_t i = 0; rc == 0 && fn && i < l.count; i++)
        (void) fn(&l.items[i], user);
    if (rc == 0)
        *out = e;
    free(l.items);
    return rc;
}

/*
 * Retention
 */

int store_retention_set(struct store *s, const char *app, const char *stream,
                        int days, struct error *err)
{
    int64_t id;
    sqlite3_stmt *q;
    int rc = store_stream_find(s, app, stream, &id, err);

    if (rc == -ENOENT)
        return error_set(err, rc, "there is no stream %s", stream);
    if (rc < 0 || (rc = store_sql(s, &q,
                                  "UPDATE streams SET keep_days = ?"
                                  " WHERE id = ?",
                                  err)) < 0)
        return rc;
    if (days >= 0)
        (void) sqlite3_bind_int(q, 1, days);
    (void) sqlite3_bind_int64(q, 2, id);
    return store_sql_run(s, q, "keep how long records stay", err);
}

int store_retention_each(struct store *s, store_retention_fn fn, void *user,
                         struct error *err)
{
    sqlite3_stmt *q;
    int stop = 0;
    int rc = store_sql(s, &q,
                       "SELECT app, name, coalesce(keep_days, -1) FROM streams"
                       " ORDER BY app, name",
                       err);

    if (rc < 0)
        return rc;
    while (stop == 0 &&
           (rc = store_sql_step(s, q, "list the streams", err)) == 1) {
        char app[STORE_NAME_SIZE], name[STORE_NAME_SIZE];
        store_sql_text(app, sizeof(app), q, 0);
        store_sql_text(name, sizeof(name), q, 1);
        stop = fn(app, name, sqlite3_column_int(q, 2), user);
    }
    store_sql_done(q);
    return stop ? stop : rc;
}

// By id, which is the order in which they were stored; the first that nobody
// may forget ends the walk, so that what stays long is not read.
static int select_expired(struct store *s, int days, int64_t now_ms,
                          struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql_exec(s, "DELETE FROM erasing", "forget", err);

    if (rc < 0 ||
        (rc = store_sql(
             s, &q,
             "INSERT INTO erasing SELECT r.id FROM records r JOIN streams s ON"
             " s.id = r.stream_id WHERE coalesce(s.keep_days, ?1) > 0 AND"
             " r.added_ms < ?2 - coalesce(s.keep_days, ?1) * 86400000 AND"
             " r.id < coalesce((SELECT id FROM records WHERE added_ms >= ?2 -"
             " (SELECT min(coalesce(keep_days, ?1)) FROM streams WHERE"
             " coalesce(keep_days, ?1) > 0) * 86400000 ORDER BY id LIMIT 1),"
             " 9223372036854775807)",
             err)) < 0)
        return rc;
    (void) sqlite3_bind_int(q, 1, days);
    (void) sqlite3_bind_int64(q, 2, now_ms);
    return store_sql_run(s, q, "forget", err);
}

int store_retention_run(struct store *s, int days, bool takes_versions,
                        int64_t now_ms, struct store_erased *out,
                        struct error *err)
{
    const struct erasing how = {.reason = "data.retention",
                                .keeps_versions = !takes_versions,
                                .now_ms = now_ms};
    struct store_erased e = {0};
    struct used_list l = {0};
    int rc = store_begin(s, err);

    if (rc < 0)
        return rc;
    if ((rc = select_expired(s, days, now_ms, err)) == 0 &&
        (rc = sum_up(s, &e, err)) == 0 && e.records > 0)
        rc = erase_selected(s, &how, &e, &l, err);
    if (rc == 0 && e.records > 0)
        rc = store_commit(s, err);
    if (rc < 0 || e.records == 0)
        store_rollback(s);
    if (rc == 0)
        rc = store_erase_resume(s, err);
    if (rc == 0)
        *out = e;
    free(l.items);
    return rc;
}
