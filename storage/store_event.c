// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_event.h"

#include "storage/store_filter.h"
#include "storage/store_sql.h"

static int trim(struct store *s, int64_t newest, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q, "DELETE FROM events WHERE id <= ?", err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, newest - STORE_EVENTS_MAX);
    return store_sql_run(s, q, "write an event", err);
}

static int insert(struct store *s, const struct store_event *e,
                  struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "INSERT INTO events (time_ms, kind, job_id, adapter,"
                       " version, reason, text) VALUES (?, ?, ?, ?, ?, ?, ?)",
                       err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, e->time_ms);
    (void) store_sql_bind_text(q, 2, e->kind);
    (void) sqlite3_bind_int64(q, 3, e->job_id);
    (void) store_sql_bind_text(q, 4, e->adapter);
    (void) sqlite3_bind_int64(q, 5, e->version);
    (void) store_sql_bind_text(q, 6, e->reason);
    (void) store_sql_bind_text(q, 7, e->text);
    return store_sql_run(s, q, "write an event", err);
}

int store_event_add(struct store *s, const struct store_event *e, int64_t *id,
                    struct error *err)
{
    int64_t newest = 0;
    bool own;
    int rc = store_sql_enter(s, &own, err);

    if (rc < 0)
        return rc;
    if ((rc = insert(s, e, err)) == 0) {
        newest = sqlite3_last_insert_rowid(s->db);
        rc = trim(s, newest, err);
    }
    rc = store_sql_leave(s, own, rc, err);
    if (rc == 0)
        *id = newest;
    return rc;
}

static void read_row(struct store_event *e, sqlite3_stmt *q)
{
    *e = (struct store_event){.id = sqlite3_column_int64(q, 0)};
    e->time_ms = sqlite3_column_int64(q, 1);
    store_sql_text(e->kind, sizeof(e->kind), q, 2);
    e->job_id = sqlite3_column_int64(q, 3);
    store_sql_text(e->adapter, sizeof(e->adapter), q, 4);
    e->version = (uint32_t) sqlite3_column_int64(q, 5);
    store_sql_text(e->reason, sizeof(e->reason), q, 6);
    store_sql_text(e->text, sizeof(e->text), q, 7);
}

static int find_oldest(struct store *s, int64_t *oldest, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q, "SELECT coalesce(min(id), 0) FROM events", err);

    if (rc < 0)
        return rc;
    rc = store_sql_step(s, q, "list events", err);
    if (rc == 1)
        *oldest = sqlite3_column_int64(q, 0);
    store_sql_done(q);
    return rc < 0 ? rc : 0;
}

int store_event_each(struct store *s, int64_t after, const char *const *kinds,
                     size_t n_kinds, int64_t limit, store_event_fn fn,
                     void *user, int64_t *oldest, struct error *err)
{
    struct store_event e;
    sqlite3_stmt *q;
    int stop = 0;
    int rc = oldest ? find_oldest(s, oldest, err) : 0;

    if (rc < 0)
        return rc;
    rc = store_sql(s, &q,
                   "SELECT * FROM (SELECT id, time_ms, kind, job_id, adapter,"
                   " version, reason, text FROM events WHERE id > ?1 AND"
                   " (?2 IS NULL OR kind IN (SELECT value FROM json_each(?2)))"
                   " ORDER BY id DESC LIMIT ?3) ORDER BY id",
                   err);
    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, after);
    (void) sqlite3_bind_int64(q, 3, limit > 0 ? limit : -1);
    rc = store_filter_bind_names(q, 2, n_kinds ? kinds : NULL, n_kinds, err);
    while (rc >= 0 && stop == 0 &&
           (rc = store_sql_step(s, q, "list events", err)) == 1) {
        read_row(&e, q);
        stop = fn(&e, user);
    }
    store_sql_done(q);
    return stop ? stop : rc;
}
