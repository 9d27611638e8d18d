// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Replies of the Secret Service
 *
 * What its methods answer, read out of messages that anybody could have made:
 * whoever took the service's name on the bus. Nothing here sends or waits. 0,
 * or -EBADMSG for a message of another shape, -ENOMEM.
 */

#include "daemon/secret_session.h"
#include "engine/base/error.h"
#include "engine/base/seal.h"

#include <stdbool.h>
#include <systemd/sd-bus.h>

enum { SECRET_PATH_BYTES = 256, SECRET_PATHS_MAX = 8 };

// More than that are left out, and so are longer ones.
struct secret_paths {
    int count;
    char path[SECRET_PATHS_MAX][SECRET_PATH_BYTES];
};

// "/" is none.
bool secret_is_path(const char *path);

// OpenSession: the session's path, and its key in `s`.
int secret_take_session(sd_bus_message *m, struct secret_session *s,
                        char path[SECRET_PATH_BYTES]);
// SearchItems
int secret_take_found(sd_bus_message *m, struct secret_paths *unlocked,
                      struct secret_paths *locked);
// Unlock: there is a prompt to wait for, or all is unlocked.
int secret_take_unlocked(sd_bus_message *m, char prompt[SECRET_PATH_BYTES]);
// CreateItem: the item, or a prompt before it.
int secret_take_created(sd_bus_message *m, char item[SECRET_PATH_BYTES],
                        char prompt[SECRET_PATH_BYTES]);
// ReadAlias, Delete: one path.
int secret_take_path(sd_bus_message *m, char path[SECRET_PATH_BYTES]);
// The signal Completed of a prompt.
int secret_take_completed(sd_bus_message *m, bool *is_dismissed);
// GetSecret: a key, as a key file holds it. With a sentence; -EINVAL: the
// secret is no key.
int secret_take_key(sd_bus_message *m, const struct secret_session *s,
                    uint8_t key[SEAL_KEY_BYTES], struct error *err);
