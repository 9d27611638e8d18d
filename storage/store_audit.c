// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_audit.h"

#include "engine/base/fault.h"
#include "engine/base/hash.h"
#include "storage/store_sql.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Invariants
 * 1. Ids of the chain have no gaps: row n + 1 covers the hash of row n.
 * 2. The anchor (in `meta`: id and hash) is what the oldest row covers; before
 *    any row was dropped it is 0 and zeros.
 */

#define ANCHOR "audit.anchor"

static void hash_text(struct hash_state *h, const char *text)
{
    hash_update(h, text, strlen(text) + 1);
}

static void chain(uint8_t out[STORE_HASH_BYTES],
                  const uint8_t before[STORE_HASH_BYTES],
                  const struct store_audit *a)
{
    char numbers[160];
    struct hash_state h;

    (void) snprintf(numbers, sizeof(numbers), "%lld %lld %lld %lld %lld %lld",
                    (long long) a->id, (long long) a->time_ms,
                    (long long) a->until_ms, (long long) a->uid,
                    (long long) a->pid, (long long) a->count);
    hash_init(&h);
    hash_update(&h, before, STORE_HASH_BYTES);
    hash_text(&h, numbers);
    hash_text(&h, a->app);
    hash_text(&h, a->action);
    hash_text(&h, a->text);
    hash_final(&h, out);
}

static int read_anchor(struct store *s, int64_t *id,
                       uint8_t hash[STORE_HASH_BYTES], struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q, "SELECT value FROM meta WHERE key = '" ANCHOR "'",
                       err);
    char text[128] = "";

    if (rc < 0)
        return rc;
    rc = store_sql_step(s, q, "read the audit log", err);
    if (rc == 1)
        store_sql_text(text, sizeof(text), q, 0);
    store_sql_done(q);
    *id = 0;
    memset(hash, 0, STORE_HASH_BYTES);
    if (rc != 1)
        return rc;
    char *end = NULL;
    *id = strtoll(text, &end, 10);
    if (*end != ' ' || hash_from_hex(hash, end + 1) < 0)
        return error_set(err, -EUCLEAN, "the audit log has a damaged anchor");
    return 0;
}

static int write_anchor(struct store *s, int64_t id,
                        const uint8_t hash[STORE_HASH_BYTES], struct error *err)
{
    char text[128], hex[HASH_HEX];
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "INSERT INTO meta (key, value) VALUES ('" ANCHOR "', ?)"
                       " ON CONFLICT (key) DO UPDATE SET value ="
                       " excluded.value",
                       err);

    if (rc < 0)
        return rc;
    hash_to_hex(hex, hash);
    (void) snprintf(text, sizeof(text), "%lld %s", (long long) id, hex);
    (void) store_sql_bind_text(q, 1, text);
    return store_sql_run(s, q, "write to the audit log", err);
}

// Id and hash that the next row covers.
static int read_head(struct store *s, int64_t *id,
                     uint8_t hash[STORE_HASH_BYTES], struct error *err)
{
    sqlite3_stmt *q;
    int rc =
        store_sql(s, &q, "SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1",
                  err);

    if (rc < 0)
        return rc;
    rc = store_sql_step(s, q, "read the audit log", err);
    if (rc == 1) {
        *id = sqlite3_column_int64(q, 0);
        store_sql_hash(hash, q, 1);
    }
    store_sql_done(q);
    return rc == 0 ? read_anchor(s, id, hash, err) : rc < 0 ? rc : 0;
}

static int insert(struct store *s, const struct store_audit *a,
                  struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "INSERT INTO audit (id, time_ms, until_ms, uid, pid,"
                       " app, action, count, text, hash)"
                       " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                       err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, a->id);
    (void) sqlite3_bind_int64(q, 2, a->time_ms);
    (void) sqlite3_bind_int64(q, 3, a->until_ms);
    (void) sqlite3_bind_int64(q, 4, a->uid);
    (void) sqlite3_bind_int64(q, 5, a->pid);
    (void) store_sql_bind_text(q, 6, a->app);
    (void) store_sql_bind_text(q, 7, a->action);
    (void) sqlite3_bind_int64(q, 8, a->count);
    (void) store_sql_bind_text(q, 9, a->text);
    (void) store_sql_bind_hash(q, 10, a->hash);
    return store_sql_run(s, q, "write to the audit log", err);
}

// Rows up to `id` go; what the next one covers is remembered.
static int drop_until(struct store *s, int64_t id, struct error *err)
{
    uint8_t hash[STORE_HASH_BYTES];
    sqlite3_stmt *q;
    int rc = store_sql(s, &q, "SELECT hash FROM audit WHERE id = ?", err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, id);
    rc = store_sql_step(s, q, "read the audit log", err);
    if (rc == 1)
        store_sql_hash(hash, q, 0);
    store_sql_done(q);
    if (rc != 1)
        return rc;
    if ((rc = write_anchor(s, id, hash, err)) < 0 ||
        (rc = store_sql(s, &q, "DELETE FROM audit WHERE id <= ?", err)) < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, id);
    return store_sql_run(s, q, "write to the audit log", err);
}

static int append(struct store *s, const struct store_audit *in,
                  struct error *err)
{
    struct store_audit a = *in;
    uint8_t before[STORE_HASH_BYTES];
    int rc = read_head(s, &a.id, before, err);

    if (rc < 0)
        return rc;
    a.id++;
    if (a.until_ms < a.time_ms)
        a.until_ms = a.time_ms;
    chain(a.hash, before, &a);
    if ((rc = insert(s, &a, err)) < 0)
        return rc;
    return a.id > STORE_AUDIT_MAX ? drop_until(s, a.id - STORE_AUDIT_MAX, err)
                                  : 0;
}

int store_audit_add(struct store *s, const struct store_audit *a,
                    struct error *err)
{
    bool own;
    int rc = store_sql_enter(s, &own, err);

    return rc < 0 ? rc : store_sql_leave(s, own, append(s, a, err), err);
}

/*
 * Open rows
 */

// Takes the open rows that began before `before_ms` into the chain.
static int close_rows(struct store *s, int64_t before_ms, struct error *err)
{
    for (;;) {
        struct store_audit a = {0};
        sqlite3_stmt *q;
        int rc = store_sql(s, &q,
                           "DELETE FROM audit_open WHERE (uid, pid, app,"
                           " action, text) IN (SELECT uid, pid, app, action,"
                           "  text FROM audit_open WHERE time_ms < ?"
                           "  ORDER BY time_ms, action LIMIT 1) RETURNING"
                           " time_ms, until_ms, uid, pid, app, action, count,"
                           " text",
                           err);
        if (rc < 0)
            return rc;
        (void) sqlite3_bind_int64(q, 1, before_ms);
        rc = store_sql_step(s, q, "write to the audit log", err);
        if (rc == 1) {
            a.time_ms = sqlite3_column_int64(q, 0);
            a.until_ms = sqlite3_column_int64(q, 1);
            a.uid = sqlite3_column_int64(q, 2);
            a.pid = sqlite3_column_int64(q, 3);
            store_sql_text(a.app, sizeof(a.app), q, 4);
            store_sql_text(a.action, sizeof(a.action), q, 5);
            a.count = sqlite3_column_int64(q, 6);
            store_sql_text(a.text, sizeof(a.text), q, 7);
        }
        store_sql_done(q);
        if (rc != 1)
            return rc;
        if ((rc = append(s, &a, err)) < 0)
            return rc;
    }
}

static int count_one(struct store *s, const struct store_audit *a,
                     struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(
        s, &q,
        "INSERT INTO audit_open (uid, pid, app, action, text, time_ms,"
        " until_ms, count) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7) ON CONFLICT"
        " DO UPDATE SET count = count + excluded.count, until_ms ="
        " max(until_ms, excluded.until_ms)",
        err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, a->uid);
    (void) sqlite3_bind_int64(q, 2, a->pid);
    (void) store_sql_bind_text(q, 3, a->app);
    (void) store_sql_bind_text(q, 4, a->action);
    (void) store_sql_bind_text(q, 5, a->text);
    (void) sqlite3_bind_int64(q, 6, a->time_ms);
    (void) sqlite3_bind_int64(q, 7, a->count);
    return store_sql_run(s, q, "write to the audit log", err);
}

static int64_t window_start(int64_t now_ms)
{
    return now_ms - STORE_AUDIT_WINDOW_MS;
}

int store_audit_write(struct store *s, struct error *err)
{
    int64_t now = 0;
    int rc = 0;

    if (s->noted_count == 0)
        return 0;
    for (size_t i = 0; i < s->noted_count; i++)
        if (s->noted[i].time_ms > now)
            now = s->noted[i].time_ms;
    rc = close_rows(s, window_start(now), err);
    for (size_t i = 0; rc == 0 && i < s->noted_count; i++)
        rc = count_one(s, &s->noted[i], err);
    if (rc == 0)
        s->noted_count = 0;
    return rc;
}

void store_audit_forget(struct store *s)
{
    s->noted_count = 0;
}

static bool is_same(const struct store_audit *a, const struct store_audit *b)
{
    return a->uid == b->uid && a->pid == b->pid &&
           strcmp(a->action, b->action) == 0 && strcmp(a->app, b->app) == 0 &&
           strcmp(a->text, b->text) == 0;
}

int store_audit_note(struct store *s, const struct store_audit *a,
                     struct error *err)
{
    int rc = 0;

    for (size_t i = 0; i < s->noted_count; i++)
        if (is_same(&s->noted[i], a)) {
            s->noted[i].count += a->count;
            return 0;
        }
    if (!s->noted &&
        !(s->noted = fault_calloc(STORE_AUDIT_NOTED_MAX, sizeof(*s->noted))))
        return error_set(err, -ENOMEM, "out of memory");
    if (s->noted_count == STORE_AUDIT_NOTED_MAX) {
        bool own;
        if ((rc = store_sql_enter(s, &own, err)) < 0)
            return rc;
        rc = store_sql_leave(s, own, store_audit_write(s, err), err);
    }
    if (rc == 0)
        s->noted[s->noted_count++] = *a;
    return rc;
}

static int drop_old(struct store *s, int64_t keep_ms, struct error *err)
{
    sqlite3_stmt *q;
    int64_t id = 0;
    // From the oldest on: ages of rows need not grow with their ids.
    int rc = store_sql(s, &q,
                       "SELECT coalesce((SELECT min(id) FROM audit WHERE"
                       " until_ms >= ?), (SELECT max(id) + 1 FROM audit), 1)"
                       " - 1",
                       err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, keep_ms);
    rc = store_sql_step(s, q, "read the audit log", err);
    if (rc == 1)
        id = sqlite3_column_int64(q, 0);
    store_sql_done(q);
    return rc < 0 ? rc : drop_until(s, id, err);
}

int store_audit_flush(struct store *s, int64_t now_ms, int64_t keep_ms,
                      bool close_all, struct error *err)
{
    bool own;
    int rc = store_sql_enter(s, &own, err);

    if (rc < 0)
        return rc;
    rc = store_audit_write(s, err);
    if (rc == 0)
        rc = close_rows(s, close_all ? INT64_MAX : window_start(now_ms), err);
    if (rc == 0 && keep_ms > 0)
        rc = drop_old(s, keep_ms, err);
    return store_sql_leave(s, own, rc, err);
}

/*
 * Reading
 */

#define COLUMNS " time_ms, until_ms, uid, pid, app, action, count, text, hash "

static void read_row(struct store_audit *a, sqlite3_stmt *q)
{
    *a = (struct store_audit){.id = sqlite3_column_int64(q, 0)};
    a->time_ms = sqlite3_column_int64(q, 1);
    a->until_ms = sqlite3_column_int64(q, 2);
    a->uid = sqlite3_column_int64(q, 3);
    a->pid = sqlite3_column_int64(q, 4);
    store_sql_text(a->app, sizeof(a->app), q, 5);
    store_sql_text(a->action, sizeof(a->action), q, 6);
    a->count = sqlite3_column_int64(q, 7);
    store_sql_text(a->text, sizeof(a->text), q, 8);
    store_sql_hash(a->hash, q, 9);
}

int store_audit_each(struct store *s, const struct store_audit_filter *f,
                     store_audit_fn fn, void *user, struct error *err)
{
    struct store_audit a;
    sqlite3_stmt *q;
    int stop = 0;
    // Open rows have no id; they are newer than all that have one.
    int rc = store_sql(
        s, &q,
        "SELECT * FROM (SELECT * FROM (SELECT id," COLUMNS "FROM audit WHERE"
        "   id > ?1 AND until_ms >= ?2 UNION ALL SELECT 0, time_ms, until_ms,"
        "   uid, pid, app, action, count, text, NULL FROM audit_open WHERE ?4"
        "   AND until_ms >= ?2)"
        "  ORDER BY id = 0 DESC, id DESC, time_ms DESC LIMIT ?3)"
        " ORDER BY id = 0, id, time_ms",
        err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, f->after);
    (void) sqlite3_bind_int64(q, 2, f->since_ms);
    (void) sqlite3_bind_int64(q, 3, f->limit > 0 ? f->limit : -1);
    (void) sqlite3_bind_int(q, 4, f->with_open);
    while (stop == 0 &&
           (rc = store_sql_step(s, q, "read the audit log", err)) == 1) {
        read_row(&a, q);
        stop = fn(&a, user);
    }
    store_sql_done(q);
    return stop ? stop : rc;
}

struct walk {
    struct store_audit_state *out;
    const uint8_t *wanted;
    uint8_t before[STORE_HASH_BYTES];
    int64_t id; // of the row before
};

static void look_for_wanted(struct walk *w)
{
    if (w->wanted && memcmp(w->before, w->wanted, STORE_HASH_BYTES) == 0) {
        w->out->has_wanted = true;
        w->out->wanted_id = w->id;
    }
}

static int check_row(const struct store_audit *a, void *user)
{
    struct walk *w = user;
    struct store_audit_state *out = w->out;
    uint8_t hash[STORE_HASH_BYTES];

    if (a->id != w->id + 1) {
        (void) snprintf(out->problem, sizeof(out->problem),
                        "entries %lld to %lld are missing",
                        (long long) w->id + 1, (long long) a->id - 1);
        return 1;
    }
    chain(hash, w->before, a);
    if (memcmp(hash, a->hash, sizeof(hash)) != 0) {
        (void) snprintf(out->problem, sizeof(out->problem),
                        "entry %lld, or the one before it, was changed",
                        (long long) a->id);
        return 1;
    }
    if (out->rows++ == 0)
        out->first = a->id;
    out->last = w->id = a->id;
    memcpy(w->before, hash, sizeof(hash));
    look_for_wanted(w);
    return 0;
}

// The newest id that was ever given: rows cut off at the end show.
static int read_newest(struct store *s, int64_t *id, struct error *err)
{
    sqlite3_stmt *q;
    int rc =
        store_sql(s, &q, "SELECT seq FROM sqlite_sequence WHERE name = 'audit'",
                  err);

    if (rc < 0)
        return rc;
    rc = store_sql_step(s, q, "read the audit log", err);
    *id = rc == 1 ? sqlite3_column_int64(q, 0) : 0;
    store_sql_done(q);
    return rc < 0 ? rc : 0;
}

int store_audit_verify(struct store *s, const uint8_t *wanted,
                       struct store_audit_state *out, struct error *err)
{
    struct walk w = {.out = out, .wanted = wanted};
    int64_t newest = 0;
    int rc;

    memset(out, 0, sizeof(*out));
    if ((rc = read_newest(s, &newest, err)) < 0)
        return rc;
    if ((rc = read_anchor(s, &w.id, w.before, err)) == -EUCLEAN) {
        (void) snprintf(out->problem, sizeof(out->problem), "%.150s",
                        err->text);
        return 0;
    }
    if (rc < 0)
        return rc;
    out->dropped = w.id;
    look_for_wanted(&w);
    rc = store_audit_each(s, &(struct store_audit_filter){0}, check_row, &w,
                          err);
    if (rc < 0)
        return rc;
    memcpy(out->head, w.before, sizeof(out->head));
    if (rc == 0 && w.id < newest)
        (void) snprintf(out->problem, sizeof(out->problem),
                        "entries %lld to %lld are missing",
                        (long long) w.id + 1, (long long) newest);
    out->is_whole = out->problem[0] == '\0';
    return 0;
}
