// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Keys that somebody else keeps
 *
 * Meta "kept" is there while the key in force is with the keeper; meta
 * "kept_old" holds the names of keys that it should not have any more. A new
 * one is among them until the store has taken it, the old one from then on: so
 * a kill at any moment leaves only keys there that are in force or listed.
 * Meta "file_old" is the name of a key file's key when that should go. They go
 * at once, and where that fails at the next start.
 */

#include "engine/base/fault.h"
#include "storage/store_keyring.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define META_STORE_ID "store_id"
#define META_KEPT     "kept"
#define META_KEPT_OLD "kept_old"
#define META_FILE_OLD "file_old"

enum {
    ID_SIZE = KEYFILE_NAME_SIZE,
    NAME_CHARS = KEYFILE_NAME_SIZE - 1,
    OLD_MAX = 16,
    LIST_SIZE = OLD_MAX * KEYFILE_NAME_SIZE + 1,
};

// 0 also when there is none: then it is "".
static int meta_or_none(struct store *s, const char *key, char *value,
                        size_t size, struct error *err)
{
    int rc = store_meta_get(s, key, value, size, err);

    if (rc < 0)
        value[0] = '\0';
    return rc == -ENOENT ? 0 : rc;
}

int store_kept_is(struct store *s, bool *out, struct error *err)
{
    char value[8];
    int rc = meta_or_none(s, META_KEPT, value, sizeof(value), err);

    *out = value[0] != '\0';
    return rc;
}

// Names of NAME_CHARS digits, a space between them.
static void list_drop(char list[LIST_SIZE], const char *name)
{
    char *at = strstr(list, name);

    if (!at)
        return;
    const size_t left = strlen(at);
    const size_t n = left > NAME_CHARS ? KEYFILE_NAME_SIZE : left;
    memmove(at, at + n, left - n + 1);
    const size_t bytes = strlen(list);
    if (bytes > 0 && list[bytes - 1] == ' ')
        list[bytes - 1] = '\0';
}

// The oldest goes when there are too many.
static void list_add(char list[LIST_SIZE], const char *name)
{
    list_drop(list, name);
    size_t n = strlen(list);
    if (n + 1 + NAME_CHARS >= LIST_SIZE) {
        memmove(list, list + KEYFILE_NAME_SIZE, n - KEYFILE_NAME_SIZE + 1);
        n = strlen(list);
    }
    (void) snprintf(list + n, LIST_SIZE - n, "%s%.*s", n > 0 ? " " : "",
                    NAME_CHARS, name);
}

static int list_save(struct store *s, const char list[LIST_SIZE],
                     struct error *err)
{
    return store_meta_set(s, META_KEPT_OLD, list[0] ? list : NULL, err);
}

int store_kept_note(struct store *s, const char *old, bool was_kept,
                    struct error *err)
{
    const struct keyring *k = s->keys;
    const bool is_kept = k->master.source == KEYFILE_KEPT;
    const bool is_other = old[0] && strcmp(old, k->name) != 0;
    char list[LIST_SIZE];
    int rc = meta_or_none(s, META_KEPT_OLD, list, sizeof(list), err);

    if (rc < 0)
        return rc;
    if (is_kept)
        list_drop(list, k->name);
    if (was_kept && is_other)
        list_add(list, old);
    if ((rc = list_save(s, list, err)) < 0 ||
        (rc = store_meta_set(s, META_KEPT, is_kept ? "1" : NULL, err)) < 0)
        return rc;
    return is_kept && !was_kept && is_other
               ? store_meta_set(s, META_FILE_OLD, old, err)
               : 0;
}

static int get_id(struct store *s, char id[ID_SIZE], struct error *err)
{
    uint8_t random[NAME_CHARS / 2];
    int rc = store_meta_get(s, META_STORE_ID, id, ID_SIZE, err);

    if (rc != -ENOENT)
        return rc;
    seal_random(random, sizeof(random));
    for (size_t i = 0; i < sizeof(random); i++)
        (void) snprintf(id + 2 * i, 3, "%02x", random[i]);
    return store_meta_set(s, META_STORE_ID, id, err);
}

int store_kept_load(struct store *s, const char *name,
                    uint8_t key[SEAL_KEY_BYTES], struct error *err)
{
    const struct keykeeper *keeper = s->keys->keeper;
    char id[ID_SIZE], its[KEYFILE_NAME_SIZE];
    const struct keykeeper_item item = {id, name, s->dir};

    if (!keeper)
        return error_set(err, -EOPNOTSUPP,
                         "this pockd has nobody to ask: start the one that "
                         "could, with --user");
    int rc = get_id(s, id, err);
    if (rc < 0 || (rc = keeper->load(keeper->user, &item, key, err)) < 0)
        return rc;
    keyfile_name(its, key);
    if (strcmp(its, name) == 0)
        return 0;
    seal_wipe(key, SEAL_KEY_BYTES);
    return error_set(err, -EINVAL, "what is kept under its name is key %.8s",
                     its);
}

int store_kept_save(struct store *s, const uint8_t key[SEAL_KEY_BYTES],
                    struct error *err)
{
    const struct keykeeper *keeper = s->keys->keeper;
    char list[LIST_SIZE], id[ID_SIZE], name[KEYFILE_NAME_SIZE];
    const struct keykeeper_item item = {id, name, s->dir};
    int rc;

    if (!keeper)
        return error_set(err, -EOPNOTSUPP,
                         "this pockd has no Secret Service: one of --user "
                         "that was built with sd-bus has");
    keyfile_name(name, key);
    if ((rc = get_id(s, id, err)) < 0 ||
        (rc = meta_or_none(s, META_KEPT_OLD, list, sizeof(list), err)) < 0)
        return rc;
    list_add(list, name);
    if ((rc = list_save(s, list, err)) < 0)
        return rc;
    fault_step();
    rc = keeper->save(keeper->user, &item, key, err);
    if (rc < 0 && rc != -EINPROGRESS) {
        list_drop(list, name);
        (void) list_save(s, list, NULL);
    }
    if (rc < 0)
        return error_prefix(err, -EOPNOTSUPP,
                            "the Secret Service did not take the key");
    // Nothing is sealed by a key that would not come back.
    uint8_t *again = seal_alloc(SEAL_KEY_BYTES);
    if (!again)
        return error_set(err, -ENOMEM, "out of memory");
    rc = store_kept_load(s, name, again, err);
    seal_free(again);
    return rc < 0 ? error_prefix(err, -EOPNOTSUPP,
                                 "the Secret Service took the key and does "
                                 "not give it back")
                  : 0;
}

static int clean_file(struct store *s, struct error *err)
{
    const struct keyfile_places only_file = {.file = s->keys->places.file};
    char name[KEYFILE_NAME_SIZE], its[KEYFILE_NAME_SIZE];
    int rc = meta_or_none(s, META_FILE_OLD, name, sizeof(name), err);

    if (rc < 0 || !name[0])
        return rc;
    struct keyfile *old = seal_alloc(sizeof(*old));
    if (!old)
        return error_set(err, -ENOMEM, "out of memory");
    rc = keyfile_load(old, &only_file, err);
    keyfile_name(its, old->key);
    if (rc == 0 && old->source == KEYFILE_FILE && strcmp(its, name) == 0)
        rc = keyfile_drop(&only_file, err);
    seal_free(old);
    return rc < 0 ? rc : store_meta_set(s, META_FILE_OLD, NULL, err);
}

static int clean_kept(struct store *s, struct error *err)
{
    const struct keykeeper *keeper = s->keys->keeper;
    char list[LIST_SIZE], id[ID_SIZE], name[KEYFILE_NAME_SIZE];
    const struct keykeeper_item item = {id, name, s->dir};
    int rc = meta_or_none(s, META_KEPT_OLD, list, sizeof(list), err);

    if (rc < 0 || !list[0])
        return rc;
    if (!keeper)
        return error_set(err, -EOPNOTSUPP, "there is no Secret Service here");
    if ((rc = get_id(s, id, err)) < 0)
        return rc;
    while (rc == 0 && list[0]) {
        (void) snprintf(name, sizeof(name), "%.*s", NAME_CHARS, list);
        if ((rc = keeper->remove(keeper->user, &item, err)) < 0)
            break;
        fault_step();
        list_drop(list, name);
        rc = list_save(s, list, err);
    }
    return rc;
}

int store_kept_clean(struct store *s, struct error *err)
{
    const int file = clean_file(s, err);
    const int kept = clean_kept(s, file < 0 ? NULL : err);

    return file < 0 ? file : kept;
}

int store_kept_left(struct store *s, bool *out, struct error *err)
{
    char value[LIST_SIZE];
    int rc = meta_or_none(s, META_KEPT_OLD, value, sizeof(value), err);

    *out = value[0] != '\0';
    if (rc < 0 || *out)
        return rc;
    rc = meta_or_none(s, META_FILE_OLD, value, sizeof(value), err);
    *out = value[0] != '\0';
    return rc;
}
