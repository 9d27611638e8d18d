// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_record.h"

#include "engine/base/hash.h"
#include "storage/store_app.h"
#include "storage/store_filter.h"
#include "storage/store_key.h"
#include "storage/store_sql.h"

#include <errno.h>
#include <string.h>

// In the table, feedback is a kind of pair.
enum { KIND_PAIR = 2, KIND_FEEDBACK = 4 };

#define COLUMNS                                                     \
    "SELECT r.id, coalesce(r.app_uid, r.uid), r.stream_id, s.name," \
    " CASE WHEN r.is_feedback THEN 4 ELSE r.kind END, r.time_ms,"   \
    " r.added_ms, r.bytes,"

static void read_row(struct store_record *r, sqlite3_stmt *q)
{
    *r = (struct store_record){.id = sqlite3_column_int64(q, 0)};
    const void *uid = sqlite3_column_blob(q, 1);
    if (uid && sqlite3_column_bytes(q, 1) == STORE_UID_BYTES)
        memcpy(r->uid, uid, STORE_UID_BYTES);
    r->stream_id = sqlite3_column_int64(q, 2);
    store_sql_text(r->stream, sizeof(r->stream), q, 3);
    r->kind = (uint32_t) sqlite3_column_int(q, 4);
    r->time_ms = sqlite3_column_int64(q, 5);
    r->added_ms = sqlite3_column_int64(q, 6);
    r->bytes = sqlite3_column_int64(q, 7);
    r->body = sqlite3_column_blob(q, 8);
    r->body_bytes = (size_t) sqlite3_column_bytes(q, 8);
}

/*
 * An app's uids are its own: another's record of the same uid is neither in its
 * way nor told of. So the key of its records is made of both.
 */
struct own_uid {
    uint8_t key[STORE_UID_BYTES];
    const char *app; // NULL: the owner's own tools
};

static int make_own(struct own_uid *o, struct store *s,
                    const struct store_record *r, struct error *err)
{
    static const char domain[] = "pockd uid 1";
    uint8_t digest[HASH_BYTES];
    struct hash_state h;
    int rc = store_keys_app(s, r->stream_id, &o->app, err);

    if (rc < 0)
        return rc;
    memcpy(o->key, r->uid, sizeof(o->key));
    if (strcmp(o->app, STORE_APP_HOST) == 0) {
        o->app = NULL;
        return 0;
    }
    hash_init(&h);
    hash_update(&h, domain, sizeof(domain));
    hash_update(&h, o->app, strlen(o->app) + 1);
    hash_update(&h, r->uid, sizeof(r->uid));
    hash_final(&h, digest);
    memcpy(o->key, digest, sizeof(o->key));
    return 0;
}

static int insert(struct store *s, const struct store_record *r,
                  const struct own_uid *own, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(
        s, &q,
        "INSERT INTO records (uid, stream_id, kind, time_ms, added_ms, bytes,"
        " body, id, is_feedback, app_uid) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (uid) DO NOTHING",
        err);
    const bool is_feedback = r->kind == KIND_FEEDBACK;
    const void *sealed;
    size_t sealed_bytes;

    if (rc < 0 ||
        (rc = store_seal_record(s, r, &sealed, &sealed_bytes, err)) < 0)
        return rc;
    (void) sqlite3_bind_blob(q, 1, own->key, STORE_UID_BYTES, SQLITE_STATIC);
    (void) sqlite3_bind_int64(q, 2, r->stream_id);
    (void) sqlite3_bind_int64(q, 3, is_feedback ? KIND_PAIR : r->kind);
    (void) sqlite3_bind_int64(q, 4, r->time_ms);
    (void) sqlite3_bind_int64(q, 5, r->added_ms);
    (void) sqlite3_bind_int64(q, 6, r->bytes);
    (void) sqlite3_bind_blob64(q, 7, sealed, sealed_bytes, SQLITE_STATIC);
    (void) sqlite3_bind_int64(q, 8, r->id);
    (void) sqlite3_bind_int(q, 9, is_feedback);
    if (own->app)
        (void) sqlite3_bind_blob(q, 10, r->uid, STORE_UID_BYTES, SQLITE_STATIC);
    rc = store_sql_run(s, q, "store the record", err);
    if (rc == -EBUSY) // its foreign key: nobody else holds the database
        return error_set(err, -ENOENT, "there is no stream %lld",
                         (long long) r->stream_id);
    return rc;
}

// Is there a record under this key, of this app where one is named? 1: this
// one; 0: none; -ENOTUNIQ: another.
static int compare(struct store *s, const struct store_record *r,
                   const uint8_t key[STORE_UID_BYTES], const char *app,
                   int64_t *id, struct error *err)
{
    struct store_opened opened = {0};
    struct store_record old;
    sqlite3_stmt *q;
    bool is_same = false;
    int rc = store_sql(s, &q,
                       COLUMNS " r.body FROM records r JOIN streams s ON s.id ="
                               " r.stream_id WHERE r.uid = ?1 AND (?2 IS NULL"
                               " OR s.app = ?2)",
                       err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_blob(q, 1, key, STORE_UID_BYTES, SQLITE_STATIC);
    if (app)
        (void) store_sql_bind_text(q, 2, app);
    rc = store_sql_step(s, q, "store the record", err);
    if (rc == 1) {
        read_row(&old, q);
        *id = old.id;
        rc = store_open_record(s, &old, &opened, err) < 0 ? -ENOMEM : 1;
        is_same = rc == 1 && old.stream_id == r->stream_id &&
                  old.kind == r->kind && old.time_ms == r->time_ms &&
                  old.body_bytes == r->body_bytes &&
                  memcmp(old.body, r->body, old.body_bytes) == 0;
    }
    store_opened_finish(&opened);
    store_sql_done(q);
    if (rc <= 0)
        return rc;
    return is_same ? 1
                   : error_set(err, -ENOTUNIQ,
                               "record %lld was stored under the same uid with "
                               "other content: make a new uid for each record",
                               (long long) *id);
}

int store_record_put(struct store *s, const struct store_record *r, int64_t *id,
                     bool *is_new, struct error *err)
{
    struct store_record row = *r;
    struct own_uid own;
    int rc = make_own(&own, s, r, err);

    *is_new = false;
    // One from before uids were the apps' own.
    if (rc == 0 && own.app)
        rc = compare(s, r, r->uid, own.app, id, err);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    if ((rc = store_keys_next_id(s, &row.id, err)) < 0 ||
        (rc = insert(s, &row, &own, err)) < 0)
        return rc;
    if (sqlite3_changes(s->db) > 0) {
        store_keys_took_id(s);
        *id = row.id;
        *is_new = true;
        return 0;
    }
    rc = compare(s, r, own.key, NULL, id, err);
    if (rc == 0)
        rc = error_set(err, -EINVAL, "cannot store the record: it has no uid");
    return rc < 0 ? rc : 0;
}

int store_record_get(struct store *s, int64_t id, store_record_fn fn,
                     void *user, struct error *err)
{
    struct store_opened opened = {0};
    struct store_record r;
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       COLUMNS " r.body FROM records r JOIN streams s ON s.id ="
                               " r.stream_id WHERE r.id = ?",
                       err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, id);
    rc = store_sql_step(s, q, "read the record", err);
    if (rc == 0)
        rc = error_set(err, -ENOENT, "there is no record %lld", (long long) id);
    if (rc == 1) {
        read_row(&r, q);
        rc = store_open_record(s, &r, &opened, err);
        if (rc == 0)
            rc = fn(&r, user);
    }
    store_opened_finish(&opened);
    store_sql_done(q);
    return rc;
}

// Found by id, so that a page costs what is in it, whatever the store holds;
// or by the index of streams and times, for what may be few of many: then only
// ids are sorted.
#define EACH_BEGIN                                                        \
    COLUMNS                                                               \
    " CASE WHEN ?8 THEN r.body END FROM records r NOT INDEXED CROSS JOIN" \
    " streams s ON s.id = r.stream_id WHERE"
#define EACH_PAGE "AND r.id > ?6 ORDER BY r.id LIMIT ?7"
#define EACH      EACH_BEGIN STORE_FILTER_SQL EACH_PAGE
#define EACH_OF_IDS                                         \
    EACH_BEGIN " r.id IN (SELECT value FROM json_each(?5))" \
               " AND" STORE_FILTER_SQL EACH_PAGE
#define EACH_BY_STREAM                                                       \
    EACH_BEGIN " r.id IN (SELECT r.id FROM records r WHERE" STORE_FILTER_SQL \
        EACH_PAGE ") ORDER BY r.id"

static int each_statement(struct store *s, sqlite3_stmt **q,
                          const struct store_filter *f, struct error *err)
{
    if (f && f->ids)
        return store_sql(s, q, EACH_OF_IDS, err);
    if (f && (f->app || f->streams || f->has_after || f->has_before))
        return store_sql(s, q, EACH_BY_STREAM, err);
    return store_sql(s, q, EACH, err);
}

int store_record_each(struct store *s, const struct store_filter *f,
                      int64_t cursor, int64_t limit, bool with_body,
                      store_record_fn fn, void *user, struct error *err)
{
    struct store_opened opened = {0};
    struct store_record r;
    sqlite3_stmt *q;
    int stop = 0;
    int rc = each_statement(s, &q, f, err);

    if (rc < 0)
        return rc;
    if ((rc = store_filter_bind(q, f, err)) < 0)
        goto out;
    (void) sqlite3_bind_int64(q, 6, cursor);
    (void) sqlite3_bind_int64(q, 7, limit > 0 ? limit : -1);
    (void) sqlite3_bind_int(q, 8, with_body);
    while (stop == 0 && (rc = store_sql_step(s, q, "list records", err)) == 1) {
        read_row(&r, q);
        if ((rc = store_open_record(s, &r, &opened, err)) < 0)
            break;
        stop = fn(&r, user);
    }
out:
    store_opened_finish(&opened);
    store_sql_done(q);
    return stop ? stop : rc;
}

static bool is_unfiltered(const struct store_filter *f)
{
    return !f || (!f->app && !f->trainable_ms && !f->added_before_ms &&
                  !f->streams && !f->ids && !f->has_after && !f->has_before);
}

#define COUNT_COLUMNS                                                     \
    "SELECT s.id, s.app, s.name, count(r.id), coalesce(sum(r.bytes), 0)," \
    " coalesce(min(r.time_ms), 0), coalesce(max(r.time_ms), 0) FROM streams s "
#define COUNT_GROUPS " GROUP BY s.id ORDER BY s.app, s.name"

int store_record_count(struct store *s, const struct store_filter *f,
                       store_stream_fn fn, void *user, struct error *err)
{
    struct store_stream st;
    sqlite3_stmt *q;
    int stop = 0;
    int rc =
        is_unfiltered(f)
            ? store_sql(s, &q,
                        COUNT_COLUMNS "LEFT JOIN records r ON r.stream_id"
                                      " = s.id" COUNT_GROUPS,
                        err)
            : store_sql(s, &q,
                        COUNT_COLUMNS "JOIN records r ON r.stream_id = s.id"
                                      " WHERE" STORE_FILTER_SQL COUNT_GROUPS,
                        err);

    if (rc < 0)
        return rc;
    if (!is_unfiltered(f) && (rc = store_filter_bind(q, f, err)) < 0)
        goto out;
    while (stop == 0 &&
           (rc = store_sql_step(s, q, "count records", err)) == 1) {
        store_stream_read(&st, q);
        stop = fn(&st, user);
    }
out:
    store_sql_done(q);
    return stop ? stop : rc;
}
