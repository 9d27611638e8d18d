// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_stream.h"

#include "storage/store_sql.h"

#include <errno.h>

void store_stream_read(struct store_stream *st, sqlite3_stmt *q)
{
    *st = (struct store_stream){.id = sqlite3_column_int64(q, 0)};
    store_sql_text(st->app, sizeof(st->app), q, 1);
    store_sql_text(st->name, sizeof(st->name), q, 2);
    st->records = sqlite3_column_int64(q, 3);
    st->bytes = sqlite3_column_int64(q, 4);
    st->first_ms = sqlite3_column_int64(q, 5);
    st->last_ms = sqlite3_column_int64(q, 6);
}

int store_stream_find(struct store *s, const char *app, const char *name,
                      int64_t *id, struct error *err)
{
    sqlite3_stmt *q;
    int rc =
        store_sql(s, &q, "SELECT id FROM streams WHERE app = ? AND name = ?",
                  err);

    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(q, 1, app);
    (void) store_sql_bind_text(q, 2, name);
    rc = store_sql_step(s, q, "look for the stream", err);
    if (rc == 1)
        *id = sqlite3_column_int64(q, 0);
    store_sql_done(q);
    if (rc == 0)
        return error_set(err, -ENOENT,
                         "there is no stream %s: set create_stream to make it "
                         "with its first record, or use `pockctl data import "
                         "--stream %s`",
                         name, name);
    return rc < 0 ? rc : 0;
}

int store_stream_named(struct store *s, const char *name, bool *is_there,
                       struct error *err)
{
    sqlite3_stmt *q;
    int rc =
        store_sql(s, &q, "SELECT 1 FROM streams WHERE name = ? LIMIT 1", err);

    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(q, 1, name);
    rc = store_sql_step(s, q, "look for the stream", err);
    *is_there = rc == 1;
    store_sql_done(q);
    return rc < 0 ? rc : 0;
}

static int add(struct store *s, const char *app, const char *name,
               int64_t now_ms, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "INSERT INTO streams (app, name, created_ms) VALUES (?, "
                       "?, ?) ON CONFLICT DO NOTHING",
                       err);

    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(q, 1, app);
    (void) store_sql_bind_text(q, 2, name);
    (void) sqlite3_bind_int64(q, 3, now_ms);
    return store_sql_run(s, q, "make the stream", err);
}

int store_stream_make(struct store *s, const char *app, const char *name,
                      int64_t now_ms, int64_t *id, struct error *err)
{
    int rc = store_stream_find(s, app, name, id, err);

    if (rc != -ENOENT)
        return rc;
    rc = add(s, app, name, now_ms, err);
    return rc < 0 ? rc : store_stream_find(s, app, name, id, err);
}
