// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Paths
 *
 * Where everything lies. Three layouts: --dir DIR (all below DIR), --user (XDG
 * directories), and the system service, which has a process for each owner
 * (/var/lib/pockd/UID, /run/pockd/UID).
 */

#include "daemon/config.h"

enum {
    PATHS_BYTES = 1024,
};

#define PATHS_TURN_DIR "/run/pockd" // see turn.h

// Resource classes of workers; each is a unit of the system service.
enum paths_worker {
    PATHS_WORKER_TRAIN, // in nobody's way
    PATHS_WORKER_SERVE, // somebody waits: answers, training asked for now
    PATHS_WORKER_TOOL,
    PATHS_WORKER_COUNT
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
    // Of the workers' units, by what they are for; empty: they are children.
    char worker_sockets[PATHS_WORKER_COUNT][PATHS_BYTES];
    char probe[PATHS_BYTES]; // probe.jsonl
};

// The usual pockd.conf for this command line; "" when there is none.
int paths_config_file(char out[PATHS_BYTES], const struct config *c,
                      struct error *err);
int paths_init(struct paths *p, const struct config *c, struct error *err);
// Is this the system's daemon for one of its users, rather than a person's own?
bool paths_is_system(const struct config *c);
// What worker_link.h asks for: the socket to connect to, or NULL and then the
// program to start.
const char *paths_worker_socket(const struct paths *p, enum paths_worker which);
const char *paths_worker_program(const struct paths *p);
// Make the directories, 0700 (the runtime directory of a system service 0755),
// and empty tmp.
int paths_create(const struct paths *p, const struct config *c,
                 struct error *err);
