// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * A keeper of keys
 *
 * Somebody outside of the file system who can keep the master key: the Secret
 * Service of a session. Who opens the store brings one along; storage/ knows
 * what is kept under which name, not how. Called by the thread that uses the
 * store; a call may wait for a person, within bounds that are the keeper's.
 */

#include "engine/base/error.h"
#include "engine/base/seal.h"

#include <stdint.h>

struct keykeeper_item {
    const char *store; // the store's id
    const char *key;   // the key's name; see keyfile_name()
    const char *dir;   // where the store is, for people
};

struct keykeeper {
    void *user;
    // -ENOENT: it keeps none of that name, and says so for certain.
    int (*load)(void *user, const struct keykeeper_item *item,
                uint8_t key[SEAL_KEY_BYTES], struct error *err);
    // In place of what it keeps under that name. -EINPROGRESS: it may keep it
    // now, or may not; any other failure: it does not.
    int (*save)(void *user, const struct keykeeper_item *item,
                const uint8_t key[SEAL_KEY_BYTES], struct error *err);
    // 0 also when it keeps none.
    int (*remove)(void *user, const struct keykeeper_item *item,
                  struct error *err);
};
