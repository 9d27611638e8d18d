// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_app.h"

#include "storage/store_sql.h"

#include <errno.h>

#define COLUMNS                                                \
    "name, strength, state, purposes, wanted, kinds, streams," \
    " retention_days, expires_ms, client, first_ms, changed_ms"

#define INSERT(how)                                                            \
    "INSERT " how "INTO apps (" COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?," \
    " ?, ?, ?)"

static int put(struct store *s, const char *sql, const struct store_app *a,
               struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q, sql, err);

    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(q, 1, a->name);
    (void) sqlite3_bind_int64(q, 2, a->strength);
    (void) sqlite3_bind_int64(q, 3, a->state);
    (void) sqlite3_bind_int64(q, 4, a->purposes);
    (void) sqlite3_bind_int64(q, 5, a->wanted);
    (void) sqlite3_bind_int64(q, 6, a->kinds);
    (void) store_sql_bind_text(q, 7, a->streams);
    (void) sqlite3_bind_int64(q, 8, a->retention_days);
    (void) sqlite3_bind_int64(q, 9, a->expires_ms);
    (void) store_sql_bind_text(q, 10, a->client);
    (void) sqlite3_bind_int64(q, 11, a->first_ms);
    (void) sqlite3_bind_int64(q, 12, a->changed_ms);
    return store_sql_run(s, q, "store the app", err);
}

int store_app_put(struct store *s, const struct store_app *a, struct error *err)
{
    return put(s, INSERT("OR REPLACE "), a, err);
}

int store_app_meet(struct store *s, const struct store_app *a,
                   struct error *err)
{
    return put(s,
               INSERT("") " ON CONFLICT (name) DO UPDATE SET wanted = wanted |"
                          " excluded.wanted",
               a, err);
}

int store_app_end(struct store *s, const char *name, int64_t expires_ms,
                  int64_t now_ms, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "UPDATE apps SET state = 2, purposes = 0, changed_ms ="
                       " ?3 WHERE name = ?1 AND expires_ms = ?2",
                       err);

    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(q, 1, name);
    (void) sqlite3_bind_int64(q, 2, expires_ms);
    (void) sqlite3_bind_int64(q, 3, now_ms);
    return store_sql_run(s, q, "end the grant", err);
}

static void read_row(struct store_app *a, sqlite3_stmt *q)
{
    store_sql_text(a->name, sizeof(a->name), q, 0);
    a->strength = (uint32_t) sqlite3_column_int(q, 1);
    a->state = (enum store_app_state) sqlite3_column_int(q, 2);
    a->purposes = (uint32_t) sqlite3_column_int(q, 3);
    a->wanted = (uint32_t) sqlite3_column_int(q, 4);
    a->kinds = (uint32_t) sqlite3_column_int(q, 5);
    store_sql_text(a->streams, sizeof(a->streams), q, 6);
    a->retention_days = sqlite3_column_int64(q, 7);
    a->expires_ms = sqlite3_column_int64(q, 8);
    store_sql_text(a->client, sizeof(a->client), q, 9);
    a->first_ms = sqlite3_column_int64(q, 10);
    a->changed_ms = sqlite3_column_int64(q, 11);
}

int store_app_get(struct store *s, const char *name, struct store_app *out,
                  struct error *err)
{
    sqlite3_stmt *q;
    int rc =
        store_sql(s, &q, "SELECT " COLUMNS " FROM apps WHERE name = ?", err);

    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(q, 1, name);
    rc = store_sql_step(s, q, "read the app", err);
    if (rc == 1)
        read_row(out, q);
    store_sql_done(q);
    if (rc == 0)
        return error_set(err, -ENOENT, "there is no app %s", name);
    return rc < 0 ? rc : 0;
}

int store_app_each(struct store *s, store_app_fn fn, void *user,
                   struct error *err)
{
    struct store_app a;
    sqlite3_stmt *q;
    int stop = 0;
    int rc =
        store_sql(s, &q, "SELECT " COLUMNS " FROM apps ORDER BY name", err);

    if (rc < 0)
        return rc;
    while (stop == 0 &&
           (rc = store_sql_step(s, q, "read the apps", err)) == 1) {
        read_row(&a, q);
        stop = fn(&a, user);
    }
    store_sql_done(q);
    return stop ? stop : rc;
}

int store_app_use_each(struct store *s, store_app_use_fn fn, void *user,
                       struct error *err)
{
    struct store_app_use u;
    sqlite3_stmt *q;
    int stop = 0;
    int rc = store_sql(s, &q,
                       "SELECT s.app, count(*), sum(r.bytes), max(r.added_ms)"
                       " FROM streams s JOIN records r ON r.stream_id = s.id"
                       " GROUP BY s.app ORDER BY s.app",
                       err);

    if (rc < 0)
        return rc;
    while (stop == 0 &&
           (rc = store_sql_step(s, q, "count what apps gave", err)) == 1) {
        store_sql_text(u.name, sizeof(u.name), q, 0);
        u.records = sqlite3_column_int64(q, 1);
        u.bytes = sqlite3_column_int64(q, 2);
        u.last_ms = sqlite3_column_int64(q, 3);
        stop = fn(&u, user);
    }
    store_sql_done(q);
    return stop ? stop : rc;
}
