// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_merge.h"

#include "storage/store_sql.h"

#include <errno.h>
#include <string.h>

static int check_part(struct store *s, const struct store_part *p,
                      struct error *err)
{
    struct store_version v;
    int rc = store_version_get(s, p->adapter_id, p->version, &v, err);

    if (rc == -ENOENT ||
        (rc == 0 && (v.state == STORE_VERSION_RETIRED ||
                     memcmp(v.sha256, p->sha256, sizeof(v.sha256)) != 0)))
        return error_set(err, -ESTALE,
                         "version %u of %s was retired or deleted meanwhile",
                         p->version, p->adapter);
    return rc;
}

static int add_part(struct store *s, int64_t adapter_id, uint32_t version,
                    int place, const struct store_part *p, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "INSERT INTO merged_from (adapter_id, version, place,"
                       " of_adapter, of_version, weight)"
                       " VALUES (?, ?, ?, ?, ?, ?)",
                       err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, adapter_id);
    (void) sqlite3_bind_int64(q, 2, version);
    (void) sqlite3_bind_int(q, 3, place);
    (void) store_sql_bind_text(q, 4, p->adapter);
    (void) sqlite3_bind_int64(q, 5, p->version);
    (void) sqlite3_bind_double(q, 6, p->weight);
    return store_sql_run(s, q, "write what was merged", err);
}

static int copy_lineage(struct store *s, int64_t adapter_id, uint32_t version,
                        const struct store_part *p, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(
        s, &q,
        "WITH RECURSIVE line (version) AS (SELECT ?4 UNION"
        " SELECT v.parent FROM line l JOIN versions v ON v.adapter_id = ?3"
        "  AND v.version = l.version WHERE v.parent IS NOT NULL)"
        "INSERT OR IGNORE INTO lineage (adapter_id, version, record_id)"
        " SELECT DISTINCT ?1, ?2, record_id FROM lineage"
        "  WHERE adapter_id = ?3 AND version IN (SELECT version FROM line)",
        err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, adapter_id);
    (void) sqlite3_bind_int64(q, 2, version);
    (void) sqlite3_bind_int64(q, 3, p->adapter_id);
    (void) sqlite3_bind_int64(q, 4, p->version);
    return store_sql_run(s, q, "write the lineage", err);
}

static int count_records(struct store *s, int64_t adapter_id, uint32_t version,
                         struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "UPDATE versions SET records = (SELECT count(*) FROM"
                       " lineage WHERE adapter_id = ?1 AND version = ?2)"
                       " WHERE adapter_id = ?1 AND version = ?2",
                       err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, adapter_id);
    (void) sqlite3_bind_int64(q, 2, version);
    return store_sql_run(s, q, "count the lineage", err);
}

int store_merge_add(struct store *s, const struct store_version *v,
                    const struct store_part *parts, size_t count,
                    uint32_t *version, struct error *err)
{
    uint32_t number = 0;
    bool own;
    int rc = store_sql_enter(s, &own, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = check_part(s, &parts[i], err);
    if (rc == 0)
        rc = store_version_add(s, v, &number, err);
    if (rc == -EEXIST)
        *version = number;
    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = add_part(s, v->adapter_id, number, (int) i, &parts[i], err);
        if (rc == 0)
            rc = copy_lineage(s, v->adapter_id, number, &parts[i], err);
    }
    if (rc == 0)
        rc = count_records(s, v->adapter_id, number, err);
    rc = store_sql_leave(s, own, rc, err);
    if (rc == 0)
        *version = number;
    return rc;
}

int store_merge_each(struct store *s, int64_t adapter_id, uint32_t version,
                     store_part_fn fn, void *user, struct error *err)
{
    struct store_part p;
    sqlite3_stmt *q;
    int stop = 0;
    int rc = store_sql(s, &q,
                       "SELECT of_adapter, of_version, weight FROM merged_from"
                       " WHERE adapter_id = ? AND version = ? ORDER BY place",
                       err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, adapter_id);
    (void) sqlite3_bind_int64(q, 2, version);
    while (stop == 0 &&
           (rc = store_sql_step(s, q, "read what was merged", err)) == 1) {
        p = (struct store_part){.weight = sqlite3_column_double(q, 2)};
        store_sql_text(p.adapter, sizeof(p.adapter), q, 0);
        p.version = (uint32_t) sqlite3_column_int64(q, 1);
        stop = fn(&p, user);
    }
    store_sql_done(q);
    return stop ? stop : rc;
}
