// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * The keyring (inside storage/)
 *
 * Shared by store_key.c, which seals and shreds, and store_master.c, which
 * finds the master key and changes it. Nobody else's.
 */

#include "storage/keyfile.h"
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
    struct keyfile_places places; // owned
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
