// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Sets of files (loop thread)
 *
 * A model in several files comes over the socket one by one, for a request has
 * one descriptor. Those of a connection are held open until its next request
 * takes them, or it ends.
 */

#include <stdint.h>

enum {
    FILESET_FILES_MAX = 48,
    FILESET_NAME_BYTES = 256,
    FILESETS_MAX = 8, // at a time, of all connections
};

struct error;

struct fileset {
    struct fileset *next;
    uint64_t session;
    uint32_t n;
    struct {
        char name[FILESET_NAME_BYTES];
        int fd;
    } files[FILESET_FILES_MAX];
};

struct filesets {
    struct fileset *first;
};

// Takes `fd`, also on failure. -EINVAL for a name with a path in it, -EEXIST
// for one that is there, -E2BIG beyond the limits.
int filesets_put(struct filesets *fs, uint64_t session, const char *name,
                 int fd, uint32_t *count, struct error *err);
// The files of a connection, the caller's from now on; NULL: none.
struct fileset *filesets_take(struct filesets *fs, uint64_t session);
void filesets_on_session_end(struct filesets *fs, uint64_t session);
void filesets_finish(struct filesets *fs);
void fileset_destroy(struct fileset *f); // accepts NULL
