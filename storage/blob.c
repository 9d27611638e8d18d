// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/blob.h"

#include "engine/base/fault.h"
#include "engine/base/hash.h"
#include "engine/base/mapfile.h"
#include "storage/sealed_file.h"
#include "storage/store_key.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOB_FILE "adapter.gguf"

enum {
    BLOB_PATH_SIZE = HASH_HEX + sizeof(BLOB_FILE),
    BLOB_NAME_SIZE = sizeof("adapters/") + HASH_HEX,
};

// What its key is kept under, and what its pieces are bound to.
static void blob_name(char out[BLOB_NAME_SIZE],
                      const uint8_t sha256[BLOB_HASH_BYTES])
{
    char hex[HASH_HEX];

    hash_to_hex(hex, sha256);
    (void) snprintf(out, BLOB_NAME_SIZE, "adapters/%s", hex);
}

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

// The content's hash names the key: it is read twice, and must be the same.
static int check_source(int fd, uint64_t bytes_max, uint64_t *bytes,
                        uint8_t digest[HASH_BYTES], struct error *err)
{
    struct stat st;

    if (fault_hit(FAULT_READ))
        return failed(err, -EIO, "read");
    if (fstat(fd, &st) < 0)
        return failed(err, -errno, "read");
    if ((uint64_t) st.st_size > bytes_max)
        return error_set(err, -E2BIG,
                         "the adapter file is larger than %" PRIu64
                         " bytes, which is the limit",
                         bytes_max);
    *bytes = (uint64_t) st.st_size;
    const int rc = hash_fd(digest, fd);
    return rc < 0 ? failed(err, rc, "read") : 0;
}

static int write_sealed(struct store *s, int fd, uint64_t bytes,
                        const uint8_t digest[HASH_BYTES], struct error *err)
{
    uint8_t key[SEAL_KEY_BYTES];
    char name[BLOB_NAME_SIZE];
    struct file_draft draft;

    blob_name(name, digest);
    int rc = store_file_key(s, name, true, key, err);
    if (rc < 0)
        return rc;
    if ((rc = file_draft_init(&draft, s->adapters_dirfd, "incoming")) < 0) {
        seal_wipe(key, sizeof(key));
        return failed(err, rc, "write");
    }
    rc = sealed_file_write(draft.fd, fd, bytes, key, name, err);
    seal_wipe(key, sizeof(key));
    if (rc == 0 && (rc = name_draft(&draft, digest)) < 0)
        failed(err, rc, "write");
    if (rc < 0) {
        file_draft_abort(&draft);
        return rc;
    }
    rc = file_draft_commit(&draft);
    // The directory of the new file is new as well.
    if (rc == 0 && fsync(s->adapters_dirfd) < 0)
        rc = -errno;
    return rc < 0 ? failed(err, rc, "write") : 0;
}

int store_blob_put_fd(struct store *s, int fd, uint64_t bytes_max,
                      uint8_t sha256[BLOB_HASH_BYTES], uint64_t *bytes,
                      struct error *err)
{
    uint8_t digest[HASH_BYTES], again[HASH_BYTES];
    uint64_t n = 0;
    int rc = check_source(fd, bytes_max, &n, digest, err);

    if (rc < 0 || (rc = write_sealed(s, fd, n, digest, err)) < 0)
        return rc;
    if ((rc = hash_fd(again, fd)) < 0)
        return failed(err, rc, "read");
    if (memcmp(again, digest, sizeof(again)) != 0)
        return error_set(err, -ESTALE,
                         "the adapter file changed while it was read");
    memcpy(sha256, digest, HASH_BYTES);
    if (bytes)
        *bytes = n;
    return 0;
}

bool store_blob_exists(const struct store *s,
                       const uint8_t sha256[BLOB_HASH_BYTES], uint64_t bytes)
{
    char path[BLOB_PATH_SIZE];
    struct stat st;

    blob_path(path, sha256);
    return fstatat(s->adapters_dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(st.st_mode) &&
           (uint64_t) st.st_size == sealed_file_bytes(bytes);
}

int store_blob_open(struct store *s, const uint8_t sha256[BLOB_HASH_BYTES],
                    uint64_t bytes, struct error *err)
{
    uint8_t key[SEAL_KEY_BYTES];
    char path[BLOB_PATH_SIZE];
    char name[BLOB_NAME_SIZE];
    struct stat st;

    blob_path(path, sha256);
    blob_name(name, sha256);
    int fd = fault_hit(FAULT_READ) ? (errno = EIO, -1)
                                   : openat(s->adapters_dirfd, path,
                                            O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return failed(err, -errno, "open");
    int rc = store_file_key(s, name, false, key, err);
    if (rc == 0)
        rc = sealed_file_read(fd, bytes, key, name, err);
    seal_wipe(key, sizeof(key));
    close(fd);
    if (rc == -E2BIG ||
        (rc >= 0 && (fstat(rc, &st) < 0 || (uint64_t) st.st_size != bytes))) {
        if (rc >= 0)
            close(rc);
        return error_set(err, -EUCLEAN,
                         "an adapter file should have %" PRIu64
                         " bytes, but has others: it was damaged",
                         bytes);
    }
    return rc;
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

// The key goes first: from then on nobody can read it.
static int shred_and_remove(struct store *s, const char *name,
                            struct error *err)
{
    uint8_t sha256[HASH_BYTES];
    char key_name[BLOB_NAME_SIZE];
    int rc = 0;

    if (strlen(name) == HASH_HEX - 1 && hash_from_hex(sha256, name) == 0) {
        blob_name(key_name, sha256);
        rc = store_file_shred(s, key_name, err);
    }
    if (rc == 0 && (rc = remove_entry(s->adapters_dirfd, name)) < 0)
        return failed(err, rc, "delete");
    return rc;
}

static DIR *open_dir(const struct store *s, struct error *err)
{
    int fd = openat(s->adapters_dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);

    if (d)
        return d;
    failed(err, -errno, "look for");
    if (fd >= 0)
        close(fd);
    return NULL;
}

static bool is_dot(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

int blob_sweep(struct store *s, blob_keep_fn keep, void *user,
               uint32_t *removed, struct error *err)
{
    DIR *d = open_dir(s, err);
    const struct dirent *e;
    uint32_t n = 0;
    int rc = 0;

    if (!d)
        return -EIO;
    while (rc == 0 && (e = readdir(d))) {
        if (is_dot(e->d_name) || is_wanted(e->d_name, keep, user))
            continue;
        rc = shred_and_remove(s, e->d_name, err);
        n += rc == 0;
    }
    closedir(d);
    if (rc == 0 && n > 0 && fsync(s->adapters_dirfd) < 0)
        rc = failed(err, -errno, "delete");
    if (rc == 0 && removed)
        *removed = n;
    return rc;
}

static int seal_one(struct store *s, const char *hex, struct error *err)
{
    uint8_t sha256[HASH_BYTES], digest[HASH_BYTES];
    char path[BLOB_PATH_SIZE];
    uint64_t bytes = 0;

    if (strlen(hex) != HASH_HEX - 1 || hash_from_hex(sha256, hex) < 0)
        return 0; // The sweep removes it.
    blob_path(path, sha256);
    const int fd =
        openat(s->adapters_dirfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? 0 : failed(err, -errno, "open");
    int rc = sealed_file_is(fd)
                 ? 0
                 : check_source(fd, UINT64_MAX, &bytes, digest, err);
    // One that was damaged before stays as it is: it is found out when it is
    // opened.
    if (rc == 0 && !sealed_file_is(fd) &&
        memcmp(digest, sha256, sizeof(digest)) == 0)
        rc = write_sealed(s, fd, bytes, digest, err);
    close(fd);
    return rc;
}

int blob_seal_all(struct store *s, struct error *err)
{
    DIR *d = open_dir(s, err);
    const struct dirent *e;
    int rc = 0;

    if (!d)
        return -EIO;
    while (rc == 0 && (e = readdir(d)))
        if (!is_dot(e->d_name)) {
            rc = seal_one(s, e->d_name, err);
            fault_step();
        }
    closedir(d);
    return rc;
}
