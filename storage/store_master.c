// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Changing the master key, killed at any moment:
 *   FILE.new is written       the store names the old key: FILE.new is dropped
 *   the store is sealed anew  it names the new key: FILE.new takes FILE's place
 *   FILE.new takes its place  done
 * A credential is changed by its owner: the new one as pockd.key, the old one
 * as pockd.key.old; the next start seals anew. A key that was in force before
 * there was a credential counts as the old one. A key moves between the file
 * and the keeper as it is changed; store_kept.c says what a kill leaves there.
 */

#include "storage/store_key.h"

#include "engine/base/fault.h"
#include "storage/store.h"
#include "storage/store_keyring.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define META_MASTER "master"

static char *copy_text(const char *text)
{
    const size_t n = strlen(text) + 1;
    char *p = fault_malloc(n);

    return p ? memcpy(p, text, n) : NULL;
}

static int take_places(struct store *s, const struct store_params *p,
                       struct error *err)
{
    struct keyring *k = s->keys;
    char path[STORE_PATH_SIZE];
    const int n = p->key_file
                      ? snprintf(path, sizeof(path), "%s", p->key_file)
                      : snprintf(path, sizeof(path), "%s/pockd.key", s->dir);

    if (n < 0 || (size_t) n >= sizeof(path))
        return error_set(err, -ENAMETOOLONG, "the path of the key is too long");
    k->places.file = copy_text(path);
    k->places.credentials = p->credentials ? copy_text(p->credentials) : NULL;
    k->keeper = p->keeper;
    return k->places.file && (!p->credentials || k->places.credentials)
               ? 0
               : error_set(err, -ENOMEM, "cannot open the keys: out of memory");
}

static bool is_named(const uint8_t key[SEAL_KEY_BYTES], const char *name)
{
    char its[KEYFILE_NAME_SIZE];

    keyfile_name(its, key);
    return strcmp(its, name) == 0;
}

static int name_master(struct store *s, struct error *err)
{
    struct keyring *k = s->keys;
    char old[KEYFILE_NAME_SIZE] = "";
    bool was_kept;
    int rc = store_meta_get(s, META_MASTER, old, sizeof(old), err);

    keyfile_name(k->name, k->master.key);
    if ((rc < 0 && rc != -ENOENT) ||
        (rc = store_kept_is(s, &was_kept, err)) < 0 ||
        (rc = store_kept_note(s, old, was_kept, err)) < 0)
        return rc;
    return store_meta_set(s, META_MASTER, k->name, err);
}

// Alone, where nothing is sealed by it yet or nothing has to be sealed anew.
static int take_master(struct store *s, struct error *err)
{
    int rc = store_begin(s, err);

    if (rc < 0)
        return rc;
    rc = name_master(s, err);
    if (rc == 0)
        rc = store_commit(s, err);
    if (rc < 0)
        store_rollback(s);
    return rc;
}

// Everything sealed by `from` is sealed by the key of the keyring.
static int seal_anew(struct store *s, const uint8_t from[SEAL_KEY_BYTES],
                     struct error *err)
{
    int rc = store_begin(s, err);

    if (rc < 0)
        return rc;
    if ((rc = store_keys_rewrap(s, from, err)) == 0 &&
        (rc = name_master(s, err)) == 0)
        rc = store_commit(s, err);
    if (rc < 0)
        store_rollback(s);
    fault_step();
    // What the old key sealed is in no page any more.
    return rc < 0 ? rc : store_checkpoint(s, err);
}

static int refuse(const struct store *s, const char *wanted, struct error *err)
{
    const struct keyring *k = s->keys;
    char its[KEYFILE_NAME_SIZE];

    if (k->master.source == KEYFILE_NONE)
        return error_set(err, -ENOKEY,
                         "the store in %s is sealed and its key %.8s is "
                         "missing: put %s back from a copy, or hand pockd.key "
                         "over as a credential: nothing was changed",
                         s->dir, wanted, k->places.file);
    keyfile_name(its, k->master.key);
    return error_set(err, -ENOKEY,
                     "the store in %s is sealed by key %.8s, but %s is key "
                     "%.8s: put the right one back, with a changed credential "
                     "the old one as pockd.key.old beside it: nothing was "
                     "changed",
                     s->dir, wanted,
                     k->master.source == KEYFILE_CREDENTIAL
                         ? "the credential pockd.key"
                         : k->places.file,
                     its);
}

static int refuse_kept(const struct store *s, const char *wanted, int rc,
                       struct error *err)
{
    char why[sizeof(err->text)];

    if (!err)
        return -ENOKEY;
    (void) snprintf(why, sizeof(why), "%s",
                    rc == -ENOENT ? "it is not there any more: put it back, or "
                                    "a copy of it into the key file"
                                  : err->text);
    return error_set(err, -ENOKEY,
                     "the store in %.100s is sealed by key %.8s, which the "
                     "Secret Service keeps (attributes application=pockd, "
                     "key=%.32s): %.300s: nothing was changed",
                     s->dir, wanted, wanted, why);
}

// A credential took the place of a key file, or of one that is kept.
static int leave_other(struct store *s, const char *wanted, struct error *err)
{
    struct keyring *k = s->keys;
    const struct keyfile_places only_file = {.file = k->places.file};
    bool is_kept;
    int rc = store_kept_is(s, &is_kept, err);

    if (rc < 0)
        return rc;
    struct keyfile *old = seal_alloc(sizeof(*old));
    if (!old)
        return error_set(err, -ENOMEM, "out of memory");
    if (is_kept) {
        if ((rc = store_kept_load(s, wanted, old->key, err)) < 0)
            rc = refuse_kept(s, wanted, rc, err);
        else
            rc = seal_anew(s, old->key, err);
    } else if ((rc = keyfile_load(old, &only_file, err)) == 0) {
        if (old->source != KEYFILE_FILE || !is_named(old->key, wanted))
            rc = refuse(s, wanted, err);
        else if ((rc = seal_anew(s, old->key, err)) == 0)
            rc = keyfile_drop(&only_file, err);
    }
    seal_free(old);
    return rc;
}

// The store names a key that is not the first that was found.
static int change_over(struct store *s, const char *wanted, struct error *err)
{
    struct keyring *k = s->keys;
    struct keyfile *m = &k->master;
    int rc;

    if (!m->has_other || !is_named(m->other, wanted))
        return m->source == KEYFILE_CREDENTIAL ? leave_other(s, wanted, err)
                                               : refuse(s, wanted, err);
    if (m->source == KEYFILE_CREDENTIAL) {
        rc = seal_anew(s, m->other, err);
    } else {
        rc = keyfile_take_new(&k->places, err);
        memcpy(m->key, m->other, sizeof(m->key));
        m->source = KEYFILE_FILE;
    }
    return rc;
}

// The first key of a store.
static int make_master(struct store *s, bool is_key_kept, struct error *err)
{
    struct keyring *k = s->keys;
    struct keyfile *m = &k->master;
    int rc = 0;

    if (is_key_kept && m->source != KEYFILE_CREDENTIAL) {
        seal_random(m->key, sizeof(m->key));
        m->source = KEYFILE_KEPT;
        if ((rc = store_kept_save(s, m->key, err)) < 0)
            return error_prefix(err, rc == -EOPNOTSUPP ? -ENOKEY : rc,
                                "the store in %.100s needs a first key",
                                s->dir);
    } else if (m->source == KEYFILE_NONE) {
        rc = keyfile_make(m, &k->places, err);
    }
    return rc < 0 ? rc : take_master(s, err);
}

static int find_kept(struct store *s, const char *wanted, struct error *err)
{
    struct keyfile *m = &s->keys->master;

    // Its owner put a copy of it there.
    if (m->source == KEYFILE_FILE && is_named(m->key, wanted))
        return take_master(s, err);
    int rc = store_kept_load(s, wanted, m->key, err);
    if (rc < 0)
        return refuse_kept(s, wanted, rc, err);
    m->source = KEYFILE_KEPT;
    // Of a move to the file that was cut short.
    return m->has_other ? keyfile_drop_new(&s->keys->places, err) : 0;
}

static int find_master(struct store *s, bool is_key_kept, struct error *err)
{
    struct keyring *k = s->keys;
    struct keyfile *m = &k->master;
    char wanted[KEYFILE_NAME_SIZE] = "";
    bool is_kept;
    int rc = store_meta_get(s, META_MASTER, wanted, sizeof(wanted), err);

    if (rc == -ENOENT)
        return make_master(s, is_key_kept, err);
    if (rc < 0 || (rc = store_kept_is(s, &is_kept, err)) < 0)
        return rc;
    if (is_kept && m->source != KEYFILE_CREDENTIAL)
        rc = find_kept(s, wanted, err);
    else if (m->source == KEYFILE_NONE || !is_named(m->key, wanted))
        rc = change_over(s, wanted, err);
    else if (m->has_other && m->source == KEYFILE_FILE)
        rc = keyfile_drop_new(&k->places, err);
    if (rc < 0)
        return rc;
    seal_wipe(m->other, sizeof(m->other));
    m->has_other = false;
    keyfile_name(k->name, m->key);
    return 0;
}

int store_keys_open(struct store *s, const struct store_params *p,
                    struct store_report *report, struct error *err)
{
    int rc;

    if ((rc = seal_init()) < 0)
        return error_set(err, rc, "libsodium cannot be used here");
    s->keys = seal_alloc(sizeof(*s->keys));
    if (!s->keys)
        return error_set(err, -ENOMEM, "cannot open the keys: out of memory");
    seal_series_init(&s->keys->series);
    if ((rc = take_places(s, p, err)) < 0 ||
        (rc = keyfile_load(&s->keys->master, &s->keys->places, err)) < 0)
        return rc;
    if ((rc = find_master(s, p->is_key_kept, err)) < 0)
        return rc;
    // Whoever keeps an old one may be away: that is no reason not to start.
    (void) store_kept_clean(s, NULL);
    return store_kept_left(s, &report->is_key_left, err);
}

void store_keys_close(struct store *s)
{
    struct keyring *k = s->keys;

    if (!k)
        return;
    store_keys_forget(s);
    free((void *) (uintptr_t) k->places.file);
    free((void *) (uintptr_t) k->places.credentials);
    free(k->sealed);
    seal_free(k);
    s->keys = NULL;
}

static int may_rotate(const struct store *s, enum keyfile_source to,
                      struct error *err)
{
    const struct keyring *k = s->keys;

    if (k->master.source == KEYFILE_CREDENTIAL)
        return error_set(err, -EOPNOTSUPP,
                         "the key is a credential that pockd cannot change: "
                         "hand the new one over as pockd.key and this one as "
                         "pockd.key.old, and restart");
    if (to == KEYFILE_FILE && k->master.source == KEYFILE_KEPT &&
        access(k->places.file, F_OK) == 0)
        return error_set(err, -EEXIST,
                         "there is a key %s already, which is not in force: "
                         "move it away first",
                         k->places.file);
    return 0;
}

// The store is sealed by `new`; which of both is in force, only the store says.
static int put_in_force(struct store *s, const uint8_t new[SEAL_KEY_BYTES],
                        enum keyfile_source to, const struct keyfile *was,
                        struct error *err)
{
    struct keyring *k = s->keys;
    struct keyfile *m = &k->master;
    char named[KEYFILE_NAME_SIZE] = "";

    memcpy(m->key, new, SEAL_KEY_BYTES);
    m->source = to;
    int rc = seal_anew(s, was->key, err);
    fault_step();
    (void) store_meta_get(s, META_MASTER, named, sizeof(named), NULL);
    if (!is_named(new, named)) {
        memcpy(m->key, was->key, SEAL_KEY_BYTES);
        m->source = was->source;
        if (to == KEYFILE_FILE)
            (void) keyfile_drop_new(&k->places, NULL);
    } else if (to == KEYFILE_FILE) {
        const int taken = keyfile_take_new(&k->places, rc < 0 ? NULL : err);
        rc = rc < 0 ? rc : taken;
    }
    keyfile_name(k->name, m->key);
    return rc;
}

int store_key_rotate(struct store *s, enum store_key_place place,
                     struct error *err)
{
    struct keyring *k = s->keys;
    const enum keyfile_source to = place == STORE_KEY_FILE ? KEYFILE_FILE
                                   : place == STORE_KEY_KEEPER
                                       ? KEYFILE_KEPT
                                       : k->master.source;
    int rc = may_rotate(s, to, err);

    if (rc < 0)
        return rc;
    uint8_t *new = seal_alloc(SEAL_KEY_BYTES);
    struct keyfile *was = seal_alloc(sizeof(*was));
    if (!new || !was) {
        rc = error_set(err, -ENOMEM, "cannot change the key: out of memory");
        goto out;
    }
    memcpy(was, &k->master, sizeof(*was));
    seal_random(new, SEAL_KEY_BYTES);
    rc = to == KEYFILE_KEPT ? store_kept_save(s, new, err)
                            : keyfile_write_new(new, &k->places, err);
    fault_step();
    if (rc == 0)
        rc = put_in_force(s, new, to, was, err);
    // What cannot go now goes later, and is told of.
    (void) store_kept_clean(s, NULL);

out:
    seal_free(new);
    seal_free(was);
    return rc;
}

int store_key_info(struct store *s, struct store_key_info *out,
                   struct error *err)
{
    const struct keyring *k = s->keys;
    const size_t n = strlen(s->dir);
    sqlite3_stmt *q;
    int rc = store_sql(s, &q, "SELECT count(*) FROM keys", err);

    memset(out, 0, sizeof(*out));
    if (rc < 0)
        return rc;
    if ((rc = store_sql_step(s, q, "count the keys", err)) == 1)
        out->keys = sqlite3_column_int64(q, 0);
    store_sql_done(q);
    if (rc < 0 || (rc = store_kept_left(s, &out->is_left, err)) < 0)
        return rc;
    out->place = k->master.source == KEYFILE_CREDENTIAL ? STORE_KEY_CREDENTIAL
                 : k->master.source == KEYFILE_KEPT     ? STORE_KEY_KEEPER
                                                        : STORE_KEY_FILE;
    if (out->place == STORE_KEY_FILE) {
        (void) snprintf(out->file, sizeof(out->file), "%s", k->places.file);
        out->is_beside =
            strncmp(k->places.file, s->dir, n) == 0 && k->places.file[n] == '/';
    }
    memcpy(out->name, k->name, sizeof(out->name));
    return 0;
}
