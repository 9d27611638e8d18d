// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Invariants
 * 1. A row that waits names a version that is retired and was merged.
 * 2. Of one adapter at most one row that waits was active.
 * 3. Parts are older than what was merged of them, so nothing waits for itself.
 */

#include "storage/store_remerge.h"

#include "storage/store_sql.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    WAITING_MAX = 256, // that are looked at
    CHAIN_MAX = 64,    // times that one version is made again
};

// What two merged versions have in common that were made alike.
#define ALIKE(of)                                                             \
    "(SELECT group_concat(printf('%s %!.17g', of_adapter, weight), ' ') FROM" \
    " (SELECT of_adapter, weight FROM merged_from WHERE adapter_id = ?1"      \
    "  AND version = " of                                                     \
    "  ORDER BY place)) || (SELECT ' ' || rank FROM versions"                 \
    " WHERE adapter_id = ?1 AND version = " of ")"

#define ALIKE_IT    ALIKE("?2")
#define ALIKE_ROW   ALIKE("remerges.version")
#define ALIKE_OTHER ALIKE("r.version")

// Of a row r: nothing else became active since, but for a version that was
// learned again, where the merged one is of the same adapter as a part of it.
#define UNDISTURBED                                                        \
    " EXISTS (SELECT 1 FROM adapters d"                                    \
    "  LEFT JOIN active c ON c.adapter_id = d.id"                          \
    "  LEFT JOIN activations n ON n.id = c.activation_id"                  \
    "  LEFT JOIN versions v ON v.adapter_id = d.id AND"                    \
    "   v.version = n.version"                                             \
    "  WHERE d.id = r.adapter_id AND ((c.activation_id IS r.activation_id" \
    "   AND coalesce(c.time_ms, 0) = r.active_ms) OR (v.job_id IS NOT"     \
    "   NULL AND v.created_ms >= r.created_ms AND EXISTS (SELECT 1 FROM"   \
    "   merged_from f WHERE f.adapter_id = r.adapter_id AND"               \
    "   f.version = r.version AND f.of_adapter = d.name))))"

/*
 * For an erase
 */

int store_remerge_settle(struct store *s, struct error *err)
{
    return store_sql_exec(
        s,
        "UPDATE remerges AS r SET was_active = 0 WHERE made IS NULL AND"
        " was_active AND NOT" UNDISTURBED,
        "look at what waits to be merged", err);
}

// But for the best of those that wait.
static int drop_alike(struct store *s, int64_t adapter_id, uint32_t version,
                      struct error *err)
{
    sqlite3_stmt *q;
    int rc =
        store_sql(s, &q,
                  "DELETE FROM remerges WHERE adapter_id = ?1 AND made IS NULL"
                  " AND " ALIKE_ROW " = " ALIKE_IT
                  " AND id != (SELECT id FROM remerges r WHERE adapter_id = ?1"
                  " AND made IS NULL AND " ALIKE_OTHER " = " ALIKE_IT
                  " ORDER BY was_active DESC, version DESC LIMIT 1)",
                  err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, adapter_id);
    (void) sqlite3_bind_int64(q, 2, version);
    return store_sql_run(s, q, "remember what was merged", err);
}

int store_remerge_add(struct store *s, int64_t adapter_id, uint32_t version,
                      bool was_active, int64_t now_ms, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(
        s, &q,
        "INSERT OR IGNORE INTO remerges (adapter_id, version, was_active,"
        " created_ms) SELECT ?1, ?2, ?3 AND NOT EXISTS (SELECT 1 FROM remerges"
        "  WHERE adapter_id = ?1 AND was_active AND made IS NULL), ?4"
        " WHERE EXISTS (SELECT 1 FROM merged_from WHERE adapter_id = ?1 AND"
        "  version = ?2)",
        err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, adapter_id);
    (void) sqlite3_bind_int64(q, 2, version);
    (void) sqlite3_bind_int(q, 3, was_active);
    (void) sqlite3_bind_int64(q, 4, now_ms);
    rc = store_sql_run(s, q, "remember what was merged", err);
    return rc < 0 ? rc : drop_alike(s, adapter_id, version, err);
}

int store_remerge_note(struct store *s, struct error *err)
{
    return store_sql_exec(
        s,
        "UPDATE remerges SET activation_id = (SELECT activation_id FROM active"
        " WHERE adapter_id = remerges.adapter_id), active_ms = coalesce(("
        "SELECT time_ms FROM active WHERE adapter_id = remerges.adapter_id), 0)"
        " WHERE made IS NULL",
        "remember what is active", err);
}

int store_remerge_waits(struct store *s, int64_t adapter_id, uint32_t version,
                        bool *is_merged, bool *is_part, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(
        s, &q,
        "SELECT EXISTS (SELECT 1 FROM remerges WHERE adapter_id = ?1 AND"
        " version = ?2 AND made IS NULL), EXISTS (SELECT 1 FROM remerges r"
        " JOIN merged_from f ON f.adapter_id = r.adapter_id AND"
        " f.version = r.version JOIN adapters a ON a.name = f.of_adapter"
        " WHERE r.made IS NULL AND a.id = ?1 AND f.of_version = ?2)",
        err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, adapter_id);
    (void) sqlite3_bind_int64(q, 2, version);
    if ((rc = store_sql_step(s, q, "look for what is merged", err)) == 1) {
        *is_merged = sqlite3_column_int(q, 0) != 0;
        *is_part = sqlite3_column_int(q, 1) != 0;
    }
    store_sql_done(q);
    return rc < 0 ? rc : 0;
}

/*
 * What a part is by now
 */

// 1: *made took the version's place (0: nothing could); 2: it waits; 0: it is
// not to be merged again.
static int replacement(struct store *s, int64_t adapter_id, uint32_t version,
                       uint32_t *made, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "SELECT made FROM remerges WHERE adapter_id = ? AND"
                       " version = ?",
                       err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, adapter_id);
    (void) sqlite3_bind_int64(q, 2, version);
    if ((rc = store_sql_step(s, q, "look for what is merged", err)) == 1) {
        if (sqlite3_column_type(q, 0) == SQLITE_NULL)
            rc = 2;
        *made = (uint32_t) sqlite3_column_int64(q, 0);
    }
    store_sql_done(q);
    return rc;
}

static int has_job(struct store *s, int64_t adapter_id, struct error *err)
{
    sqlite3_stmt *q;
    int rc =
        store_sql(s, &q,
                  "SELECT 1 FROM jobs WHERE adapter_id = ? AND state < 5", err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, adapter_id);
    rc = store_sql_step(s, q, "look for jobs", err);
    store_sql_done(q);
    return rc;
}

// The active version, or else the newest; merged if the gone one was, and none
// that the gate refused unless it had refused that one, too. 1 when there is.
static int stand_in(struct store *s, int64_t adapter_id, uint32_t gone,
                    uint32_t *version, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(
        s, &q,
        "SELECT v.version FROM versions v"
        " LEFT JOIN active c ON c.adapter_id = v.adapter_id"
        " LEFT JOIN activations n ON n.id = c.activation_id"
        " WHERE v.adapter_id = ?1 AND NOT v.is_retired AND EXISTS (SELECT 1"
        " FROM merged_from WHERE adapter_id = ?1 AND version = v.version) ="
        " EXISTS (SELECT 1 FROM merged_from WHERE adapter_id = ?1 AND"
        " version = ?2) AND (n.version IS v.version OR v.gate != 2 OR"
        " (SELECT gate FROM versions WHERE adapter_id = ?1 AND version = ?2) ="
        " 2) ORDER BY n.version IS v.version DESC, v.version DESC LIMIT 1",
        err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, adapter_id);
    (void) sqlite3_bind_int64(q, 2, gone);
    if ((rc = store_sql_step(s, q, "look for a clean version", err)) == 1)
        *version = (uint32_t) sqlite3_column_int64(q, 0);
    store_sql_done(q);
    return rc;
}

// The part's clean version as p->version: 1; 0 when there is none, 2 when it is
// waited for. One of the same number that is newer than what was merged is of
// another adapter of that name.
static int find_clean(struct store *s, const struct store_adapter *a,
                      struct store_part *p, int64_t merged_ms,
                      struct error *err)
{
    struct store_version v;
    const uint32_t first = p->version;
    int rc;

    for (int i = 0; i < CHAIN_MAX; i++) {
        rc = store_version_get(s, a->id, p->version, &v, err);
        if (rc < 0 && rc != -ENOENT)
            return rc;
        if (rc == 0 && v.state != STORE_VERSION_RETIRED &&
            (p->version != first || v.created_ms <= merged_ms))
            return 1;
        rc = replacement(s, a->id, p->version, &p->version, err);
        if (rc < 0 || rc == 2)
            return rc;
        if (rc == 1 && p->version == 0)
            return 0;
        if (rc == 0)
            break;
    }
    if ((rc = has_job(s, a->id, err)) != 0)
        return rc < 0 ? rc : 2;
    return stand_in(s, a->id, first, &p->version, err);
}

static void leave_out(struct store_remerge *m, const char *adapter)
{
    const size_t at = strlen(m->without);

    (void) snprintf(m->without + at, sizeof(m->without) - at, "%s%s",
                    at ? ", " : "", adapter);
}

static int add_part(struct store *s, struct store_remerge *m,
                    struct store_part p, int64_t merged_ms, struct error *err)
{
    struct store_adapter a;
    struct store_version v;
    int rc = store_adapter_get(s, p.adapter, &a, err);

    if (rc < 0 && rc != -ENOENT)
        return rc;
    // Another one of that name may have come since.
    if (rc == 0 && a.model_id == m->model_id &&
        (rc = find_clean(s, &a, &p, merged_ms, err)) == 1) {
        if ((rc = store_version_get(s, a.id, p.version, &v, err)) < 0)
            return rc;
        p.adapter_id = a.id;
        memcpy(p.sha256, v.sha256, sizeof(p.sha256));
        m->parts[m->n_parts++] = p;
        return 0;
    }
    if (rc == 2)
        memcpy(m->waits_for, p.adapter, sizeof(m->waits_for));
    else if (rc == 0 || rc == -ENOENT)
        leave_out(m, p.adapter);
    else
        return rc;
    return 0;
}

struct part_list {
    struct store_part items[STORE_REMERGE_PARTS];
    size_t count;
};

static int on_part(const struct store_part *p, void *user)
{
    struct part_list *l = user;

    if (l->count == STORE_REMERGE_PARTS)
        return 1;
    l->items[l->count++] = *p;
    return 0;
}

static int read_row(struct store *s, int64_t id, struct store_remerge *m,
                    int64_t *merged_ms, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "SELECT r.adapter_id, a.name, a.model_id, r.version,"
                       " v.rank, r.was_active, v.created_ms FROM remerges r"
                       " JOIN adapters a ON a.id = r.adapter_id"
                       " JOIN versions v USING (adapter_id, version)"
                       " WHERE r.id = ? AND r.made IS NULL",
                       err);

    *m = (struct store_remerge){.id = id};
    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, id);
    if ((rc = store_sql_step(s, q, "read what is merged", err)) == 1) {
        m->adapter_id = sqlite3_column_int64(q, 0);
        store_sql_text(m->adapter, sizeof(m->adapter), q, 1);
        m->model_id = sqlite3_column_int64(q, 2);
        m->version = (uint32_t) sqlite3_column_int64(q, 3);
        m->rank = (uint32_t) sqlite3_column_int64(q, 4);
        m->was_active = sqlite3_column_int(q, 5) != 0;
        *merged_ms = sqlite3_column_int64(q, 6);
    }
    store_sql_done(q);
    return rc;
}

static int get_one(struct store *s, int64_t id, struct store_remerge *m,
                   struct error *err)
{
    struct part_list l = {.count = 0};
    int64_t merged_ms = 0;
    int rc = read_row(s, id, m, &merged_ms, err);

    if (rc != 1)
        return rc;
    rc = store_merge_each(s, m->adapter_id, m->version, on_part, &l, err);
    for (size_t i = 0; i < l.count && rc >= 0; i++)
        rc = add_part(s, m, l.items[i], merged_ms, err);
    return rc < 0 ? rc : 1;
}

// Statements are kept, so none may be open while parts are looked for.
static int list_waiting(struct store *s, int64_t ids[WAITING_MAX],
                        size_t *count, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "SELECT id FROM remerges WHERE made IS NULL ORDER BY id",
                       err);

    if (rc < 0)
        return rc;
    *count = 0;
    while (*count < WAITING_MAX &&
           (rc = store_sql_step(s, q, "list what is merged", err)) == 1)
        ids[(*count)++] = sqlite3_column_int64(q, 0);
    store_sql_done(q);
    return rc < 0 ? rc : 0;
}

int store_remerge_each(struct store *s, store_remerge_fn fn, void *user,
                       struct error *err)
{
    int64_t ids[WAITING_MAX];
    struct store_remerge m;
    size_t count;
    int stop = 0;
    int rc = list_waiting(s, ids, &count, err);

    for (size_t i = 0; rc >= 0 && stop == 0 && i < count; i++)
        if ((rc = get_one(s, ids[i], &m, err)) == 1)
            stop = fn(&m, user);
    return stop ? stop : rc < 0 ? rc : 0;
}

struct choosing {
    const int64_t *but;
    size_t n_but;
    struct store_remerge *out;
};

static int keep_due(const struct store_remerge *m, void *user)
{
    const struct choosing *c = user;

    if (m->waits_for[0])
        return 0;
    for (size_t i = 0; i < c->n_but; i++)
        if (c->but[i] == m->id)
            return 0;
    *c->out = *m;
    return 1;
}

int store_remerge_next(struct store *s, const int64_t *but, size_t n_but,
                       struct store_remerge *out, struct error *err)
{
    struct choosing c = {.but = but, .n_but = n_but, .out = out};

    return store_remerge_each(s, keep_due, &c, err);
}

/*
 * Done
 */

// -ESTALE when it does not wait any more.
static int is_due_active(struct store *s, int64_t id, bool *is_active,
                         struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "SELECT was_active AND" UNDISTURBED
                       " FROM remerges r WHERE id = ? AND made IS NULL",
                       err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, id);
    rc = store_sql_step(s, q, "read what is merged", err);
    *is_active = rc == 1 && sqlite3_column_int(q, 0);
    store_sql_done(q);
    return rc == 0  ? error_set(err, -ESTALE, "it does not wait any more")
           : rc < 0 ? rc
                    : 0;
}

static int set_made(struct store *s, int64_t id, uint32_t made,
                    struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q, "UPDATE remerges SET made = ? WHERE id = ?", err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, made);
    (void) sqlite3_bind_int64(q, 2, id);
    return store_sql_run(s, q, "write what was merged", err);
}

int store_remerge_finish(struct store *s, const struct store_remerge *m,
                         uint32_t made, int64_t now_ms, bool *is_active,
                         struct error *err)
{
    bool own;
    int rc = store_sql_enter(s, &own, err);

    if (rc < 0)
        return rc;
    if ((rc = is_due_active(s, m->id, is_active, err)) == 0 &&
        (*is_active &= made > 0))
        rc = store_adapter_activate(s, m->adapter_id, made, true, now_ms, err);
    if (rc == 0)
        rc = set_made(s, m->id, made, err);
    return store_sql_leave(s, own, rc, err);
}
