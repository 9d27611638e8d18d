// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * `active` has one row an adapter; it names the row of `activations` that
 * holds, and each of those names the one that held before. NULL is the base
 * model. So a switch changes one row, and a roll-back follows the chain.
 */

#include "storage/store_adapter.h"

#include "storage/blob.h"
#include "storage/store_sql.h"

#include <errno.h>
#include <string.h>

#define COLUMNS                                                    \
    "SELECT a.id, a.name, a.model_id, m.name, a.created_ms,"       \
    " coalesce(n.version, 0), coalesce(c.time_ms, 0),"             \
    " (SELECT count(*) FROM versions v WHERE v.adapter_id = a.id)" \
    " FROM adapters a JOIN models m ON m.id = a.model_id"          \
    " LEFT JOIN active c ON c.adapter_id = a.id"                   \
    " LEFT JOIN activations n ON n.id = c.activation_id "

static void read_row(struct store_adapter *a, sqlite3_stmt *q)
{
    *a = (struct store_adapter){.id = sqlite3_column_int64(q, 0)};
    store_sql_text(a->name, sizeof(a->name), q, 1);
    a->model_id = sqlite3_column_int64(q, 2);
    store_sql_text(a->model, sizeof(a->model), q, 3);
    a->created_ms = sqlite3_column_int64(q, 4);
    a->active = (uint32_t) sqlite3_column_int64(q, 5);
    a->active_ms = sqlite3_column_int64(q, 6);
    a->versions = (uint32_t) sqlite3_column_int64(q, 7);
}

static int get_one(struct store *s, sqlite3_stmt *q, struct store_adapter *out,
                   struct error *err)
{
    int rc = store_sql_step(s, q, "read the adapter", err);

    if (rc == 1)
        read_row(out, q);
    store_sql_done(q);
    return rc == 1 ? 0 : rc == 0 ? -ENOENT : rc;
}

int store_adapter_get(struct store *s, const char *name,
                      struct store_adapter *out, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q, COLUMNS "WHERE a.name = ?", err);

    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(q, 1, name);
    rc = get_one(s, q, out, err);
    return rc == -ENOENT ? error_set(err, rc, "no adapter is named %s", name)
                         : rc;
}

int store_adapter_get_id(struct store *s, int64_t id, struct store_adapter *out,
                         struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q, COLUMNS "WHERE a.id = ?", err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, id);
    rc = get_one(s, q, out, err);
    return rc == -ENOENT
               ? error_set(err, rc, "there is no adapter %lld", (long long) id)
               : rc;
}

int store_adapter_each(struct store *s, store_adapter_fn fn, void *user,
                       struct error *err)
{
    struct store_adapter a;
    sqlite3_stmt *q;
    int stop = 0;
    int rc = store_sql(s, &q, COLUMNS "ORDER BY a.name", err);

    if (rc < 0)
        return rc;
    while (stop == 0 &&
           (rc = store_sql_step(s, q, "list adapters", err)) == 1) {
        read_row(&a, q);
        stop = fn(&a, user);
    }
    store_sql_done(q);
    return stop ? stop : rc;
}

int store_adapter_add(struct store *s, const char *name, int64_t model_id,
                      int64_t now_ms, int64_t *id, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "INSERT INTO adapters (name, model_id, created_ms)"
                       " VALUES (?, ?, ?)",
                       err);

    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(q, 1, name);
    (void) sqlite3_bind_int64(q, 2, model_id);
    (void) sqlite3_bind_int64(q, 3, now_ms);
    rc = store_sql_run(s, q, "make the adapter", err);
    if (rc == -EEXIST)
        return error_set(err, rc, "an adapter named %s exists already", name);
    if (rc == -EBUSY) // its foreign key
        return error_set(err, -ENOENT, "there is no model %lld",
                         (long long) model_id);
    if (rc == 0)
        *id = sqlite3_last_insert_rowid(s->db);
    return rc;
}

// A number behind a statement of one parameter; -ENOENT without a row.
static int query_id(struct store *s, sqlite3_stmt *q, int64_t param,
                    int64_t *out, struct error *err)
{
    (void) sqlite3_bind_int64(q, 1, param);
    int rc = store_sql_step(s, q, "read the adapter", err);
    if (rc == 1)
        *out = sqlite3_column_int64(q, 0);
    store_sql_done(q);
    return rc == 1 ? 0 : rc == 0 ? -ENOENT : rc;
}

// 0 when the base model is active.
static int current_activation(struct store *s, int64_t adapter_id, int64_t *id,
                              struct error *err)
{
    sqlite3_stmt *q;
    int rc =
        store_sql(s, &q,
                  "SELECT activation_id FROM active WHERE adapter_id = ?", err);

    if (rc < 0)
        return rc;
    *id = 0;
    rc = query_id(s, q, adapter_id, id, err);
    return rc == -ENOENT ? 0 : rc;
}

// The one row that a switch changes. 0 is the base model.
static int set_active(struct store *s, int64_t adapter_id, int64_t activation,
                      int64_t now_ms, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(
        s, &q,
        "INSERT INTO active (adapter_id, activation_id, time_ms)"
        " VALUES (?, ?, ?) ON CONFLICT (adapter_id) DO UPDATE SET"
        " activation_id = excluded.activation_id, time_ms = excluded.time_ms",
        err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, adapter_id);
    (void) store_sql_bind_ref(q, 2, activation);
    (void) sqlite3_bind_int64(q, 3, now_ms);
    return store_sql_run(s, q, "switch the adapter", err);
}

static int add_activation(struct store *s, int64_t adapter_id, uint32_t version,
                          int64_t now_ms, int64_t *id, struct error *err)
{
    int64_t before;
    sqlite3_stmt *q;
    int rc = current_activation(s, adapter_id, &before, err);

    if (rc < 0)
        return rc;
    rc = store_sql(s, &q,
                   "INSERT INTO activations (adapter_id, version, before_id,"
                   " time_ms) VALUES (?, ?, ?, ?)",
                   err);
    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, adapter_id);
    (void) sqlite3_bind_int64(q, 2, version);
    (void) store_sql_bind_ref(q, 3, before);
    (void) sqlite3_bind_int64(q, 4, now_ms);
    rc = store_sql_run(s, q, "switch the adapter", err);
    if (rc == 0)
        *id = sqlite3_last_insert_rowid(s->db);
    return rc;
}

static int set_forced(struct store *s, int64_t adapter_id, uint32_t version,
                      struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "UPDATE versions SET gate = ? WHERE adapter_id = ? AND"
                       " version = ?",
                       err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int(q, 1, STORE_GATE_FORCED);
    (void) sqlite3_bind_int64(q, 2, adapter_id);
    (void) sqlite3_bind_int64(q, 3, version);
    return store_sql_run(s, q, "switch the adapter", err);
}

int store_adapter_activate(struct store *s, int64_t adapter_id,
                           uint32_t version, bool is_forced, int64_t now_ms,
                           struct error *err)
{
    struct store_version v;
    int64_t activation;
    bool own;
    int rc = store_version_get(s, adapter_id, version, &v, err);

    if (rc < 0)
        return rc;
    const bool passed =
        v.gate == STORE_GATE_PASSED || v.gate == STORE_GATE_FORCED;
    if (v.state == STORE_VERSION_RETIRED)
        return error_set(err, -ENOTUNIQ, "version %u is retired: %s", version,
                         v.reason);
    if (!passed && !is_forced)
        return error_set(err, -ENOTUNIQ,
                         "version %u did not pass the gate (%s): `pockctl "
                         "adapter activate --force` uses it nevertheless",
                         version, v.reason[0] ? v.reason : "never evaluated");
    if (v.state == STORE_VERSION_ACTIVE)
        return 0;

    if ((rc = store_sql_enter(s, &own, err)) < 0)
        return rc;
    if (!passed)
        rc = set_forced(s, adapter_id, version, err);
    if (rc == 0)
        rc = add_activation(s, adapter_id, version, now_ms, &activation, err);
    if (rc == 0)
        rc = set_active(s, adapter_id, activation, now_ms, err);
    return store_sql_leave(s, own, rc, err);
}

// The newest activation before `id` whose version is not retired; 0 = none.
static int find_clean(struct store *s, int64_t id, int64_t *clean,
                      uint32_t *version, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(
        s, &q,
        "WITH RECURSIVE chain (id, depth) AS ("
        " SELECT before_id, 1 FROM activations WHERE id = ?"
        " UNION ALL SELECT n.before_id, depth + 1 FROM chain c"
        "  JOIN activations n ON n.id = c.id)"
        "SELECT n.id, n.version FROM chain c JOIN activations n ON n.id = c.id"
        " JOIN versions v ON v.adapter_id = n.adapter_id"
        "  AND v.version = n.version"
        " WHERE NOT v.is_retired ORDER BY c.depth LIMIT 1",
        err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, id);
    rc = store_sql_step(s, q, "roll the adapter back", err);
    *clean = rc == 1 ? sqlite3_column_int64(q, 0) : 0;
    *version = rc == 1 ? (uint32_t) sqlite3_column_int64(q, 1) : 0;
    store_sql_done(q);
    return rc < 0 ? rc : 0;
}

int store_adapter_rollback(struct store *s, int64_t adapter_id, int64_t now_ms,
                           uint32_t *version, struct error *err)
{
    int64_t current = 0, clean = 0;
    uint32_t to = 0;
    bool own;
    int rc = store_sql_enter(s, &own, err);

    if (rc < 0)
        return rc;
    rc = current_activation(s, adapter_id, &current, err);
    if (rc == 0 && current == 0)
        rc = error_set(err, -ENOENT,
                       "the base model is active: there is nothing to roll "
                       "back to");
    if (rc == 0)
        rc = find_clean(s, current, &clean, &to, err);
    if (rc == 0)
        rc = set_active(s, adapter_id, clean, now_ms, err);
    rc = store_sql_leave(s, own, rc, err);
    if (rc == 0 && version)
        *version = to;
    return rc;
}

int store_adapter_deactivate(struct store *s, int64_t adapter_id,
                             int64_t now_ms, struct error *err)
{
    int rc = set_active(s, adapter_id, 0, now_ms, err);

    if (rc == -EBUSY) // its foreign key
        return error_set(err, -ENOENT, "there is no adapter %lld",
                         (long long) adapter_id);
    return rc;
}

int store_adapter_delete(struct store *s, int64_t adapter_id, struct error *err)
{
    int64_t alive = 0;
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "SELECT count(*) FROM jobs WHERE adapter_id = ? AND"
                       " state < 5",
                       err);

    if (rc < 0 || (rc = query_id(s, q, adapter_id, &alive, err)) < 0)
        return rc;
    if (alive > 0)
        return error_set(err, -EBUSY,
                         "a job trains this adapter: cancel it first");
    rc = store_sql(s, &q, "DELETE FROM adapters WHERE id = ?", err);
    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, adapter_id);
    rc = store_sql_run(s, q, "delete the adapter", err);
    if (rc == 0 && sqlite3_changes(s->db) == 0)
        rc = error_set(err, -ENOENT, "there is no adapter %lld",
                       (long long) adapter_id);
    return rc;
}

static bool is_needed(const uint8_t sha256[STORE_HASH_BYTES], void *user)
{
    struct store *s = user;
    sqlite3_stmt *q;

    // When in doubt, it is needed.
    if (store_sql(s, &q,
                  "SELECT 1 FROM versions WHERE sha256 = ? AND NOT is_retired",
                  NULL) < 0)
        return true;
    (void) store_sql_bind_hash(q, 1, sha256);
    int rc = store_sql_step(s, q, "look for adapter files", NULL);
    store_sql_done(q);
    return rc != 0;
}

int store_blob_sweep(struct store *s, uint32_t *removed, struct error *err)
{
    int rc = blob_sweep(s, is_needed, s, removed, err);

    // Keys of files that are gone.
    return rc < 0 ? rc
                  : store_sql_exec(s,
                                   "DELETE FROM files WHERE name GLOB"
                                   " 'adapters/*' AND NOT EXISTS (SELECT 1 FROM"
                                   " versions WHERE NOT is_retired AND"
                                   " lower(hex(sha256)) = substr(name, 10))",
                                   "shred keys", err);
}
