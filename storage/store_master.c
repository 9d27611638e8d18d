// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Changing the master key, killed at any moment:
 *   FILE.new is written       the store names the old key: FILE.new is dropped
 *   the store is sealed anew  it names the new key: FILE.new takes FILE's place
 *   FILE.new takes its place  done
 * A credential is changed by its owner: the new one as pockd.key, the old one
 * as pockd.key.old; the next start seals anew. A key file that was in force
 * before there was a credential counts as the old one.
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
    keyfile_name(s->keys->name, s->keys->master.key);
    return store_meta_set(s, META_MASTER, s->keys->name, err);
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

// A credential took the place of a key file.
static int leave_file(struct store *s, const char *wanted, struct error *err)
{
    struct keyring *k = s->keys;
    const struct keyfile_places only_file = {.file = k->places.file};
    struct keyfile *old = seal_alloc(sizeof(*old));
    int rc = old ? keyfile_load(old, &only_file, err)
                 : error_set(err, -ENOMEM, "out of memory");

    if (rc == 0 && old->source == KEYFILE_FILE && is_named(old->key, wanted)) {
        rc = seal_anew(s, old->key, err);
        if (rc == 0 && unlink(k->places.file) < 0)
            rc = error_set(err, -errno, "cannot delete the old key %s: %s",
                           k->places.file, strerror(errno));
    } else if (rc == 0) {
        rc = refuse(s, wanted, err);
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
        return m->source == KEYFILE_CREDENTIAL ? leave_file(s, wanted, err)
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

static int find_master(struct store *s, struct error *err)
{
    struct keyring *k = s->keys;
    struct keyfile *m = &k->master;
    char wanted[KEYFILE_NAME_SIZE] = "";
    int rc = store_meta_get(s, META_MASTER, wanted, sizeof(wanted), err);

    if (rc == -ENOENT) {
        if (m->source == KEYFILE_NONE &&
            (rc = keyfile_make(m, &k->places, err)) < 0)
            return rc;
        return name_master(s, err);
    }
    if (rc < 0)
        return rc;
    if (m->source == KEYFILE_NONE || !is_named(m->key, wanted)) {
        if ((rc = change_over(s, wanted, err)) < 0)
            return rc;
    } else if (m->has_other && m->source == KEYFILE_FILE &&
               (rc = keyfile_drop_new(&k->places, err)) < 0) {
        return rc;
    }
    seal_wipe(m->other, sizeof(m->other));
    m->has_other = false;
    keyfile_name(k->name, m->key);
    return 0;
}

int store_keys_open(struct store *s, const struct store_params *p,
                    struct error *err)
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
    return find_master(s, err);
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

int store_key_rotate(struct store *s, struct error *err)
{
    struct keyring *k = s->keys;

    if (k->master.source == KEYFILE_CREDENTIAL)
        return error_set(err, -EOPNOTSUPP,
                         "the key is a credential that pockd cannot change: "
                         "hand the new one over as pockd.key and this one as "
                         "pockd.key.old, and restart");
    uint8_t *keys = seal_alloc(2 * (size_t) SEAL_KEY_BYTES);
    if (!keys)
        return error_set(err, -ENOMEM, "cannot change the key: out of memory");
    uint8_t *old = keys + SEAL_KEY_BYTES;
    memcpy(old, k->master.key, SEAL_KEY_BYTES);
    seal_random(keys, SEAL_KEY_BYTES);
    int rc = keyfile_write_new(keys, &k->places, err);
    fault_step();
    if (rc == 0) {
        memcpy(k->master.key, keys, SEAL_KEY_BYTES);
        rc = seal_anew(s, old, err);
        fault_step();
        char named[KEYFILE_NAME_SIZE] = "";
        // Did the store take it? Only that decides.
        (void) store_meta_get(s, META_MASTER, named, sizeof(named), NULL);
        if (is_named(keys, named)) {
            const int taken = keyfile_take_new(&k->places, rc < 0 ? NULL : err);
            rc = rc < 0 ? rc : taken;
        } else {
            memcpy(k->master.key, old, SEAL_KEY_BYTES);
            (void) keyfile_drop_new(&k->places, NULL);
        }
        keyfile_name(k->name, k->master.key);
    }
    seal_free(keys);
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
    out->is_credential = k->master.source == KEYFILE_CREDENTIAL;
    if (!out->is_credential) {
        (void) snprintf(out->file, sizeof(out->file), "%s", k->places.file);
        out->is_beside =
            strncmp(k->places.file, s->dir, n) == 0 && k->places.file[n] == '/';
    }
    memcpy(out->name, k->name, sizeof(out->name));
    return rc < 0 ? rc : 0;
}
