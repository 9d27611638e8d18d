// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_import.h"

#include "storage/store_key.h"
#include "storage/store_keyring.h"
#include "storage/store_sql.h"

#include <errno.h>
#include <string.h>

int store_import_next_job(struct store *s, int64_t id, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "UPDATE sqlite_sequence SET seq = ?2 WHERE name = ?1 AND"
                       " seq < ?2",
                       err);

    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(q, 1, "jobs");
    (void) sqlite3_bind_int64(q, 2, id - 1);
    if ((rc = store_sql_run(s, q, "import", err)) < 0)
        return rc;
    // A table that never had a row has no sequence yet.
    rc =
        store_sql(s, &q,
                  "INSERT INTO sqlite_sequence (name, seq) SELECT ?1, ?2 WHERE"
                  " NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = ?1)",
                  err);
    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(q, 1, "jobs");
    (void) sqlite3_bind_int64(q, 2, id - 1);
    return store_sql_run(s, q, "import", err);
}

int store_import_next_record(struct store *s, int64_t id, struct error *err)
{
    int64_t next;
    int rc = store_keys_next_id(s, &next, err);

    // The row itself moves the sequence, for it brings its id.
    if (rc == 0 && next < id)
        s->keys->next_id = id;
    return rc;
}

// So that the next version gets this number; -ENOTUNIQ when it was given.
static int move_version(struct store *s, int64_t adapter_id, uint32_t version,
                        struct error *err)
{
    int64_t next = 0;
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "UPDATE adapters SET next_version = max(next_version,"
                       " ?2) WHERE id = ?1 RETURNING next_version",
                       err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, adapter_id);
    (void) sqlite3_bind_int64(q, 2, version);
    rc = store_sql_step(s, q, "import", err);
    if (rc == 1)
        next = sqlite3_column_int64(q, 0);
    store_sql_done(q);
    if (rc < 0)
        return rc;
    return next == version
               ? 0
               : error_set(err, -ENOTUNIQ, "the number %u was given already",
                           version);
}

int store_import_version(struct store *s, const struct store_version *v,
                         struct error *err)
{
    struct store_version there;
    uint32_t number = 0;
    int rc = store_version_get(s, v->adapter_id, v->version, &there, err);

    if (rc == 0) {
        const bool is_same =
            memcmp(there.sha256, v->sha256, sizeof(v->sha256)) == 0;
        return is_same
                   ? error_set(err, -EEXIST, "version %u is there", v->version)
                   : error_set(err, -ENOTUNIQ, "version %u is another one here",
                               v->version);
    }
    if (rc != -ENOENT ||
        (rc = move_version(s, v->adapter_id, v->version, err)) < 0)
        return rc;
    rc = store_version_add(s, v, &number, err);
    if (rc == -EEXIST) // the same bytes under another number
        return error_set(err, -ENOTUNIQ, "its bytes are those of version %u",
                         number);
    return rc;
}

int store_import_part(struct store *s, int64_t adapter_id, uint32_t version,
                      int place, const struct store_part *p, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "INSERT OR IGNORE INTO merged_from (adapter_id, version,"
                       " place, of_adapter, of_version, weight)"
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
    return store_sql_run(s, q, "import", err);
}

int store_import_find_job(struct store *s, int64_t adapter_id,
                          int64_t created_ms, int64_t *id, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "SELECT id FROM jobs WHERE adapter_id = ? AND"
                       " created_ms = ?",
                       err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, adapter_id);
    (void) sqlite3_bind_int64(q, 2, created_ms);
    rc = store_sql_step(s, q, "import", err);
    if (rc == 1)
        *id = sqlite3_column_int64(q, 0);
    store_sql_done(q);
    return rc == 1 ? 0 : rc == 0 ? -ENOENT : rc;
}
