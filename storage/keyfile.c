// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/keyfile.h"

#include "engine/base/fault.h"
#include "engine/base/mapfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    HEX_DIGITS = 2 * SEAL_KEY_BYTES,
    TEXT_MAX = HEX_DIGITS + 2, // "\r\n", and too much shows
    PATH_SIZE = 4097 + 8,
};

static int digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int keyfile_parse(uint8_t out[SEAL_KEY_BYTES], const void *data, size_t bytes,
                  struct error *err)
{
    const uint8_t *at = data;
    uint8_t key[SEAL_KEY_BYTES];

    if (bytes == SEAL_KEY_BYTES) {
        memcpy(out, at, SEAL_KEY_BYTES);
        return 0;
    }
    if (bytes == HEX_DIGITS + 1 && at[HEX_DIGITS] == '\n')
        bytes--;
    if (bytes != HEX_DIGITS)
        return error_set(err, -EINVAL,
                         "it has %zu bytes, but a key has 32, or 64 "
                         "hexadecimal digits",
                         bytes);
    for (size_t i = 0; i < SEAL_KEY_BYTES; i++) {
        const int high = digit(at[2 * i]);
        const int low = digit(at[2 * i + 1]);
        if (high < 0 || low < 0) {
            seal_wipe(key, sizeof(key));
            return error_set(err, -EINVAL,
                             "a key has 64 hexadecimal digits, but character "
                             "%zu is none",
                             2 * i + (high < 0 ? 1 : 2));
        }
        key[i] = (uint8_t) (high << 4 | low);
    }
    memcpy(out, key, sizeof(key));
    seal_wipe(key, sizeof(key));
    return 0;
}

void keyfile_format(char out[KEYFILE_TEXT_SIZE],
                    const uint8_t key[SEAL_KEY_BYTES])
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < SEAL_KEY_BYTES; i++) {
        out[2 * i] = digits[key[i] >> 4];
        out[2 * i + 1] = digits[key[i] & 15];
    }
    out[HEX_DIGITS] = '\0';
}

// 1: read; 0: there is none.
static int read_key(uint8_t out[SEAL_KEY_BYTES], const char *path,
                    struct error *err)
{
    uint8_t text[TEXT_MAX + 1];
    int fd = fault_hit(FAULT_READ)
                 ? (errno = EIO, -1)
                 : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    if (fd < 0)
        return error_set(err, -errno, "cannot read the key %s: %s", path,
                         strerror(errno));
    const ssize_t n = read(fd, text, sizeof(text));
    const int why = n < 0 ? errno : 0;
    (void) close(fd);
    int rc = why ? error_set(err, -why, "cannot read the key %s: %s", path,
                             strerror(why))
                 : keyfile_parse(out, text, (size_t) n, err);
    seal_wipe(text, sizeof(text));
    if (rc == -EINVAL)
        return error_prefix(err, rc, "the key %s is none", path);
    return rc < 0 ? rc : 1;
}

static int join(char out[PATH_SIZE], const char *dir, const char *name,
                struct error *err)
{
    const int n = snprintf(out, PATH_SIZE, "%s%s", dir, name);

    return n < 0 || n >= PATH_SIZE
               ? error_set(err, -ENAMETOOLONG,
                           "the path of the key is too long")
               : 0;
}

// Another one beside it is looked for, and may be missing.
static int load_both(struct keyfile *k, enum keyfile_source source,
                     const char *base, const char *name, const char *other,
                     struct error *err)
{
    char path[PATH_SIZE];
    int rc = join(path, base, name, err);

    if (rc < 0 || (rc = read_key(k->key, path, err)) < 0)
        return rc;
    if (rc == 1)
        k->source = source;
    const bool is_there = rc == 1;
    if ((rc = join(path, base, other, err)) < 0)
        return rc;
    // Half of a new one is as good as none; the one in force must be whole.
    rc = read_key(k->other, path, is_there ? NULL : err);
    if (rc < 0 && !is_there)
        return rc;
    k->has_other = rc == 1;
    return 0;
}

int keyfile_load(struct keyfile *out, const struct keyfile_places *p,
                 struct error *err)
{
    int rc = 0;

    memset(out, 0, sizeof(*out));
    if (p->credentials)
        rc = load_both(out, KEYFILE_CREDENTIAL, p->credentials, "/pockd.key",
                       "/pockd.key.old", err);
    if (rc < 0 || out->source != KEYFILE_NONE)
        return rc;
    return load_both(out, KEYFILE_FILE, p->file, "", ".new", err);
}

// A file that is whole or not there, even after a power loss.
static int write_key(const char *path, const uint8_t key[SEAL_KEY_BYTES],
                     struct error *err)
{
    char text[KEYFILE_TEXT_SIZE];
    char dir[PATH_SIZE];
    int rc = join(dir, path, "", err);

    if (rc < 0)
        return rc;
    char *slash = strrchr(dir, '/');
    const char *name = slash ? slash + 1 : path;
    if (slash)
        *slash = '\0';
    const int dirfd = open(slash ? (dir[0] ? dir : "/") : ".",
                           O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    keyfile_format(text, key);
    text[HEX_DIGITS] = '\n';
    struct file_draft d;
    rc = dirfd < 0 ? -errno : file_draft_init(&d, dirfd, name);
    if (rc == 0) {
        rc = fchmod(d.fd, 0400) < 0 ? -errno
                                    : file_write_all(d.fd, text, sizeof(text));
        if (rc == 0)
            rc = file_draft_commit(&d);
        else
            file_draft_abort(&d);
    }
    seal_wipe(text, sizeof(text));
    if (dirfd >= 0)
        (void) close(dirfd);
    return rc < 0 ? error_set(err, rc, "cannot write the key %s: %s", path,
                              strerror(-rc))
                  : 0;
}

int keyfile_make(struct keyfile *out, const struct keyfile_places *p,
                 struct error *err)
{
    if (access(p->file, F_OK) == 0)
        return error_set(err, -EEXIST, "there is a key %s already", p->file);
    memset(out, 0, sizeof(*out));
    seal_random(out->key, sizeof(out->key));
    int rc = write_key(p->file, out->key, err);
    if (rc == 0)
        out->source = KEYFILE_FILE;
    return rc;
}

int keyfile_write_new(const uint8_t key[SEAL_KEY_BYTES],
                      const struct keyfile_places *p, struct error *err)
{
    char path[PATH_SIZE];
    int rc = join(path, p->file, ".new", err);

    return rc < 0 ? rc : write_key(path, key, err);
}

static int sync_dir_of(const char *file)
{
    char dir[PATH_SIZE];

    (void) snprintf(dir, sizeof(dir), "%s", file);
    char *slash = strrchr(dir, '/');
    if (slash)
        slash[slash == dir] = '\0';
    const int fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) < 0 ? -errno : 0;
    if (fd >= 0)
        (void) close(fd);
    return rc;
}

int keyfile_take_new(const struct keyfile_places *p, struct error *err)
{
    char path[PATH_SIZE];
    int rc = join(path, p->file, ".new", err);

    if (rc < 0)
        return rc;
    if (fault_hit(FAULT_WRITE))
        rc = -ENOSPC;
    else
        rc = rename(path, p->file) < 0 ? -errno : sync_dir_of(p->file);
    return rc < 0 ? error_set(err, rc, "cannot put the new key into %s: %s",
                              p->file, strerror(-rc))
                  : 0;
}

int keyfile_drop_new(const struct keyfile_places *p, struct error *err)
{
    char path[PATH_SIZE];
    int rc = join(path, p->file, ".new", err);

    if (rc < 0)
        return rc;
    return unlink(path) < 0 && errno != ENOENT
               ? error_set(err, -errno, "cannot delete %s: %s", path,
                           strerror(errno))
               : 0;
}

int keyfile_drop(const struct keyfile_places *p, struct error *err)
{
    if (unlink(p->file) < 0 && errno != ENOENT)
        return error_set(err, -errno, "cannot delete the old key %s: %s",
                         p->file, strerror(errno));
    (void) sync_dir_of(p->file); // At the next start it is looked for again.
    return 0;
}

void keyfile_name(char out[KEYFILE_NAME_SIZE],
                  const uint8_t key[SEAL_KEY_BYTES])
{
    static const char what[] = "pockd: name of a master key";
    uint8_t digest[(KEYFILE_NAME_SIZE - 1) / 2];

    seal_digest(digest, sizeof(digest), key, what, sizeof(what) - 1);
    for (size_t i = 0; i < sizeof(digest); i++)
        (void) snprintf(out + 2 * i, 3, "%02x", digest[i]);
}
