// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Mapped files
 *
 * A whole regular file, mapped read-only; and files written so that a reader
 * sees the old bytes or the new ones, never a part, whatever happens to the
 * power. A file that another process cuts short while it is mapped raises
 * SIGBUS at the next access: only workers map, and the daemon outlives them.
 */

#include <stddef.h>
#include <stdint.h>

struct error;

struct mapfile {
    const void *data; // page-aligned; NULL for an empty file
    size_t bytes;
};

// The file or `fd` may be closed after this. `err` names the path.
int mapfile_load(struct mapfile *out, const char *path, struct error *err);
int mapfile_load_fd(struct mapfile *out, int fd, struct error *err);
void mapfile_finish(struct mapfile *m);

// A file in the making. Its name appears, with all its bytes, at commit. A
// process that dies before leaves NAME.*.tmp, which the directory's owner may
// sweep when nobody writes there.
struct file_draft {
    int dirfd; // borrowed
    int fd;    // write here
    char name[256];
    char temp[256];
};

int file_draft_init(struct file_draft *d, int dirfd, const char *name);
// fsync, rename over `name`, fsync the directory. The draft is finished
// after this, whether or not it worked.
int file_draft_commit(struct file_draft *d);
void file_draft_abort(struct file_draft *d);

// All bytes from `offset` on. -ENODATA where the file ends before.
int file_read_at(int fd, void *data, size_t bytes, uint64_t offset);
// All of `data`, however many writes it takes. -ENOSPC and friends.
int file_write_all(int fd, const void *data, size_t bytes);
// Draft, write, commit. `dirfd` may be AT_FDCWD when `name` has no directory.
int file_write_atomic(int dirfd, const char *name, const void *data,
                      size_t bytes);
