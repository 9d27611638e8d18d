// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Paths
 *
 * Where everything lies. Three layouts: --dir DIR (all below DIR), --user (XDG
 * directories), and the system service (/var/lib/pockd/users/UID, /run/pockd).
 */

#include "daemon/config.h"

enum {
    PATHS_BYTES = 1024,
};

struct paths {
    char state[PATHS_BYTES];       // the store's directory
    char runtime[PATHS_BYTES];     // directory of the socket
    char socket[PATHS_BYTES];      // fits sun_path
    char checkpoints[PATHS_BYTES]; // state/ckpt
    char prefix[PATHS_BYTES];      // state/prefix.cache
    char key[PATHS_BYTES];         // the master key, unless a credential is
    char tmp[PATHS_BYTES];         // state/tmp, emptied at each start
    char models[PATHS_BYTES]; // state/models: copies, and what was converted
    char worker[PATHS_BYTES]; // pock-worker
    char probe[PATHS_BYTES];  // probe.jsonl
};

// The usual pockd.conf for this command line; "" when there is none.
int paths_config_file(char out[PATHS_BYTES], const struct config *c,
                      struct error *err);
int paths_init(struct paths *p, const struct config *c, struct error *err);
// Make the directories, 0700 (the runtime directory of a system service 0755),
// and empty tmp.
int paths_create(const struct paths *p, const struct config *c,
                 struct error *err);
