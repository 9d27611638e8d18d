// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/blob.h"

#include "engine/base/fault.h"
#include "engine/base/hash.h"
#include "engine/base/mapfile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOB_FILE "adapter.gguf"

enum { COPY_BYTES = 64 << 10, BLOB_PATH_SIZE = HASH_HEX + sizeof(BLOB_FILE) };

static void blob_path(char out[BLOB_PATH_SIZE],
                      const uint8_t sha256[BLOB_HASH_BYTES])
{
    char hex[HASH_HEX];

    hash_to_hex(hex, sha256);
    (void) snprintf(out, BLOB_PATH_SIZE, "%s/" BLOB_FILE, hex);
}

static int failed(struct error *err, int rc, const char *what)
{
    return rc == -ENOSPC
               ? error_set(err, rc,
                           "cannot %s an adapter file: no space left: free "
                           "some and try again",
                           what)
               : error_set(err, rc, "cannot %s an adapter file: %s", what,
                           strerror(-rc));
}

static int copy(int to, int from, uint64_t bytes_max, struct hash_state *h,
                uint64_t *bytes, struct error *err)
{
    unsigned char buf[COPY_BYTES];
    uint64_t at = 0;

    for (;;) {
        ssize_t n = fault_hit(FAULT_READ)
                        ? (errno = EIO, -1)
                        : pread(from, buf, sizeof(buf), (off_t) at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return failed(err, -errno, "read");
        if (n == 0)
            break;
        if ((uint64_t) n > bytes_max - at)
            return error_set(err, -E2BIG,
                             "the adapter file is larger than %" PRIu64
                             " bytes, which is the limit",
                             bytes_max);
        hash_update(h, buf, (size_t) n);
        int rc = file_write_all(to, buf, (size_t) n);
        if (rc < 0)
            return failed(err, rc, "write");
        at += (uint64_t) n;
    }
    *bytes = at;
    return 0;
}

// The name exists only once the bytes are known: the draft gets it here.
static int name_draft(struct file_draft *d, const uint8_t sha256[HASH_BYTES])
{
    char hex[HASH_HEX];

    hash_to_hex(hex, sha256);
    if (fault_hit(FAULT_WRITE))
        return -ENOSPC;
    if (mkdirat(d->dirfd, hex, 0700) < 0 && errno != EEXIST)
        return -errno;
    blob_path(d->name, sha256);
    return 0;
}

int blob_put_fd(int dirfd, int fd, uint64_t bytes_max,
                uint8_t sha256[BLOB_HASH_BYTES], uint64_t *bytes,
                struct error *err)
{
    struct file_draft draft;
    struct hash_state h;
    uint8_t digest[HASH_BYTES];
    uint64_t n;
    int rc = file_draft_init(&draft, dirfd, "incoming");

    if (rc < 0)
        return failed(err, rc, "write");
    hash_init(&h);
    if ((rc = copy(draft.fd, fd, bytes_max, &h, &n, err)) < 0) {
        file_draft_abort(&draft);
        return rc;
    }
    hash_final(&h, digest);
    if ((rc = name_draft(&draft, digest)) < 0) {
        file_draft_abort(&draft);
        return failed(err, rc, "write");
    }
    rc = file_draft_commit(&draft);
    // The directory of the new file is new as well.
    if (rc == 0 && fsync(dirfd) < 0)
        rc = -errno;
    if (rc < 0)
        return failed(err, rc, "write");
    memcpy(sha256, digest, HASH_BYTES);
    if (bytes)
        *bytes = n;
    return 0;
}

bool blob_exists(int dirfd, const uint8_t sha256[BLOB_HASH_BYTES],
                 uint64_t bytes)
{
    char path[BLOB_PATH_SIZE];
    struct stat st;

    blob_path(path, sha256);
    return fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(st.st_mode) && (uint64_t) st.st_size == bytes;
}

static int check_content(int fd, const uint8_t sha256[BLOB_HASH_BYTES],
                         uint64_t bytes, struct error *err)
{
    uint8_t digest[HASH_BYTES];
    struct stat st;
    int rc = fstat(fd, &st) < 0 ? -errno : 0;

    if (rc == 0 && (!S_ISREG(st.st_mode) || (uint64_t) st.st_size != bytes))
        return error_set(err, -EUCLEAN,
                         "an adapter file has %lld bytes, but should have "
                         "%" PRIu64 ": it was damaged",
                         (long long) st.st_size, bytes);
    if (rc == 0)
        rc = hash_fd(digest, fd);
    if (rc < 0)
        return failed(err, rc, "read");
    if (memcmp(digest, sha256, HASH_BYTES) != 0)
        return error_set(err, -EUCLEAN,
                         "an adapter file has another hash than when it was "
                         "stored: it was damaged");
    return 0;
}

int blob_open(int dirfd, const uint8_t sha256[BLOB_HASH_BYTES], uint64_t bytes,
              struct error *err)
{
    char path[BLOB_PATH_SIZE];

    blob_path(path, sha256);
    int fd = fault_hit(FAULT_READ)
                 ? (errno = EIO, -1)
                 : openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return failed(err, -errno, "open");
    int rc = check_content(fd, sha256, bytes, err);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    return fd;
}

// Whatever lies there, one level deep.
static int remove_entry(int dirfd, const char *name)
{
    const struct dirent *e;

    if (unlinkat(dirfd, name, 0) == 0)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -errno;
    int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        int rc = -errno;
        if (fd >= 0)
            close(fd);
        return rc;
    }
    while ((e = readdir(d)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            (void) unlinkat(fd, e->d_name, 0);
    closedir(d);
    return unlinkat(dirfd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

static bool is_wanted(const char *name, blob_keep_fn keep, void *user)
{
    uint8_t sha256[HASH_BYTES];

    return strlen(name) == HASH_HEX - 1 && hash_from_hex(sha256, name) == 0 &&
           keep(sha256, user);
}

int blob_sweep(int dirfd, blob_keep_fn keep, void *user, uint32_t *removed,
               struct error *err)
{
    int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;
    uint32_t n = 0;
    int rc = 0;

    if (!d) {
        rc = failed(err, -errno, "look for");
        if (fd >= 0)
            close(fd);
        return rc;
    }
    while (rc == 0 && (e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            is_wanted(e->d_name, keep, user))
            continue;
        rc = remove_entry(dirfd, e->d_name);
        n += rc == 0;
    }
    closedir(d);
    if (rc == 0 && n > 0 && fsync(dirfd) < 0)
        rc = -errno;
    if (rc < 0)
        return failed(err, rc, "delete");
    if (removed)
        *removed = n;
    return 0;
}
