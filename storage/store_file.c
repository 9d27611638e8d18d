// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_file.h"

#include "engine/base/fault.h"
#include "engine/base/mapfile.h"
#include "storage/sealed_file.h"
#include "storage/store_key.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

// The key stays the same for a name until it is removed, so that whichever file
// a power loss leaves can be opened.
int store_file_save(struct store *s, const char *name, int fd,
                    uint64_t bytes_max, struct error *err)
{
    uint8_t key[SEAL_KEY_BYTES];
    struct file_draft d;
    int rc = store_file_key(s, name, true, key, err);

    if (rc < 0)
        return rc;
    if ((rc = file_draft_init(&d, s->dirfd, name)) == 0) {
        rc = sealed_file_write(d.fd, fd, bytes_max, key, name, err);
        if (rc < 0) {
            file_draft_abort(&d);
            seal_wipe(key, sizeof(key));
            return rc;
        }
        rc = file_draft_commit(&d);
    }
    seal_wipe(key, sizeof(key));
    return rc < 0 ? error_set(err, rc, "cannot write %s/%s: %s", s->dir, name,
                              strerror(-rc))
                  : 0;
}

int store_file_open(struct store *s, const char *name, uint64_t bytes_max,
                    struct error *err)
{
    uint8_t key[SEAL_KEY_BYTES];
    const int fd =
        fault_hit(FAULT_READ)
            ? (errno = EIO, -1)
            : openat(s->dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return error_set(err, -errno, "cannot open %s/%s: %s", s->dir, name,
                         strerror(errno));
    int rc = store_file_key(s, name, false, key, err);
    if (rc == 0)
        rc = sealed_file_read(fd, bytes_max, key, name, err);
    seal_wipe(key, sizeof(key));
    (void) close(fd);
    return rc;
}

int store_file_remove(struct store *s, const char *name, struct error *err)
{
    int rc = store_file_shred(s, name, err);

    if (rc < 0)
        return rc;
    return unlinkat(s->dirfd, name, 0) < 0 && errno != ENOENT
               ? error_set(err, -errno, "cannot delete %s/%s: %s", s->dir, name,
                           strerror(errno))
               : 0;
}

int store_file_lend_key(struct store *s, const char *name, uint8_t key[32],
                        struct error *err)
{
    return store_file_key(s, name, true, key, err);
}
