// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/archive_take.h"
#include "engine/base/memfile.h"
#include "storage/blob.h"

enum { PIECE = 64 << 10 };

static const struct archive_member *find_file(const struct archive_reader *r,
                                              const char *name)
{
    // Sorted by kind, then name.
    size_t low = 0, high = r->count;

    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        const struct archive_member *m = &r->members[mid];
        if (m->kind < ARCHIVE_FILES || strcmp(m->name, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low < r->count && strcmp(r->members[low].name, name) == 0
               ? &r->members[low]
               : NULL;
}

static int copy_out(int to, const struct archive_reader *r,
                    const struct archive_member *m, struct error *err)
{
    uint8_t piece[PIECE];
    uint64_t at = 0;

    while (at < m->bytes) {
        const size_t want =
            m->bytes - at < PIECE ? (size_t) (m->bytes - at) : PIECE;
        ssize_t n = pread(r->fd, piece, want, (off_t) (m->offset + at));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set(err, n < 0 ? -errno : -EIO,
                             "the archive cannot be read any more");
        for (ssize_t done = 0; done < n;) {
            ssize_t k = write(to, piece + done, (size_t) (n - done));
            if (k < 0 && errno == EINTR)
                continue;
            if (k < 0)
                return error_set(err, -errno,
                                 "cannot write an adapter's file: %s",
                                 strerror(errno));
            done += k;
        }
        at += (uint64_t) n;
    }
    return 0;
}

int archive_take_file(struct archive_take *t, struct store *s,
                      const struct store_version *v, struct error *err)
{
    const struct archive_member *m;
    char name[TAR_NAME_SIZE], hex[HASH_HEX];
    uint8_t found[HASH_BYTES];
    int rc;

    if (store_blob_exists(s, v->sha256, (uint64_t) v->bytes))
        return 0;
    hash_to_hex(hex, v->sha256);
    (void) snprintf(name, sizeof(name), "files/%s.gguf", hex);
    if (!t->reader || !(m = find_file(t->reader, name)) ||
        m->bytes != (uint64_t) v->bytes ||
        memcmp(m->sha256, v->sha256, sizeof(m->sha256)) != 0)
        return error_set(err, -ENOENT,
                         "the archive has no file of version %u, or another "
                         "one",
                         v->version);
    int fd;
    // Nothing of it lies on a disk in the clear.
    if ((rc = memfile_create(&fd, "adapter")) < 0)
        return error_set(err, rc, "no room for an adapter's file");
    rc = copy_out(fd, t->reader, m, err);
    if (rc == 0)
        rc = store_blob_put_fd(s, fd, ARCHIVE_FILE_BYTES_MAX, found, NULL, err);
    (void) close(fd);
    if (rc == 0 && memcmp(found, v->sha256, sizeof(found)) != 0)
        rc = error_set(err, -EBADMSG,
                       "the archive was changed while it was read");
    if (rc == 0)
        t->result.taken[ARCHIVE_FILES]++;
    return rc;
}
