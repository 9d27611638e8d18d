// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Invariants
 * 1. A sealed tree in the database covers every record whose body names it, but
 *    for those that were shredded.
 * 2. What is open is what is in the database, seen through the transaction that
 *    is open: store_keys_forget() follows every roll-back.
 * 3. Meta "master" is the name of the key that opens all of it. A key is made
 *    only where the database names none.
 */

#include "storage/store_key.h"

#include "engine/base/fault.h"
#include "storage/store.h"
#include "storage/store_keyring.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RECORD_DOMAIN "pockrec1"

enum {
    DAY_MS = 86400000,
    AD_BYTES = 8 + 6 * 8 + STORE_UID_BYTES,
};

static void put_u64(uint8_t *out, int64_t x)
{
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t) ((uint64_t) x >> 8 * i);
}

// What a tree is sealed to: its place.
struct key_row {
    int64_t id;
    int64_t month;
    int64_t first_id;
    const char *app;
};

static size_t key_ad(uint8_t out[128], const struct key_row *k)
{
    const size_t n = strnlen(k->app, STORE_NAME_SIZE);

    memcpy(out, "pockkey1", 8);
    put_u64(out + 8, k->id);
    put_u64(out + 16, k->month);
    put_u64(out + 24, k->first_id);
    memcpy(out + 32, k->app, n);
    return 32 + n;
}

/*
 * Open trees
 */

static void drop_open(struct keyring_open *o)
{
    keytree_free(o->tree);
    memset(o, 0, sizeof(*o));
}

void store_keys_forget(struct store *s)
{
    struct keyring *k = s->keys;

    if (!k)
        return;
    for (size_t i = 0; i < KEYRING_OPEN; i++)
        drop_open(&k->open[i]);
    k->next_id = 0;
    k->stream_id = 0;
    k->last = NULL;
}

static struct keyring_open *find_open(struct keyring *k, int64_t key_id)
{
    if (k->last && k->last->id == key_id)
        return k->last;
    for (size_t i = 0; i < KEYRING_OPEN; i++)
        if (k->open[i].id == key_id)
            return &k->open[i];
    return NULL;
}

// The place of the one that was not used for longest.
static struct keyring_open *make_room(struct keyring *k)
{
    struct keyring_open *oldest = &k->open[0];

    for (size_t i = 0; i < KEYRING_OPEN; i++) {
        if (!k->open[i].tree)
            return &k->open[i];
        if (k->open[i].used < oldest->used)
            oldest = &k->open[i];
    }
    if (k->last == oldest)
        k->last = NULL;
    drop_open(oldest);
    return oldest;
}

static int seal_tree(const struct keyring *k, const struct key_row *row,
                     const struct keytree *t, struct seal_series *series,
                     uint8_t **out, size_t *bytes)
{
    const size_t plain_bytes = keytree_bytes(t);
    uint8_t nonce[SEAL_NONCE_BYTES];
    uint8_t ad[128];
    uint8_t *plain = seal_alloc(plain_bytes);
    uint8_t *sealed = fault_malloc(plain_bytes + SEAL_EXTRA_BYTES);

    if (!plain || !sealed) {
        seal_free(plain);
        free(sealed);
        return -ENOMEM;
    }
    keytree_save(plain, t);
    seal_nonce_next(nonce, series);
    seal_close(sealed, k->master.key, nonce, ad, key_ad(ad, row), plain,
               plain_bytes);
    seal_free(plain);
    *out = sealed;
    *bytes = plain_bytes + SEAL_EXTRA_BYTES;
    return 0;
}

static struct keytree *open_tree(const uint8_t master[SEAL_KEY_BYTES],
                                 const struct key_row *row, const void *sealed,
                                 size_t bytes, int *rc)
{
    struct keytree *t = NULL;
    uint8_t ad[128];

    *rc = -EUCLEAN;
    if (bytes <= SEAL_EXTRA_BYTES)
        return NULL;
    uint8_t *plain = seal_alloc(bytes - SEAL_EXTRA_BYTES);
    if (!plain)
        *rc = -ENOMEM;
    else if (seal_open(plain, master, ad, key_ad(ad, row), sealed, bytes))
        t = keytree_load(plain, bytes - SEAL_EXTRA_BYTES, rc);
    seal_free(plain);
    return t;
}

// A row of id, app, month, first_id, sealed becomes an open tree.
static int open_row(struct store *s, sqlite3_stmt *q, struct keyring_open **out,
                    struct error *err)
{
    struct keyring *k = s->keys;
    char app[STORE_NAME_SIZE];
    struct key_row row = {.id = sqlite3_column_int64(q, 0),
                          .month = sqlite3_column_int64(q, 2),
                          .first_id = sqlite3_column_int64(q, 3),
                          .app = app};
    int rc = 0;

    store_sql_text(app, sizeof(app), q, 1);
    struct keyring_open *o = find_open(k, row.id);
    if (!o) {
        struct keytree *t =
            open_tree(k->master.key, &row, sqlite3_column_blob(q, 4),
                      (size_t) sqlite3_column_bytes(q, 4), &rc);
        if (!t)
            return error_set(err, rc,
                             rc == -ENOMEM
                                 ? "cannot open a key: out of memory"
                                 : "key %lld of the store is damaged: the "
                                   "records that it sealed are lost",
                             (long long) row.id);
        o = make_room(k);
        o->id = row.id;
        o->month = row.month;
        o->first_id = row.first_id;
        memcpy(o->app, app, sizeof(app));
        o->tree = t;
    }
    o->used = ++k->uses;
    *out = o;
    return 0;
}

static int open_by_id(struct store *s, int64_t key_id,
                      struct keyring_open **out, struct error *err)
{
    struct keyring_open *o = find_open(s->keys, key_id);
    sqlite3_stmt *q;

    if (o) {
        *out = o;
        return 0;
    }
    int rc = store_sql(s, &q,
                       "SELECT id, app, month, first_id, sealed FROM keys"
                       " WHERE id = ?",
                       err);
    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, key_id);
    rc = store_sql_step(s, q, "read a key", err);
    if (rc == 1)
        rc = open_row(s, q, out, err);
    else if (rc == 0)
        rc = error_set(err, -ENOKEY, "key %lld was shredded",
                       (long long) key_id);
    store_sql_done(q);
    return rc;
}

static int write_tree(struct store *s, const struct keyring_open *o,
                      struct error *err)
{
    const struct key_row row = {o->id, o->month, o->first_id, o->app};
    uint8_t *sealed;
    size_t bytes;
    sqlite3_stmt *q;
    int rc =
        seal_tree(s->keys, &row, o->tree, &s->keys->series, &sealed, &bytes);

    if (rc < 0)
        return error_set(err, rc, "cannot seal a key: out of memory");
    rc = store_sql(s, &q, "UPDATE keys SET sealed = ? WHERE id = ?", err);
    if (rc == 0) {
        (void) sqlite3_bind_blob64(q, 1, sealed, bytes, SQLITE_STATIC);
        (void) sqlite3_bind_int64(q, 2, o->id);
        rc = store_sql_run(s, q, "write a key", err);
    }
    free(sealed);
    return rc;
}

// Its id is part of what it is sealed to: the row comes first.
static int make_key(struct store *s, const char *app, int64_t month,
                    int64_t first_id, int64_t now_ms, struct keyring_open **out,
                    struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "INSERT INTO keys (app, month, first_id, made_ms,"
                       " sealed) VALUES (?, ?, ?, ?, x'00')",
                       err);

    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(q, 1, app);
    (void) sqlite3_bind_int64(q, 2, month);
    (void) sqlite3_bind_int64(q, 3, first_id);
    (void) sqlite3_bind_int64(q, 4, now_ms);
    if ((rc = store_sql_run(s, q, "make a key", err)) < 0)
        return rc;
    struct keytree *t = keytree_new();
    if (!t)
        return error_set(err, -ENOMEM, "cannot make a key: out of memory");
    struct keyring_open *o = make_room(s->keys);
    o->id = sqlite3_last_insert_rowid(s->db);
    o->month = month;
    o->first_id = first_id;
    (void) snprintf(o->app, sizeof(o->app), "%s", app);
    o->used = ++s->keys->uses;
    o->tree = t;
    if ((rc = write_tree(s, o, err)) < 0) {
        drop_open(o);
        return rc;
    }
    *out = o;
    return 0;
}

/*
 * Which key a record gets
 */

static int64_t month_of(struct keyring *k, int64_t ms)
{
    const int64_t day = ms / DAY_MS;

    if (!k->has_day || k->day != day) {
        const time_t t = (time_t) (ms / 1000);
        struct tm tm = {0};
        (void) gmtime_r(&t, &tm);
        k->month = (int64_t) (tm.tm_year + 1900) * 12 + tm.tm_mon;
        k->day = day;
        k->has_day = true;
    }
    return k->month;
}

static int app_of(struct store *s, int64_t stream_id, struct error *err)
{
    struct keyring *k = s->keys;
    sqlite3_stmt *q;

    if (k->stream_id == stream_id && stream_id != 0)
        return 0;
    int rc = store_sql(s, &q, "SELECT app FROM streams WHERE id = ?", err);
    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, stream_id);
    rc = store_sql_step(s, q, "store the record", err);
    if (rc == 1) {
        store_sql_text(k->app, sizeof(k->app), q, 0);
        k->stream_id = stream_id;
    }
    store_sql_done(q);
    if (rc == 0)
        return error_set(err, -ENOENT, "there is no stream %lld",
                         (long long) stream_id);
    return rc < 0 ? rc : 0;
}

int store_keys_app(struct store *s, int64_t stream_id, const char **app,
                   struct error *err)
{
    *app = s->keys->app;
    return app_of(s, stream_id, err);
}

static bool fits(const struct keyring_open *o, const char *app, int64_t month,
                 int64_t id)
{
    return o->tree && o->month == month && id >= o->first_id &&
           id - o->first_id < (int64_t) KEYTREE_LEAVES &&
           strcmp(o->app, app) == 0;
}

static int find_key(struct store *s, const char *app, int64_t month, int64_t id,
                    struct keyring_open **out, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "SELECT id, app, month, first_id, sealed FROM keys"
                       " WHERE app = ?1 AND month = ?2 AND first_id <= ?3 AND"
                       " first_id > ?3 - 65536 ORDER BY first_id DESC LIMIT 1",
                       err);

    _Static_assert(KEYTREE_LEAVES == 65536, "the statement says so");
    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(q, 1, app);
    (void) sqlite3_bind_int64(q, 2, month);
    (void) sqlite3_bind_int64(q, 3, id);
    rc = store_sql_step(s, q, "read a key", err);
    if (rc == 1) {
        rc = open_row(s, q, out, err);
        rc = rc < 0 ? rc : 1;
    }
    store_sql_done(q);
    return rc;
}

// The tree of this app and month that has a leaf for this record.
static int key_for(struct store *s, const struct store_record *r,
                   struct keyring_open **out, struct error *err)
{
    struct keyring *k = s->keys;
    const int64_t month = month_of(k, r->added_ms);
    int rc = app_of(s, r->stream_id, err);

    if (rc < 0)
        return rc;
    if (k->last && fits(k->last, k->app, month, r->id)) {
        *out = k->last;
        return 0;
    }
    for (size_t i = 0; i < KEYRING_OPEN; i++)
        if (fits(&k->open[i], k->app, month, r->id)) {
            *out = &k->open[i];
            return 0;
        }
    rc = find_key(s, k->app, month, r->id, out, err);
    // A damaged one is left for what it sealed; new records get another.
    if (rc == 0 || rc == -EUCLEAN)
        rc = make_key(s, k->app, month, r->id, r->added_ms, out, err);
    return rc < 0 ? rc : 0;
}

/*
 * Records
 */

int store_keys_next_id(struct store *s, int64_t *id, struct error *err)
{
    struct keyring *k = s->keys;
    sqlite3_stmt *q;

    if (k->next_id == 0) {
        int rc = store_sql(s, &q,
                           "SELECT seq FROM sqlite_sequence WHERE name ="
                           " 'records'",
                           err);
        if (rc < 0)
            return rc;
        if ((rc = store_sql_step(s, q, "store the record", err)) >= 0)
            k->next_id = rc == 1 ? sqlite3_column_int64(q, 0) + 1 : 1;
        store_sql_done(q);
        if (rc < 0)
            return rc;
    }
    *id = k->next_id;
    return 0;
}

void store_keys_took_id(struct store *s)
{
    s->keys->next_id++;
}

// Every column of the row: none can be changed, nor the body moved to another.
static void record_ad(uint8_t out[AD_BYTES], const struct store_record *r)
{
    const int64_t numbers[] = {r->id,      r->stream_id, r->kind,
                               r->time_ms, r->added_ms,  r->bytes};

    memcpy(out, RECORD_DOMAIN, 8);
    for (size_t i = 0; i < 6; i++)
        put_u64(out + 8 + 8 * i, numbers[i]);
    memcpy(out + 8 + 6 * 8, r->uid, STORE_UID_BYTES);
}

static int reserve(uint8_t **data, size_t *size, size_t bytes)
{
    if (bytes <= *size)
        return 0;
    const size_t more = bytes > 2 * *size ? bytes : 2 * *size;
    uint8_t *p = fault_malloc(more);
    if (!p)
        return -ENOMEM;
    if (*data)
        seal_wipe(*data, *size);
    free(*data);
    *data = p;
    *size = more;
    return 0;
}

int store_seal_record(struct store *s, const struct store_record *r,
                      const void **out, size_t *bytes, struct error *err)
{
    struct keyring *k = s->keys;
    struct keyring_open *o;
    uint8_t key[SEAL_KEY_BYTES];
    uint8_t nonce[SEAL_NONCE_BYTES];
    uint8_t ad[AD_BYTES];
    const size_t n = r->body_bytes + STORE_SEALED_EXTRA;
    int rc = key_for(s, r, &o, err);

    if (rc < 0)
        return rc;
    if (reserve(&k->sealed, &k->sealed_size, n) < 0)
        return error_set(err, -ENOMEM, "cannot seal the record: out of memory");
    k->last = o;
    if ((rc = keytree_key(key, o->tree, (uint32_t) (r->id - o->first_id))) < 0)
        return error_set(err, rc, "record %lld was shredded",
                         (long long) r->id);
    k->sealed[0] = STORE_SEALED_MARK;
    for (int i = 0; i < 4; i++)
        k->sealed[1 + i] = (uint8_t) ((uint64_t) o->id >> 8 * i);
    record_ad(ad, r);
    seal_nonce_next(nonce, &k->series);
    seal_close(k->sealed + STORE_SEALED_HEAD, key, nonce, ad, sizeof(ad),
               r->body, r->body_bytes);
    seal_wipe(key, sizeof(key));
    *out = k->sealed;
    *bytes = n;
    return 0;
}

void store_opened_finish(struct store_opened *o)
{
    if (o->data)
        seal_wipe(o->data, o->size);
    free(o->data);
    *o = (struct store_opened){0};
}

int store_open_record(struct store *s, struct store_record *r,
                      struct store_opened *opened, struct error *err)
{
    const uint8_t *at = r->body;
    const size_t bytes = r->body_bytes;
    struct keyring_open *o;
    uint8_t key[SEAL_KEY_BYTES];
    uint8_t ad[AD_BYTES];
    int64_t key_id = 0;

    if (!at || bytes == 0)
        return 0;
    r->body = "";
    r->body_bytes = 0;
    if (bytes < STORE_SEALED_EXTRA || at[0] != STORE_SEALED_MARK)
        return 0;
    for (int i = 0; i < 4; i++)
        key_id |= (int64_t) at[1 + i] << 8 * i;
    int rc = open_by_id(s, key_id, &o, err);
    if (rc < 0)
        return rc == -ENOMEM ? rc : 0;
    if (reserve(&opened->data, &opened->size, bytes) < 0)
        return error_set(err, -ENOMEM, "cannot open a record: out of memory");
    s->keys->last = o;
    const int64_t leaf = r->id - o->first_id;
    if (leaf < 0 || leaf >= (int64_t) KEYTREE_LEAVES ||
        keytree_key(key, o->tree, (uint32_t) leaf) < 0)
        return 0;
    record_ad(ad, r);
    if (seal_open(opened->data, key, ad, sizeof(ad), at + STORE_SEALED_HEAD,
                  bytes - STORE_SEALED_HEAD)) {
        r->body = opened->data;
        r->body_bytes = bytes - STORE_SEALED_EXTRA;
    }
    seal_wipe(key, sizeof(key));
    return 0;
}

/*
 * Shredding
 */

// Is there a record of this key that stays?
static int is_used(struct store *s, const struct keyring_open *o,
                   struct error *err)
{
    uint8_t head[STORE_SEALED_HEAD] = {STORE_SEALED_MARK};
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "SELECT 1 FROM records WHERE id >= ?1 AND"
                       " id < ?1 + 65536 AND"
                       " substr(body, 1, 5) = ?2 AND"
                       " id NOT IN (SELECT id FROM erasing) LIMIT 1",
                       err);

    if (rc < 0)
        return rc;
    for (int i = 0; i < 4; i++)
        head[1 + i] = (uint8_t) ((uint64_t) o->id >> 8 * i);
    (void) sqlite3_bind_int64(q, 1, o->first_id);
    (void) sqlite3_bind_blob(q, 2, head, sizeof(head), SQLITE_TRANSIENT);
    rc = store_sql_step(s, q, "erase", err);
    store_sql_done(q);
    return rc;
}

static int remove_key(struct store *s, int64_t id, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q, "DELETE FROM keys WHERE id = ?", err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, id);
    return store_sql_run(s, q, "shred a key", err);
}

static int shred_leaves(struct store *s, sqlite3_stmt *q,
                        struct keyring_open *o, struct error *err)
{
    int rc = 0;

    (void) sqlite3_bind_int64(q, 1, o->first_id);
    while ((rc = store_sql_step(s, q, "erase", err)) == 1) {
        const int64_t leaf = sqlite3_column_int64(q, 0) - o->first_id;
        if ((rc = keytree_remove(o->tree, (uint32_t) leaf)) < 0)
            return error_set(err, rc, "cannot shred a key: out of memory");
    }
    return rc;
}

// Every leaf that an erased record has here, whatever key its body names: a
// body may be damaged.
static int shred_in(struct store *s, int64_t key_id, struct error *err)
{
    struct keyring_open *o;
    sqlite3_stmt *q;
    int rc = open_by_id(s, key_id, &o, err);

    if (rc == -EUCLEAN) // Nothing opens what it sealed.
        return 0;
    if (rc < 0 || (rc = is_used(s, o, err)) < 0)
        return rc;
    if (rc == 0) {
        rc = remove_key(s, key_id, err);
        if (s->keys->last == o)
            s->keys->last = NULL;
        drop_open(o);
        return rc;
    }
    rc = store_sql(s, &q,
                   "SELECT id FROM erasing WHERE id >= ?1 AND id < ?1 + 65536"
                   " ORDER BY id",
                   err);
    if (rc < 0)
        return rc;
    rc = shred_leaves(s, q, o, err);
    store_sql_done(q);
    return rc < 0 ? rc : write_tree(s, o, err);
}

// Keys whose range has one of the records, from `after` on; 0 at the end.
static int next_key(struct store *s, int64_t after, int64_t *id,
                    struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "SELECT k.id FROM keys k WHERE k.id > ?1 AND EXISTS"
                       " (SELECT 1 FROM erasing e WHERE e.id >= k.first_id AND"
                       " e.id < k.first_id + 65536) ORDER BY k.id LIMIT 1",
                       err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, after);
    rc = store_sql_step(s, q, "erase", err);
    if (rc == 1)
        *id = sqlite3_column_int64(q, 0);
    store_sql_done(q);
    return rc;
}

int store_keys_shred(struct store *s, struct error *err)
{
    int64_t id = 0;
    int rc;

    assert(store_is_in_transaction(s));
    while ((rc = next_key(s, id, &id, err)) == 1)
        if ((rc = shred_in(s, id, err)) < 0)
            break;
    return rc;
}

/*
 * Files
 */

static size_t file_ad(uint8_t out[8 + 128], const char *name)
{
    const size_t n = strnlen(name, 127);

    memcpy(out, "pockfky1", 8);
    memcpy(out + 8, name, n);
    return 8 + n;
}

static int make_file_key(struct store *s, const char *name,
                         uint8_t key[SEAL_KEY_BYTES], struct error *err)
{
    uint8_t sealed[SEAL_KEY_BYTES + SEAL_EXTRA_BYTES];
    uint8_t nonce[SEAL_NONCE_BYTES];
    uint8_t ad[8 + 128];
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "INSERT OR REPLACE INTO files (name, sealed)"
                       " VALUES (?, ?)",
                       err);

    if (rc < 0)
        return rc;
    seal_random(key, SEAL_KEY_BYTES);
    seal_nonce_next(nonce, &s->keys->series);
    seal_close(sealed, s->keys->master.key, nonce, ad, file_ad(ad, name), key,
               SEAL_KEY_BYTES);
    (void) store_sql_bind_text(q, 1, name);
    (void) sqlite3_bind_blob(q, 2, sealed, sizeof(sealed), SQLITE_STATIC);
    return store_sql_run(s, q, "write the key of a file", err);
}

int store_file_key(struct store *s, const char *name, bool may_make,
                   uint8_t key[SEAL_KEY_BYTES], struct error *err)
{
    uint8_t ad[8 + 128];
    bool is_open = false;
    sqlite3_stmt *q;
    int rc = store_sql(s, &q, "SELECT sealed FROM files WHERE name = ?", err);

    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(q, 1, name);
    rc = store_sql_step(s, q, "read the key of a file", err);
    if (rc == 1 &&
        sqlite3_column_bytes(q, 0) == SEAL_KEY_BYTES + SEAL_EXTRA_BYTES)
        is_open = seal_open(key, s->keys->master.key, ad, file_ad(ad, name),
                            sqlite3_column_blob(q, 0),
                            SEAL_KEY_BYTES + SEAL_EXTRA_BYTES);
    store_sql_done(q);
    if (rc < 0 || is_open)
        return rc < 0 ? rc : 0;
    if (may_make)
        return make_file_key(s, name, key, err);
    return error_set(err, -ENOKEY, "the key of %s was shredded", name);
}

int store_file_shred(struct store *s, const char *name, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q, "DELETE FROM files WHERE name = ?", err);

    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(q, 1, name);
    return store_sql_run(s, q, "shred the key of a file", err);
}

/*
 * All of them under another master key
 */

static int rewrap_tree(struct store *s, sqlite3_stmt *q,
                       const uint8_t from[SEAL_KEY_BYTES],
                       struct keyring_open *o, struct error *err)
{
    char app[STORE_NAME_SIZE];
    const struct key_row row = {.id = sqlite3_column_int64(q, 0),
                                .month = sqlite3_column_int64(q, 2),
                                .first_id = sqlite3_column_int64(q, 3),
                                .app = app};
    int rc;

    store_sql_text(app, sizeof(app), q, 1);
    *o = (struct keyring_open){.id = row.id,
                               .month = row.month,
                               .first_id = row.first_id};
    memcpy(o->app, app, sizeof(app));
    o->tree = open_tree(from, &row, sqlite3_column_blob(q, 4),
                        (size_t) sqlite3_column_bytes(q, 4), &rc);
    // What is damaged under the old key stays so.
    return o->tree || rc == -EUCLEAN
               ? 0
               : error_set(err, rc, "cannot open a key: out of memory");
}

static int rewrap_trees(struct store *s, const uint8_t from[SEAL_KEY_BYTES],
                        struct error *err)
{
    int64_t after = 0;
    int rc;

    for (;;) {
        struct keyring_open o = {0};
        sqlite3_stmt *q;
        rc = store_sql(s, &q,
                       "SELECT id, app, month, first_id, sealed FROM keys"
                       " WHERE id > ? ORDER BY id LIMIT 1",
                       err);
        if (rc < 0)
            return rc;
        (void) sqlite3_bind_int64(q, 1, after);
        if ((rc = store_sql_step(s, q, "change the key", err)) == 1) {
            rc = rewrap_tree(s, q, from, &o, err);
            rc = rc < 0 ? rc : 1;
        }
        store_sql_done(q);
        after = o.id;
        const int written = rc == 1 && o.tree ? write_tree(s, &o, err) : 0;
        keytree_free(o.tree);
        if (rc != 1 || written < 0)
            return written < 0 ? written : rc;
    }
}

static int rewrap_file(struct store *s, const char *name, const uint8_t *sealed,
                       const uint8_t from[SEAL_KEY_BYTES], struct error *err)
{
    uint8_t key[SEAL_KEY_BYTES];
    uint8_t again[SEAL_KEY_BYTES + SEAL_EXTRA_BYTES];
    uint8_t nonce[SEAL_NONCE_BYTES];
    uint8_t ad[8 + 128];
    sqlite3_stmt *q;

    if (!seal_open(key, from, ad, file_ad(ad, name), sealed, sizeof(again)))
        return 0;
    seal_nonce_next(nonce, &s->keys->series);
    seal_close(again, s->keys->master.key, nonce, ad, file_ad(ad, name), key,
               sizeof(key));
    seal_wipe(key, sizeof(key));
    int rc =
        store_sql(s, &q, "UPDATE files SET sealed = ? WHERE name = ?", err);
    if (rc < 0)
        return rc;
    (void) sqlite3_bind_blob(q, 1, again, sizeof(again), SQLITE_STATIC);
    (void) store_sql_bind_text(q, 2, name);
    return store_sql_run(s, q, "change the key", err);
}

static int rewrap_files(struct store *s, const uint8_t from[SEAL_KEY_BYTES],
                        struct error *err)
{
    char name[128] = "";
    int rc;

    for (;;) {
        uint8_t sealed[SEAL_KEY_BYTES + SEAL_EXTRA_BYTES] = {0};
        sqlite3_stmt *q;
        rc = store_sql(s, &q,
                       "SELECT name, sealed FROM files WHERE name > ?"
                       " ORDER BY name LIMIT 1",
                       err);
        if (rc < 0)
            return rc;
        (void) sqlite3_bind_text(q, 1, name, -1, SQLITE_TRANSIENT);
        if ((rc = store_sql_step(s, q, "change the key", err)) == 1) {
            store_sql_text(name, sizeof(name), q, 0);
            if ((size_t) sqlite3_column_bytes(q, 1) == sizeof(sealed))
                memcpy(sealed, sqlite3_column_blob(q, 1), sizeof(sealed));
        }
        store_sql_done(q);
        if (rc != 1 || (rc = rewrap_file(s, name, sealed, from, err)) < 0)
            return rc;
    }
}

int store_keys_rewrap(struct store *s, const uint8_t from[SEAL_KEY_BYTES],
                      struct error *err)
{
    int rc = rewrap_trees(s, from, err);

    return rc < 0 ? rc : rewrap_files(s, from, err);
}
