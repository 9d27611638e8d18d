// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Statements (inside storage/)
 *
 * What the files of the tables share: prepared statements that are kept,
 * errors of SQLite as errno and sentence, transactions that join an open one.
 */

#include "storage/store.h"

#include <sqlite3.h>

enum { STORE_STATEMENTS_MAX = 256 };

struct store {
    sqlite3 *db;
    char *dir;
    char *vfs; // or NULL
    int dirfd;
    int adapters_dirfd;
    int lockfd;
    struct keyring *keys; // NULL until they are open
    bool is_degraded;
    struct store_audit *noted; // for the audit log, until the next commit
    size_t noted_count;
    bool is_damaged;      // as SQLite found; the next start checks
    bool is_rollback_due; // there was no memory for it
    struct {
        const char *sql; // compared by address
        sqlite3_stmt *stmt;
    } cache[STORE_STATEMENTS_MAX];
};

// A statement ready to be bound. `sql` is a literal. End its use with
// store_sql_done(), on every path; NULL is fine there.
int store_sql(struct store *s, sqlite3_stmt **out, const char *sql,
              struct error *err);
void store_sql_done(sqlite3_stmt *stmt);
// All of them; before the connection is closed.
void store_sql_forget(struct store *s);

// 1: a row; 0: the end; else a negative errno and "cannot WHAT: why".
int store_sql_step(struct store *s, sqlite3_stmt *stmt, const char *what,
                   struct error *err);
// For a statement without rows: step and done.
int store_sql_run(struct store *s, sqlite3_stmt *stmt, const char *what,
                  struct error *err);
// Several statements without parameters.
int store_sql_exec(struct store *s, const char *sql, const char *what,
                   struct error *err);
// The errno for a result code of SQLite.
int store_sql_errno(struct store *s, int rc);
int store_sql_error(struct store *s, int rc, const char *what,
                    struct error *err);

// Several writes as one: begins a transaction unless the caller holds one;
// *own tells store_sql_leave() whether to commit, or to roll back when rc < 0.
int store_sql_enter(struct store *s, bool *own, struct error *err);
int store_sql_leave(struct store *s, bool own, int rc, struct error *err);

// What was noted for the audit log, inside the transaction that is open. What
// one that is rolled back noted is forgotten.
int store_audit_write(struct store *s, struct error *err);
// The temporary table of records that are being erased, in memory.
int store_sql_make_temp(struct store *s, struct error *err);

// Small values of the store itself. -ENOENT. NULL removes.
int store_meta_get(struct store *s, const char *key, char *value, size_t size,
                   struct error *err);
int store_meta_set(struct store *s, const char *key, const char *value,
                   struct error *err);

// Columns and parameters.
void store_sql_text(char *out, size_t size, sqlite3_stmt *stmt, int column);
void store_sql_hash(uint8_t out[STORE_HASH_BYTES], sqlite3_stmt *stmt,
                    int column);
double store_sql_float(sqlite3_stmt *stmt, int column); // NULL is NAN
int store_sql_bind_text(sqlite3_stmt *stmt, int i, const char *text);
int store_sql_bind_hash(sqlite3_stmt *stmt, int i,
                        const uint8_t sha256[STORE_HASH_BYTES]);
// A row of id, app, name, records, bytes, first, last.
struct store_stream;
void store_stream_read(struct store_stream *st, sqlite3_stmt *q);
// 0 is NULL.
int store_sql_bind_ref(sqlite3_stmt *stmt, int i, int64_t id);

// Versions whose file is missing or short are retired, and not active any more.
int store_version_retire_lost(struct store *s, int64_t now_ms, uint32_t *lost,
                              struct error *err);
// As store_version_retire(), for an active one too.
int store_version_mark_retired(struct store *s, int64_t adapter_id,
                               uint32_t version, const char *reason,
                               struct error *err);
// Delete what store_open() moved aside: it holds texts.
int store_forget_quarantine(struct store *s, struct error *err);
