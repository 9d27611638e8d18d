// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * The keyring (inside storage/)
 *
 * Shared by store_key.c, which seals and shreds, store_master.c, which finds
 * the master key and changes it, and store_kept.c, for one that somebody else
 * keeps. Nobody else's.
 */

#include "storage/keyfile.h"
#include "storage/keykeeper.h"
#include "storage/keytree.h"
#include "storage/store_sql.h"

enum { KEYRING_OPEN = 16 };

struct keyring_open {
    int64_t id; // 0: free
    int64_t month;
    int64_t first_id;
    char app[STORE_NAME_SIZE];
    uint64_t used;
    struct keytree *tree;
};

// In memory of seal_alloc().
struct keyring {
    struct keyfile master;
    struct keyfile_places places;   // owned
    const struct keykeeper *keeper; // or NULL
    char name[KEYFILE_NAME_SIZE];
    struct seal_series series;
    struct keyring_open open[KEYRING_OPEN];
    struct keyring_open *last; // used; or NULL
    uint64_t uses;
    int64_t next_id;   // of a record; 0: unknown
    int64_t stream_id; // whose app is `app`; 0: none
    char app[STORE_NAME_SIZE];
    bool has_day;
    int64_t day;
    int64_t month;
    uint8_t *sealed; // of the last record
    size_t sealed_size;
};

// Everything that `from` sealed is sealed by the keyring's master key. Within
// a transaction.
int store_keys_rewrap(struct store *s, const uint8_t from[SEAL_KEY_BYTES],
                      struct error *err);

// Is the key in force with the keeper, as the store says?
int store_kept_is(struct store *s, bool *out, struct error *err);
// The keyring's key is in force now instead of `old` ("": there was none).
// Within the transaction that says so.
int store_kept_note(struct store *s, const char *old, bool was_kept,
                    struct error *err);
// The key of this name. -ENOENT, -EOPNOTSUPP: there is no keeper, or what the
// keeper says.
int store_kept_load(struct store *s, const char *name,
                    uint8_t key[SEAL_KEY_BYTES], struct error *err);
// It is kept, and comes back, but is not in force yet. -EOPNOTSUPP: it is not.
int store_kept_save(struct store *s, const uint8_t key[SEAL_KEY_BYTES],
                    struct error *err);
// Keys that are not in force any more, or never were, go.
int store_kept_clean(struct store *s, struct error *err);
// Are there some?
int store_kept_left(struct store *s, bool *out, struct error *err);
