// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/fault.h"
#include "storage/migrate.h"
#include "storage/store_adapter.h"
#include "storage/store_filter.h"
#include "storage/store_key.h"
#include "storage/store_record.h"
#include "storage/store_sql.h"

#include <errno.h>
#include <stdlib.h>

struct used_list {
    struct store_used_by *items;
    size_t count;
    size_t size;
};

static int append(struct used_list *l, sqlite3_stmt *q, struct error *err)
{
    if (l->count == l->size) {
        size_t size = l->size ? 2 * l->size : 16;
        struct store_used_by *p =
            fault_realloc(l->items, size * sizeof(l->items[0]));
        if (!p)
            return error_set(err, -ENOMEM, "cannot erase: out of memory");
        l->items = p;
        l->size = size;
    }
    struct store_used_by *u = &l->items[l->count++];
    u->adapter_id = sqlite3_column_int64(q, 0);
    store_sql_text(u->adapter, sizeof(u->adapter), q, 1);
    u->version = (uint32_t) sqlite3_column_int64(q, 2);
    u->is_active = sqlite3_column_int(q, 3) != 0;
    return 0;
}

// Put the ids of what passes into the temporary table, and sum up.
static int select_records(struct store *s, const struct store_filter *f,
                          struct store_erased *out, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql_exec(s, "DELETE FROM erasing", "erase", err);

    if (rc < 0)
        return rc;
    rc = store_sql(s, &q,
                   "INSERT INTO erasing SELECT r.id FROM records r"
                   " WHERE" STORE_FILTER_SQL,
                   err);
    if (rc < 0)
        return rc;
    if ((rc = store_filter_bind(q, f, err)) < 0) {
        store_sql_done(q);
        return rc;
    }
    if ((rc = store_sql_run(s, q, "erase", err)) < 0)
        return rc;
    rc = store_sql(s, &q,
                   "SELECT count(*), coalesce(sum(bytes), 0) FROM records"
                   " WHERE id IN (SELECT id FROM erasing)",
                   err);
    if (rc < 0)
        return rc;
    rc = store_sql_step(s, q, "erase", err);
    if (rc == 1) {
        out->records = sqlite3_column_int64(q, 0);
        out->bytes = sqlite3_column_int64(q, 1);
    }
    store_sql_done(q);
    return rc < 0 ? rc : 0;
}

static int find_versions(struct store *s, struct used_list *l,
                         struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(
        s, &q,
        "WITH RECURSIVE used (adapter_id, version) AS ("
        " SELECT adapter_id, version FROM lineage"
        "  WHERE record_id IN (SELECT id FROM erasing)"
        " UNION"
        " SELECT v.adapter_id, v.version FROM used u JOIN versions v"
        "  ON v.adapter_id = u.adapter_id AND v.parent = u.version)"
        "SELECT a.id, a.name, v.version, n.version IS v.version FROM used u"
        " JOIN versions v USING (adapter_id, version)"
        " JOIN adapters a ON a.id = v.adapter_id"
        " LEFT JOIN active c ON c.adapter_id = a.id"
        " LEFT JOIN activations n ON n.id = c.activation_id"
        " WHERE NOT v.is_retired ORDER BY a.name, v.version",
        err);

    if (rc < 0)
        return rc;
    while ((rc = store_sql_step(s, q, "erase", err)) == 1)
        if ((rc = append(l, q, err)) < 0)
            break;
    store_sql_done(q);
    return rc;
}

static int retire(struct store *s, const struct used_list *l, int64_t now_ms,
                  struct error *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < l->count; i++)
        rc = store_version_mark_retired(
            s, l->items[i].adapter_id, l->items[i].version,
            "it had learned from records that were erased", err);
    // Only now: a roll-back must not stop at a version of the list.
    for (size_t i = 0; rc == 0 && i < l->count; i++)
        if (l->items[i].is_active)
            rc = store_adapter_rollback(s, l->items[i].adapter_id, now_ms, NULL,
                                        err);
    return rc;
}

static int erase_rows(struct store *s, const struct used_list *l,
                      int64_t now_ms, struct error *err)
{
    int rc = retire(s, l, now_ms, err);

    if (rc == 0)
        rc = store_keys_shred(s, err);
    if (rc == 0)
        rc = store_sql_exec(s,
                            "DELETE FROM records WHERE id IN (SELECT id FROM"
                            " erasing); DELETE FROM erasing",
                            "erase", err);
    return rc;
}

// What may still hold the texts once the rows are gone.
static int erase_traces(struct store *s, struct error *err)
{
    int rc;

    if ((rc = store_checkpoint(s, err)) < 0 ||
        (rc = migrate_forget_backups(s, err)) < 0 ||
        (rc = store_forget_quarantine(s, err)) < 0)
        return rc;
    return s->is_degraded ? 0 : store_blob_sweep(s, NULL, err);
}

int store_record_erase(struct store *s, const struct store_filter *f,
                       bool dry_run, int64_t now_ms, struct store_erased *out,
                       store_used_by_fn fn, void *user, struct error *err)
{
    struct store_erased e = {0};
    struct used_list l = {0};
    int rc = store_begin(s, err);

    if (rc < 0)
        return rc;
    if ((rc = select_records(s, f, &e, err)) < 0 ||
        (rc = find_versions(s, &l, err)) < 0 ||
        (!dry_run && (rc = erase_rows(s, &l, now_ms, err)) < 0))
        goto out;
    if (dry_run) {
        store_rollback(s);
    } else if ((rc = store_commit(s, err)) < 0 ||
               (rc = erase_traces(s, err)) < 0) {
        goto out;
    }
    e.versions = (uint32_t) l.count;
    for (size_t i = 0; fn && i < l.count; i++)
        (void) fn(&l.items[i], user);
    *out = e;
out:
    if (rc < 0)
        store_rollback(s);
    free(l.items);
    return rc;
}
