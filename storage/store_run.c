// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_run.h"

#include "storage/store_sql.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

int store_run_add(struct store *s, const struct store_run *r, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "INSERT INTO runs (job_id, night, started_ms, run_ms,"
                       " slices, first_step, last_step, stop_reason, energy_j,"
                       " heldout_before, heldout_after, version) VALUES (?1,"
                       " ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
                       err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, r->job_id);
    (void) sqlite3_bind_int64(q, 2, r->night);
    (void) sqlite3_bind_int64(q, 3, r->started_ms);
    (void) sqlite3_bind_int64(q, 4, r->run_ms);
    (void) sqlite3_bind_int64(q, 5, r->slices);
    (void) sqlite3_bind_int64(q, 6, r->first_step);
    (void) sqlite3_bind_int64(q, 7, r->last_step);
    (void) store_sql_bind_text(q, 8, r->stop_reason);
    // NAN becomes NULL.
    (void) sqlite3_bind_double(q, 9, r->energy_j);
    (void) sqlite3_bind_double(q, 10, r->heldout_before);
    (void) sqlite3_bind_double(q, 11, r->heldout_after);
    (void) sqlite3_bind_int64(q, 12, r->version);
    return store_sql_run(s, q, "add the run", err);
}

static void add_reasons(struct store_night *n, const char *reason,
                        int64_t times)
{
    size_t at = strlen(n->stopped_by);

    if (strcmp(reason, "NONE") == 0 || at >= sizeof(n->stopped_by))
        return;
    at += (size_t) snprintf(n->stopped_by + at, sizeof(n->stopped_by) - at,
                            "%s%s", at ? ", " : "", reason);
    if (times > 1 && at < sizeof(n->stopped_by))
        snprintf(n->stopped_by + at, sizeof(n->stopped_by) - at, " %lld",
                 (long long) times);
}

static int read_reasons(struct store *s, struct store_night *n,
                        struct error *err)
{
    char reason[24];
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "SELECT stop_reason, count(*) FROM runs WHERE night = ?"
                       " GROUP BY stop_reason ORDER BY max(id) DESC",
                       err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, n->night);
    while ((rc = store_sql_step(s, q, "read a night", err)) == 1) {
        store_sql_text(reason, sizeof(reason), q, 0);
        add_reasons(n, reason, sqlite3_column_int64(q, 1));
    }
    store_sql_done(q);
    return rc;
}

static void read_night(struct store_night *n, sqlite3_stmt *q)
{
    *n = (struct store_night){.night = sqlite3_column_int64(q, 0)};
    n->started_ms = sqlite3_column_int64(q, 1);
    n->runs = sqlite3_column_int64(q, 2);
    n->slices = sqlite3_column_int64(q, 3);
    n->run_ms = sqlite3_column_int64(q, 4);
    n->steps = sqlite3_column_int64(q, 5);
    n->energy_j = store_sql_float(q, 6);
    n->versions = sqlite3_column_int64(q, 7);
    n->heldout_before = store_sql_float(q, 8);
    n->heldout_after = store_sql_float(q, 9);
}

int store_night_each(struct store *s, int64_t limit, store_night_fn fn,
                     void *user, struct error *err)
{
    struct store_night n;
    sqlite3_stmt *q;
    int stop = 0;
    int rc = store_sql(
        s, &q,
        "SELECT night, min(started_ms), count(*), sum(slices), sum(run_ms),"
        " sum(max(last_step - first_step, 0)), sum(energy_j),"
        " sum(version > 0),"
        " (SELECT heldout_before FROM runs a WHERE a.night = r.night AND"
        "  heldout_before IS NOT NULL ORDER BY id LIMIT 1),"
        " (SELECT heldout_after FROM runs a WHERE a.night = r.night AND"
        "  heldout_after IS NOT NULL ORDER BY id DESC LIMIT 1)"
        " FROM runs r GROUP BY night ORDER BY night DESC LIMIT ?",
        err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, limit > 0 ? limit : -1);
    while (stop == 0 && (rc = store_sql_step(s, q, "list nights", err)) == 1) {
        read_night(&n, q);
        if ((rc = read_reasons(s, &n, err)) < 0)
            break;
        stop = fn(&n, user);
    }
    store_sql_done(q);
    return stop ? stop : rc;
}

int store_skipped_add(struct store *s, int64_t record_id, int64_t job_id,
                      int64_t now_ms, const char *program, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "INSERT OR REPLACE INTO skipped (record_id, job_id,"
                       " found_ms, program) VALUES (?1, ?2, ?3, ?4)",
                       err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, record_id);
    (void) sqlite3_bind_int64(q, 2, job_id);
    (void) sqlite3_bind_int64(q, 3, now_ms);
    (void) store_sql_bind_text(q, 4, program);
    rc = store_sql_run(s, q, "skip the record", err);
    if (rc == -EBUSY) // its foreign key
        return error_set(err, -ENOENT, "record %lld is gone",
                         (long long) record_id);
    return rc;
}

int store_skipped_each(struct store *s, const char *program,
                       store_skipped_fn fn, void *user, struct error *err)
{
    sqlite3_stmt *q;
    int stop = 0;
    int rc = store_sql(s, &q,
                       "SELECT record_id FROM skipped WHERE program = ? ORDER"
                       " BY record_id",
                       err);

    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(q, 1, program);
    while (stop == 0 &&
           (rc = store_sql_step(s, q, "list skipped records", err)) == 1)
        stop = fn(sqlite3_column_int64(q, 0), user);
    store_sql_done(q);
    return stop ? stop : rc;
}
