// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_lineage.h"

#include "storage/store_filter.h"
#include "storage/store_sql.h"

#include <errno.h>

static int add_one(struct store *s, int64_t adapter_id, uint32_t version,
                   int64_t record_id, size_t *lost, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "INSERT OR REPLACE INTO lineage (adapter_id, version,"
                       " record_id) SELECT ?, ?, id FROM records WHERE id = ?",
                       err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, adapter_id);
    (void) sqlite3_bind_int64(q, 2, version);
    (void) sqlite3_bind_int64(q, 3, record_id);
    rc = store_sql_run(s, q, "write the lineage", err);
    if (rc == -EBUSY) // its foreign key
        return error_set(err, -ENOENT, "the adapter has no version %u",
                         version);
    *lost += rc == 0 && sqlite3_changes(s->db) == 0;
    return rc;
}

int store_lineage_add(struct store *s, int64_t adapter_id, uint32_t version,
                      const int64_t *record_ids, size_t count, size_t *lost,
                      struct error *err)
{
    size_t n = 0;
    bool own;
    int rc = store_sql_enter(s, &own, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = add_one(s, adapter_id, version, record_ids[i], &n, err);
    rc = store_sql_leave(s, own, rc, err);
    if (rc == 0 && lost)
        *lost = n;
    return rc;
}

int store_lineage_streams(struct store *s, int64_t adapter_id, uint32_t version,
                          store_stream_fn fn, void *user, struct error *err)
{
    struct store_stream st;
    sqlite3_stmt *q;
    int stop = 0;
    int rc = store_sql(
        s, &q,
        "WITH RECURSIVE line (version) AS (SELECT ?2 UNION"
        " SELECT v.parent FROM line l JOIN versions v ON v.adapter_id = ?1"
        "  AND v.version = l.version WHERE v.parent IS NOT NULL),"
        " seen AS (SELECT DISTINCT record_id FROM lineage WHERE adapter_id = ?1"
        "  AND version IN (SELECT version FROM line))"
        "SELECT s.id, s.app, s.name, count(*), sum(r.bytes), min(r.time_ms),"
        " max(r.time_ms) FROM seen JOIN records r ON r.id = seen.record_id"
        " JOIN streams s ON s.id = r.stream_id GROUP BY s.id"
        " ORDER BY s.app, s.name",
        err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, adapter_id);
    (void) sqlite3_bind_int64(q, 2, version);
    while (stop == 0 &&
           (rc = store_sql_step(s, q, "read the lineage", err)) == 1) {
        store_stream_read(&st, q);
        stop = fn(&st, user);
    }
    store_sql_done(q);
    return stop ? stop : rc;
}

int store_lineage_unseen(struct store *s, int64_t adapter_id,
                         const struct store_filter *f, int64_t *count,
                         struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "SELECT count(*) FROM records r WHERE" STORE_FILTER_SQL
                       "AND NOT EXISTS (SELECT 1 FROM lineage l JOIN versions v"
                       " USING (adapter_id, version) WHERE l.record_id = r.id"
                       " AND l.adapter_id = ?6 AND NOT v.is_retired)",
                       err);

    if (rc < 0)
        return rc;
    rc = store_filter_bind(q, f, err);
    (void) sqlite3_bind_int64(q, 6, adapter_id);
    if (rc == 0)
        rc = store_sql_step(s, q, "count new records", err);
    if (rc == 1)
        *count = sqlite3_column_int64(q, 0);
    store_sql_done(q);
    return rc < 0 ? rc : 0;
}
