// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_policy.h"

#include "storage/store_sql.h"

#include <errno.h>
#include <string.h>

static int forget(struct store *s, const char *key, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q, "DELETE FROM policy WHERE key = ?", err);

    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(q, 1, key);
    return store_sql_run(s, q, "change the policy", err);
}

int store_policy_set(struct store *s, const char *key, const char *value,
                     int64_t now_ms, struct error *err)
{
    sqlite3_stmt *q;

    if (!value)
        return forget(s, key, err);
    int rc = store_sql(s, &q,
                       "INSERT OR REPLACE INTO policy (key, value, set_ms)"
                       " VALUES (?, ?, ?)",
                       err);
    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(q, 1, key);
    (void) store_sql_bind_text(q, 2, value);
    (void) sqlite3_bind_int64(q, 3, now_ms);
    return store_sql_run(s, q, "change the policy", err);
}

int store_policy_get(struct store *s, const char *key, char *value, size_t size,
                     struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q, "SELECT value FROM policy WHERE key = ?", err);

    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(q, 1, key);
    rc = store_sql_step(s, q, "read the policy", err);
    if (rc == 0)
        rc = error_set(err, -ENOENT, "%s has not been set", key);
    if (rc == 1 && (size_t) sqlite3_column_bytes(q, 0) >= size)
        rc = error_set(err, -E2BIG, "the value of %s is too long", key);
    if (rc == 1)
        store_sql_text(value, size, q, 0);
    store_sql_done(q);
    return rc < 0 ? rc : 0;
}

int store_policy_each(struct store *s, store_policy_fn fn, void *user,
                      struct error *err)
{
    sqlite3_stmt *q;
    int stop = 0;
    int rc =
        store_sql(s, &q, "SELECT key, value FROM policy ORDER BY key", err);

    if (rc < 0)
        return rc;
    while (stop == 0 &&
           (rc = store_sql_step(s, q, "read the policy", err)) == 1) {
        const char *key = (const char *) sqlite3_column_text(q, 0);
        const char *value = (const char *) sqlite3_column_text(q, 1);
        // Not by the schema: the page is damaged, and the next start looks.
        if (key && value)
            stop = fn(key, value, user);
        else
            s->is_damaged = true;
    }
    store_sql_done(q);
    return stop ? stop : rc;
}
