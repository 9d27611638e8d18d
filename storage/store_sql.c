// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_sql.h"

#include "storage/store_audit.h"
#include "storage/store_key.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

// A bind fails only for want of memory or for a wrong index; both leave NULL,
// which the schema refuses where it matters, so that the step tells.

int store_sql_errno(struct store *s, int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return 0;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_READONLY:
        return -EROFS;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_TOOBIG:
        return -E2BIG;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return -EUCLEAN;
    case SQLITE_INTERRUPT:
        return -ECANCELED;
    case SQLITE_CONSTRAINT:
        if (rc == SQLITE_CONSTRAINT_UNIQUE ||
            rc == SQLITE_CONSTRAINT_PRIMARYKEY || rc == SQLITE_CONSTRAINT_ROWID)
            return -EEXIST;
        return rc == SQLITE_CONSTRAINT_FOREIGNKEY ? -EBUSY : -EINVAL;
    case SQLITE_IOERR:
        return rc == SQLITE_IOERR_NOMEM                         ? -ENOMEM
               : s->db && sqlite3_system_errno(s->db) == ENOSPC ? -ENOSPC
                                                                : -EIO;
    default:
        return -EIO;
    }
}

int store_sql_error(struct store *s, int rc, const char *what,
                    struct error *err)
{
    const int code = store_sql_errno(s, rc);

    if (code == -ENOSPC)
        return error_set(err, code,
                         "cannot %s: no space left in %s: free some and try "
                         "again",
                         what, s->dir);
    // Not closed well then: the next start must look.
    if (code == -EUCLEAN)
        s->is_damaged = true;
    if (code == -EUCLEAN)
        return error_set(err, code,
                         "cannot %s: the database in %s is damaged: restart "
                         "pockd, which will move it aside",
                         what, s->dir);
    return error_set(err, code, "cannot %s: %s", what,
                     s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(rc));
}

// A rollback that found no memory: what comes next would be inside of it, and
// be told durable when it is not.
static int make_up(struct store *s, struct error *err)
{
    if (sqlite3_get_autocommit(s->db) == 0)
        (void) sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    s->is_rollback_due = sqlite3_get_autocommit(s->db) == 0;
    return s->is_rollback_due
               ? error_set(err, -ENOMEM,
                           "cannot roll back a transaction: out of memory")
               : 0;
}

int store_sql(struct store *s, sqlite3_stmt **out, const char *sql,
              struct error *err)
{
    if (s->is_rollback_due && make_up(s, err) < 0)
        return -ENOMEM;
    // Literals have few addresses: open addressing finds them at once.
    size_t i = ((uintptr_t) sql >> 4) % STORE_STATEMENTS_MAX;

    for (size_t n = 0; n < STORE_STATEMENTS_MAX; n++) {
        if (s->cache[i].sql == sql) {
            assert(!sqlite3_stmt_busy(s->cache[i].stmt));
            *out = s->cache[i].stmt;
            return 0;
        }
        if (!s->cache[i].sql)
            break;
        i = (i + 1) % STORE_STATEMENTS_MAX;
    }
    assert(!s->cache[i].sql); // more statements than the table holds
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT,
                                &stmt, NULL);
    if (rc != SQLITE_OK)
        return store_sql_error(s, rc, "prepare a statement", err);
    s->cache[i].sql = sql;
    s->cache[i].stmt = stmt;
    *out = stmt;
    return 0;
}

void store_sql_done(sqlite3_stmt *stmt)
{
    if (!stmt)
        return;
    (void) sqlite3_reset(stmt);
    (void) sqlite3_clear_bindings(stmt);
}

void store_sql_forget(struct store *s)
{
    for (size_t i = 0; i < STORE_STATEMENTS_MAX; i++) {
        (void) sqlite3_finalize(s->cache[i].stmt);
        s->cache[i].stmt = NULL;
        s->cache[i].sql = NULL;
    }
}

int store_sql_step(struct store *s, sqlite3_stmt *stmt, const char *what,
                   struct error *err)
{
    int rc = sqlite3_step(stmt);

    if (rc == SQLITE_ROW)
        return 1;
    return rc == SQLITE_DONE ? 0 : store_sql_error(s, rc, what, err);
}

int store_sql_run(struct store *s, sqlite3_stmt *stmt, const char *what,
                  struct error *err)
{
    int rc = store_sql_step(s, stmt, what, err);

    store_sql_done(stmt);
    return rc < 0 ? rc : 0;
}

int store_sql_exec(struct store *s, const char *sql, const char *what,
                   struct error *err)
{
    if (s->is_rollback_due && make_up(s, err) < 0)
        return -ENOMEM;
    int rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? 0 : store_sql_error(s, rc, what, err);
}

bool store_is_in_transaction(const struct store *s)
{
    return sqlite3_get_autocommit(s->db) == 0 && !s->is_rollback_due;
}

int store_begin(struct store *s, struct error *err)
{
    sqlite3_stmt *stmt = NULL;

    assert(!store_is_in_transaction(s));
    int rc = store_sql(s, &stmt, "BEGIN IMMEDIATE", err);
    return rc < 0 ? rc : store_sql_run(s, stmt, "begin a transaction", err);
}

int store_commit(struct store *s, struct error *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = store_audit_write(s, err);

    if (rc == 0)
        rc = store_sql(s, &stmt, "COMMIT", err);
    if (rc == 0)
        rc = store_sql_run(s, stmt, "write to the store", err);
    if (rc < 0)
        store_rollback(s);
    return rc;
}

void store_rollback(struct store *s)
{
    store_audit_forget(s);
    // SQLite has rolled back by itself after some errors.
    (void) make_up(s, NULL);
    store_keys_forget(s);
}

int store_sql_enter(struct store *s, bool *own, struct error *err)
{
    *own = !store_is_in_transaction(s);
    return *own ? store_begin(s, err) : 0;
}

int store_sql_leave(struct store *s, bool own, int rc, struct error *err)
{
    if (!own)
        return rc;
    if (rc < 0) {
        store_rollback(s);
        return rc;
    }
    return store_commit(s, err);
}

int store_meta_get(struct store *s, const char *key, char *value, size_t size,
                   struct error *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = store_sql(s, &stmt, "SELECT value FROM meta WHERE key = ?", err);

    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(stmt, 1, key);
    rc = store_sql_step(s, stmt, "read the database", err);
    if (rc == 1)
        store_sql_text(value, size, stmt, 0);
    store_sql_done(stmt);
    return rc == 0 ? -ENOENT : rc < 0 ? rc : 0;
}

int store_meta_set(struct store *s, const char *key, const char *value,
                   struct error *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = value ? store_sql(s, &stmt,
                               "INSERT INTO meta (key, value) VALUES (?, ?) ON"
                               " CONFLICT (key) DO UPDATE SET value ="
                               " excluded.value",
                               err)
                   : store_sql(s, &stmt, "DELETE FROM meta WHERE key = ?", err);

    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(stmt, 1, key);
    if (value)
        (void) store_sql_bind_text(stmt, 2, value);
    return store_sql_run(s, stmt, "write to the store", err);
}

void store_sql_text(char *out, size_t size, sqlite3_stmt *stmt, int column)
{
    const unsigned char *text = sqlite3_column_text(stmt, column);

    (void) snprintf(out, size, "%s", text ? (const char *) text : "");
}

void store_sql_hash(uint8_t out[STORE_HASH_BYTES], sqlite3_stmt *stmt,
                    int column)
{
    const void *p = sqlite3_column_blob(stmt, column);

    memset(out, 0, STORE_HASH_BYTES);
    if (p && sqlite3_column_bytes(stmt, column) == STORE_HASH_BYTES)
        memcpy(out, p, STORE_HASH_BYTES);
}

double store_sql_float(sqlite3_stmt *stmt, int column)
{
    return sqlite3_column_type(stmt, column) == SQLITE_NULL
               ? (double) NAN
               : sqlite3_column_double(stmt, column);
}

int store_sql_bind_text(sqlite3_stmt *stmt, int i, const char *text)
{
    return sqlite3_bind_text(stmt, i, text, -1, SQLITE_STATIC);
}

int store_sql_bind_hash(sqlite3_stmt *stmt, int i,
                        const uint8_t sha256[STORE_HASH_BYTES])
{
    return sqlite3_bind_blob(stmt, i, sha256, STORE_HASH_BYTES, SQLITE_STATIC);
}

int store_sql_bind_ref(sqlite3_stmt *stmt, int i, int64_t id)
{
    return id ? sqlite3_bind_int64(stmt, i, id) : sqlite3_bind_null(stmt, i);
}
