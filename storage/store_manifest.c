// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_manifest.h"

#include "engine/base/fault.h"
#include "storage/store_sql.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// The version and those that it comes of, by ?1 and ?2.
#define LINE                                                         \
    "WITH RECURSIVE line (version) AS (SELECT ?2 UNION"              \
    " SELECT v.parent FROM line l JOIN versions v ON v.adapter_id =" \
    "  ?1 AND v.version = l.version WHERE v.parent IS NOT NULL) "

int store_manifest_add(struct store *s, int64_t adapter_id, uint32_t version,
                       const struct store_manifest *m, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "INSERT INTO manifests (adapter_id, version, root,"
                       " leaves, json, signature) VALUES (?, ?, ?, ?, ?, ?)",
                       err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, adapter_id);
    (void) sqlite3_bind_int64(q, 2, version);
    if (m->has_root)
        (void) store_sql_bind_hash(q, 3, m->root);
    (void) sqlite3_bind_int64(q, 4, m->leaves);
    (void) store_sql_bind_text(q, 5, m->json);
    (void) sqlite3_bind_blob(q, 6, m->signature, sizeof(m->signature),
                             SQLITE_STATIC);
    return store_sql_run(s, q, "write the manifest", err);
}

static int read_manifest(struct store_manifest *m, sqlite3_stmt *q,
                         struct error *err)
{
    const char *json = (const char *) sqlite3_column_text(q, 2);
    const void *signature = sqlite3_column_blob(q, 3);

    *m = (struct store_manifest){.leaves = sqlite3_column_int64(q, 1)};
    m->has_root = sqlite3_column_type(q, 0) != SQLITE_NULL;
    store_sql_hash(m->root, q, 0);
    if (signature && sqlite3_column_bytes(q, 3) == STORE_SIGNATURE_BYTES)
        memcpy(m->signature, signature, STORE_SIGNATURE_BYTES);
    const size_t n = json ? strlen(json) + 1 : 1;
    if (!(m->json = fault_malloc(n)))
        return error_set(err, -ENOMEM, "out of memory");
    memcpy(m->json, json ? json : "", n);
    return 0;
}

int store_manifest_get(struct store *s, int64_t adapter_id, uint32_t version,
                       struct store_manifest *out, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "SELECT root, leaves, json, signature FROM manifests"
                       " WHERE adapter_id = ? AND version = ?",
                       err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, adapter_id);
    (void) sqlite3_bind_int64(q, 2, version);
    rc = store_sql_step(s, q, "read the manifest", err);
    if (rc == 1)
        rc = read_manifest(out, q, err);
    else if (rc == 0)
        rc = error_set(err, -ENOENT,
                       "version %u has no manifest: it was made before there "
                       "were any",
                       version);
    store_sql_done(q);
    return rc;
}

void store_manifest_finish(struct store_manifest *m)
{
    free(m->json);
    m->json = NULL;
}

static int push(int64_t **ids, size_t *count, size_t *size, int64_t id)
{
    if (*count == *size) {
        const size_t more = *size ? 2 * *size : 256;
        int64_t *p = fault_realloc(*ids, more * sizeof(*p));
        if (!p)
            return -ENOMEM;
        *ids = p;
        *size = more;
    }
    (*ids)[(*count)++] = id;
    return 0;
}

static int take_ids(struct store *s, sqlite3_stmt *q, int64_t adapter_id,
                    uint32_t version, int64_t **ids, size_t *count,
                    struct error *err)
{
    int64_t *list = NULL;
    size_t n = 0, size = 0;
    int rc;

    (void) sqlite3_bind_int64(q, 1, adapter_id);
    (void) sqlite3_bind_int64(q, 2, version);
    while ((rc = store_sql_step(s, q, "read the lineage", err)) == 1)
        if (push(&list, &n, &size, sqlite3_column_int64(q, 0)) < 0) {
            rc = error_set(err, -ENOMEM, "out of memory");
            break;
        }
    store_sql_done(q);
    if (rc < 0) {
        free(list);
        return rc;
    }
    *ids = list;
    *count = n;
    return 0;
}

int store_lineage_ids(struct store *s, int64_t adapter_id, uint32_t version,
                      int64_t **ids, size_t *count, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       LINE "SELECT DISTINCT record_id FROM lineage WHERE"
                            " adapter_id = ?1 AND version IN (SELECT version"
                            " FROM line) ORDER BY record_id",
                       err);

    return rc < 0 ? rc : take_ids(s, q, adapter_id, version, ids, count, err);
}

int store_lineage_own(struct store *s, int64_t adapter_id, uint32_t version,
                      int64_t **ids, size_t *count, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "SELECT record_id FROM lineage WHERE adapter_id = ?1"
                       " AND version = ?2 ORDER BY record_id",
                       err);

    return rc < 0 ? rc : take_ids(s, q, adapter_id, version, ids, count, err);
}

int store_lineage_is_complete(struct store *s, int64_t adapter_id,
                              uint32_t version, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(
        s, &q,
        LINE "SELECT count(*) FROM line JOIN versions v ON v.adapter_id = ?1"
             " AND v.version = line.version"
             " LEFT JOIN manifests m ON m.adapter_id = v.adapter_id AND"
             "  m.version = v.version"
             " WHERE CASE WHEN m.version IS NOT NULL THEN m.root IS NULL"
             "  ELSE v.is_imported OR EXISTS (SELECT 1 FROM merged_from f"
             "   WHERE f.adapter_id = v.adapter_id AND f.version = v.version)"
             "  END OR EXISTS (SELECT 1 FROM lineage_forgotten g WHERE"
             "   g.adapter_id = v.adapter_id AND g.version = v.version)",
        err);
    int64_t unknown = 0;

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, adapter_id);
    (void) sqlite3_bind_int64(q, 2, version);
    rc = store_sql_step(s, q, "read the lineage", err);
    if (rc == 1)
        unknown = sqlite3_column_int64(q, 0);
    store_sql_done(q);
    return rc < 0 ? rc : unknown == 0;
}

int store_lineage_months(struct store *s, int64_t adapter_id, uint32_t version,
                         store_month_fn fn, void *user, struct error *err)
{
    struct store_month m;
    sqlite3_stmt *q;
    int stop = 0;
    int rc = store_sql(
        s, &q,
        LINE "SELECT s.app, s.name, strftime('%Y-%m', r.time_ms / 1000,"
             " 'unixepoch') AS month, count(*), sum(r.bytes) FROM"
             " (SELECT DISTINCT record_id FROM lineage WHERE adapter_id = ?1"
             "  AND version IN (SELECT version FROM line)) l"
             " JOIN records r ON r.id = l.record_id"
             " JOIN streams s ON s.id = r.stream_id"
             " GROUP BY s.app, s.name, month ORDER BY s.app, s.name, month",
        err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, adapter_id);
    (void) sqlite3_bind_int64(q, 2, version);
    while (stop == 0 &&
           (rc = store_sql_step(s, q, "read the lineage", err)) == 1) {
        store_sql_text(m.app, sizeof(m.app), q, 0);
        store_sql_text(m.stream, sizeof(m.stream), q, 1);
        store_sql_text(m.month, sizeof(m.month), q, 2);
        m.records = sqlite3_column_int64(q, 3);
        m.bytes = sqlite3_column_int64(q, 4);
        stop = fn(&m, user);
    }
    store_sql_done(q);
    return stop ? stop : rc;
}

int store_salt_get(struct store *s, int64_t record_id,
                   uint8_t salt[STORE_SALT_BYTES], struct error *err)
{
    sqlite3_stmt *q;
    int rc =
        store_sql(s, &q, "SELECT salt FROM record_salts WHERE record_id = ?",
                  err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, record_id);
    rc = store_sql_step(s, q, "read a salt", err);
    if (rc == 1) {
        const void *p = sqlite3_column_blob(q, 0);
        if (p && sqlite3_column_bytes(q, 0) == STORE_SALT_BYTES)
            memcpy(salt, p, STORE_SALT_BYTES);
        else
            rc = error_set(err, -EUCLEAN, "record %lld has a damaged salt",
                           (long long) record_id);
    }
    store_sql_done(q);
    if (rc == 0)
        return error_set(err, -ENOENT, "record %lld has no salt",
                         (long long) record_id);
    return rc < 0 ? rc : 0;
}

int store_salt_put(struct store *s, int64_t record_id,
                   const uint8_t salt[STORE_SALT_BYTES], struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "INSERT OR IGNORE INTO record_salts (record_id, salt)"
                       " VALUES (?, ?)",
                       err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, record_id);
    (void) sqlite3_bind_blob(q, 2, salt, STORE_SALT_BYTES, SQLITE_STATIC);
    rc = store_sql_run(s, q, "write a salt", err);
    return rc == -EBUSY ? error_set(err, -ENOENT, "there is no record %lld",
                                    (long long) record_id)
                        : rc;
}

int store_salt_make(struct store *s, int64_t record_id,
                    uint8_t salt[STORE_SALT_BYTES], struct error *err)
{
    int rc = store_salt_get(s, record_id, salt, err);

    if (rc != -ENOENT)
        return rc;
    if (getentropy(salt, STORE_SALT_BYTES) < 0)
        return error_set(err, -errno, "the system has no random numbers");
    return store_salt_put(s, record_id, salt, err);
}
