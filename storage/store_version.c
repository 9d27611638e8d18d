// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/blob.h"
#include "storage/store_adapter.h"
#include "storage/store_sql.h"

#include <errno.h>
#include <math.h>

#define COLUMNS                                                               \
    "SELECT v.adapter_id, v.version, v.parent, v.job_id, v.is_imported,"      \
    " v.is_retired, n.version IS v.version, v.created_ms, v.sha256, v.bytes," \
    " v.rank, v.records, v.heldout_before, v.heldout_after, v.probe_before,"  \
    " v.probe_after, v.gate, v.reason, EXISTS (SELECT 1 FROM merged_from f"   \
    " WHERE f.adapter_id = v.adapter_id AND f.version = v.version),"          \
    " v.dp_epsilon, v.dp_delta,"                                              \
    " x.sequences, x.recited, x.bits, x.bits_base, x.bits_drawn, x.record_id" \
    " FROM versions v"                                                        \
    " LEFT JOIN exposures x ON x.adapter_id = v.adapter_id"                   \
    " AND x.version = v.version"                                              \
    " LEFT JOIN active c ON c.adapter_id = v.adapter_id"                      \
    " LEFT JOIN activations n ON n.id = c.activation_id "

const char *store_gate_name(enum store_gate gate)
{
    static const char *const names[] = {"none", "passed", "failed", "forced"};

    return (unsigned) gate < 4 ? names[gate] : "none";
}

const char *store_version_state_name(enum store_version_state state)
{
    static const char *const names[] = {"kept", "active", "retired"};

    return (unsigned) state < 3 ? names[state] : "retired";
}

void store_version_init(struct store_version *v)
{
    const double unknown = (double) NAN;

    *v = (struct store_version){
        .heldout_before = unknown,
        .heldout_after = unknown,
        .probe_before = unknown,
        .probe_after = unknown,
        .dp_epsilon = unknown,
        .dp_delta = unknown,
        .exposure.bits = unknown,
        .exposure.bits_base = unknown,
        .exposure.bits_drawn = unknown,
    };
}

static void read_row(struct store_version *v, sqlite3_stmt *q)
{
    *v = (struct store_version){.adapter_id = sqlite3_column_int64(q, 0)};
    v->version = (uint32_t) sqlite3_column_int64(q, 1);
    v->parent = (uint32_t) sqlite3_column_int64(q, 2);
    v->job_id = sqlite3_column_int64(q, 3);
    v->is_imported = sqlite3_column_int(q, 4) != 0;
    v->state = sqlite3_column_int(q, 5)   ? STORE_VERSION_RETIRED
               : sqlite3_column_int(q, 6) ? STORE_VERSION_ACTIVE
                                          : STORE_VERSION_KEPT;
    v->created_ms = sqlite3_column_int64(q, 7);
    store_sql_hash(v->sha256, q, 8);
    v->bytes = sqlite3_column_int64(q, 9);
    v->rank = (uint32_t) sqlite3_column_int64(q, 10);
    v->records = sqlite3_column_int64(q, 11);
    v->heldout_before = store_sql_float(q, 12);
    v->heldout_after = store_sql_float(q, 13);
    v->probe_before = store_sql_float(q, 14);
    v->probe_after = store_sql_float(q, 15);
    v->gate = (enum store_gate) sqlite3_column_int(q, 16);
    store_sql_text(v->reason, sizeof(v->reason), q, 17);
    v->is_merged = sqlite3_column_int(q, 18) != 0;
    v->dp_epsilon = store_sql_float(q, 19);
    v->dp_delta = store_sql_float(q, 20);
    v->exposure.sequences = sqlite3_column_int64(q, 21);
    v->exposure.recited = sqlite3_column_int64(q, 22);
    v->exposure.bits = store_sql_float(q, 23);
    v->exposure.bits_base = store_sql_float(q, 24);
    v->exposure.bits_drawn = store_sql_float(q, 25);
    v->exposure.record_id = sqlite3_column_int64(q, 26);
}

int store_version_get(struct store *s, int64_t adapter_id, uint32_t version,
                      struct store_version *out, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       COLUMNS "WHERE v.adapter_id = ? AND v.version = ?", err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, adapter_id);
    (void) sqlite3_bind_int64(q, 2, version);
    rc = store_sql_step(s, q, "read the version", err);
    if (rc == 1)
        read_row(out, q);
    store_sql_done(q);
    if (rc == 0)
        return error_set(err, -ENOENT, "the adapter has no version %u",
                         version);
    return rc < 0 ? rc : 0;
}

int store_version_each(struct store *s, int64_t adapter_id, store_version_fn fn,
                       void *user, struct error *err)
{
    struct store_version v;
    sqlite3_stmt *q;
    int stop = 0;
    int rc =
        store_sql(s, &q, COLUMNS "WHERE v.adapter_id = ? ORDER BY v.version",
                  err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, adapter_id);
    while (stop == 0 &&
           (rc = store_sql_step(s, q, "list versions", err)) == 1) {
        read_row(&v, q);
        stop = fn(&v, user);
    }
    store_sql_done(q);
    return stop ? stop : rc;
}

// -EEXIST when the adapter has these bytes already.
static int check_new(struct store *s, const struct store_version *v,
                     uint32_t *version, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "SELECT version FROM versions WHERE sha256 = ? AND"
                       " adapter_id = ? AND NOT is_retired",
                       err);

    if (rc < 0)
        return rc;
    (void) store_sql_bind_hash(q, 1, v->sha256);
    (void) sqlite3_bind_int64(q, 2, v->adapter_id);
    rc = store_sql_step(s, q, "add the version", err);
    if (rc == 1) {
        *version = (uint32_t) sqlite3_column_int64(q, 0);
        rc = error_set(err, -EEXIST, "version %u has the same content",
                       *version);
    }
    store_sql_done(q);
    return rc;
}

static int take_number(struct store *s, int64_t adapter_id, uint32_t *version,
                       struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "UPDATE adapters SET next_version = next_version + 1"
                       " WHERE id = ? RETURNING next_version - 1",
                       err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, adapter_id);
    rc = store_sql_step(s, q, "add the version", err);
    if (rc == 1)
        *version = (uint32_t) sqlite3_column_int64(q, 0);
    store_sql_done(q);
    if (rc == 0)
        return error_set(err, -ENOENT, "there is no adapter %lld",
                         (long long) adapter_id);
    return rc < 0 ? rc : 0;
}

static int insert(struct store *s, const struct store_version *v,
                  uint32_t version, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(
        s, &q,
        "INSERT INTO versions (adapter_id, version, parent, job_id,"
        " is_imported, created_ms, sha256, bytes, rank, records,"
        " heldout_before, heldout_after, probe_before, probe_after, gate,"
        " reason, dp_epsilon, dp_delta)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, v->adapter_id);
    (void) sqlite3_bind_int64(q, 2, version);
    (void) store_sql_bind_ref(q, 3, v->parent);
    (void) store_sql_bind_ref(q, 4, v->job_id);
    (void) sqlite3_bind_int(q, 5, v->is_imported);
    (void) sqlite3_bind_int64(q, 6, v->created_ms);
    (void) store_sql_bind_hash(q, 7, v->sha256);
    (void) sqlite3_bind_int64(q, 8, v->bytes);
    (void) sqlite3_bind_int64(q, 9, v->rank);
    (void) sqlite3_bind_int64(q, 10, v->records);
    (void) sqlite3_bind_double(q, 11, v->heldout_before);
    (void) sqlite3_bind_double(q, 12, v->heldout_after);
    (void) sqlite3_bind_double(q, 13, v->probe_before);
    (void) sqlite3_bind_double(q, 14, v->probe_after);
    (void) sqlite3_bind_int(q, 15, (int) v->gate);
    (void) store_sql_bind_text(q, 16, v->reason);
    (void) sqlite3_bind_double(q, 17, v->dp_epsilon);
    (void) sqlite3_bind_double(q, 18, v->dp_delta);
    return store_sql_run(s, q, "add the version", err);
}

static int insert_exposure(struct store *s, const struct store_version *v,
                           uint32_t version, struct error *err)
{
    const struct store_exposure *e = &v->exposure;
    sqlite3_stmt *q;
    int rc;

    if (e->sequences == 0)
        return 0;
    rc = store_sql(s, &q,
                   "INSERT INTO exposures (adapter_id, version, sequences,"
                   " recited, bits, bits_base, bits_drawn, record_id)"
                   " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                   err);
    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, v->adapter_id);
    (void) sqlite3_bind_int64(q, 2, version);
    (void) sqlite3_bind_int64(q, 3, e->sequences);
    (void) sqlite3_bind_int64(q, 4, e->recited);
    (void) sqlite3_bind_double(q, 5, e->bits);
    (void) sqlite3_bind_double(q, 6, e->bits_base);
    (void) sqlite3_bind_double(q, 7, e->bits_drawn);
    (void) store_sql_bind_ref(q, 8, e->record_id);
    return store_sql_run(s, q, "add what the version knows by heart", err);
}

int store_version_add(struct store *s, const struct store_version *v,
                      uint32_t *version, struct error *err)
{
    uint32_t number = 0;
    bool own;
    int rc;

    const bool is_retired = v->state == STORE_VERSION_RETIRED;

    // First the file, then the row; of a retired one only its row is left.
    if (!is_retired && !store_blob_exists(s, v->sha256, (uint64_t) v->bytes))
        return error_set(err, -ENOENT,
                         "the version's file is not in the store");
    if ((rc = store_sql_enter(s, &own, err)) < 0)
        return rc;
    rc = is_retired ? 0 : check_new(s, v, version, err);
    if (rc == 0)
        rc = take_number(s, v->adapter_id, &number, err);
    if (rc == 0)
        rc = insert(s, v, number, err);
    if (rc == 0)
        rc = insert_exposure(s, v, number, err);
    if (rc == 0 && is_retired)
        rc = store_version_mark_retired(s, v->adapter_id, number, v->reason,
                                        err);
    rc = store_sql_leave(s, own, rc, err);
    if (rc == 0)
        *version = number;
    return rc;
}

int store_version_mark_retired(struct store *s, int64_t adapter_id,
                               uint32_t version, const char *reason,
                               struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "UPDATE versions SET is_retired = 1, reason = ?"
                       " WHERE adapter_id = ? AND version = ?",
                       err);

    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(q, 1, reason);
    (void) sqlite3_bind_int64(q, 2, adapter_id);
    (void) sqlite3_bind_int64(q, 3, version);
    return store_sql_run(s, q, "retire the version", err);
}

int store_version_retire(struct store *s, int64_t adapter_id, uint32_t version,
                         const char *reason, struct error *err)
{
    struct store_version v;
    int rc = store_version_get(s, adapter_id, version, &v, err);

    if (rc < 0)
        return rc;
    if (v.state == STORE_VERSION_ACTIVE)
        return error_set(err, -EBUSY,
                         "version %u is active: activate another one first",
                         version);
    return store_version_mark_retired(s, adapter_id, version, reason, err);
}

// One version whose file is not as its row says; 0 when there is none.
static int find_lost(struct store *s, struct store_version *v,
                     struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q, COLUMNS "WHERE NOT v.is_retired", err);

    if (rc < 0)
        return rc;
    while ((rc = store_sql_step(s, q, "look for adapter files", err)) == 1) {
        read_row(v, q);
        if (!store_blob_exists(s, v->sha256, (uint64_t) v->bytes))
            break;
    }
    store_sql_done(q);
    return rc;
}

int store_version_retire_lost(struct store *s, int64_t now_ms, uint32_t *lost,
                              struct error *err)
{
    struct store_version v;
    uint32_t n = 0;
    int rc;

    while ((rc = find_lost(s, &v, err)) == 1) {
        bool own;
        if ((rc = store_sql_enter(s, &own, err)) < 0)
            return rc;
        rc = store_version_mark_retired(s, v.adapter_id, v.version,
                                        "its file was lost or damaged", err);
        if (rc == 0 && v.state == STORE_VERSION_ACTIVE)
            rc = store_adapter_rollback(s, v.adapter_id, now_ms, NULL, err);
        if ((rc = store_sql_leave(s, own, rc, err)) < 0)
            return rc;
        n++;
    }
    if (rc == 0)
        *lost = n;
    return rc;
}
