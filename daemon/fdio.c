// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/fault.h"

enum {
    WRITE_PATIENCE_MS = 2000,
    COPY_BYTES = 64 << 10,
    CLONE_BYTES = 1 << 20,  // at once, by hand
    PIECE_BYTES = 16 << 20, // at once, by the kernel
    PATH_BYTES = 1280,
};

int fdio_check_writable(int fd, struct error *err)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fstat(fd, &st) < 0)
        return error_set(err, -EINVAL, "the descriptor cannot be used");
    if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode))
        return error_set(err, -EINVAL,
                         "the descriptor must be a regular file or a pipe");
    if ((flags & O_ACCMODE) == O_RDONLY || (flags & O_PATH))
        return error_set(err, -EINVAL,
                         "the descriptor must be open for writing");
    return 0;
}

int fdio_check_readable(int fd, uint64_t bytes_max, struct error *err)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fstat(fd, &st) < 0)
        return error_set(err, -EINVAL, "the descriptor cannot be used");
    if (!S_ISREG(st.st_mode))
        return error_set(err, -EINVAL, "the descriptor must be a regular file");
    if ((flags & O_ACCMODE) == O_WRONLY || (flags & O_PATH))
        return error_set(err, -EINVAL,
                         "the descriptor must be open for reading");
    if (st.st_size <= 0)
        return error_set(err, -EINVAL, "the file is empty");
    if ((uint64_t) st.st_size > bytes_max)
        return error_set(err, -E2BIG,
                         "the file has %lld bytes, but at most %llu are "
                         "allowed",
                         (long long) st.st_size,
                         (unsigned long long) bytes_max);
    return 0;
}

// Until the other end takes something, and no longer than *left_ms, of which
// the time that it took is gone. 0: it did not.
static int wait_writable(int fd, int64_t *left_ms)
{
    struct pollfd pfd = {.fd = fd, .events = POLLOUT};
    int ready = poll(&pfd, 1, 0);

    if (ready != 0)
        return ready;
    const uint64_t start = clock_monotonic_ns();
    ready = poll(&pfd, 1, *left_ms > 0 ? (int) *left_ms : 0);
    *left_ms -= (int64_t) ((clock_monotonic_ns() - start) / 1000000);
    return ready;
}

int fdio_write_within(int fd, const void *data, size_t bytes, int64_t *left_ms,
                      struct error *err)
{
    const char *at = data;

    while (bytes > 0) {
        int64_t patience_ms = WRITE_PATIENCE_MS;
        // A pipe may be blocking: write no more than it promises to take.
        int ready = wait_writable(fd, left_ms ? left_ms : &patience_ms);
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready == 0)
            return error_set(err, -ETIMEDOUT,
                             "cannot write: the other end does not read%s",
                             left_ms ? " fast enough: use a file" : "");
        size_t piece = bytes < 4096 ? bytes : 4096;
        struct stat st;
        if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
            piece = bytes;
        ssize_t n = fault_hit(FAULT_WRITE) ? -1 : write(fd, at, piece);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n <= 0) {
            int why = n < 0 && errno ? errno : ENOSPC;
            return error_set(err, -why, "cannot write: %s", strerror(why));
        }
        at += n;
        bytes -= (size_t) n;
    }
    return 0;
}

int fdio_write(int fd, const void *data, size_t bytes, struct error *err)
{
    return fdio_write_within(fd, data, bytes, NULL, err);
}

int fdio_copy(int to, int from, uint64_t *bytes, struct error *err)
{
    char *buf = fault_malloc(COPY_BYTES);
    uint64_t total = 0;
    int rc = buf ? 0 : -ENOMEM;

    while (rc == 0) {
        ssize_t n = pread(from, buf, COPY_BYTES, (off_t) total);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = error_set(err, -errno, "cannot read: %s", strerror(errno));
        if (n <= 0)
            break;
        rc = fdio_write(to, buf, (size_t) n, err);
        total += (uint64_t) n;
    }
    free(buf);
    if (rc == 0 && bytes)
        *bytes = total;
    return rc;
}

static int sync_fd(int fd)
{
    if (fault_hit(FAULT_WRITE))
        return -ENOSPC;
    return fsync(fd) < 0 ? -errno : 0;
}

// The next bytes of `from` at *at: by the kernel, or through a buffer where it
// cannot (other file systems, pipes in the way). 0 at the end.
static ssize_t copy_piece(int to, int from, off_t *at, size_t piece,
                          bool *by_hand, char **buf)
{
    if (!*by_hand) {
        const ssize_t n = fault_hit(FAULT_WRITE)
                              ? -1
                              : copy_file_range(from, at, to, NULL, piece, 0);
        if (n >= 0 || (errno != EXDEV && errno != EINVAL && errno != ENOSYS &&
                       errno != EOPNOTSUPP && errno != EBADF))
            return n;
        *by_hand = true;
    }
    if (!*buf && !(*buf = fault_malloc(CLONE_BYTES)))
        return -1;
    const ssize_t n =
        pread(from, *buf, piece < CLONE_BYTES ? piece : CLONE_BYTES, *at);
    if (n <= 0)
        return n;
    const int rc = fdio_write(to, *buf, (size_t) n, NULL);
    if (rc < 0) {
        errno = -rc;
        return -1;
    }
    *at += n;
    return n;
}

int fdio_clone(int to, int from, uint64_t bytes, atomic_ullong *done,
               const atomic_bool *stop, bool *is_clone, struct error *err)
{
    bool by_hand = false;
    char *buf = NULL;
    off_t at = 0;
    int rc = 0;

    *is_clone = ioctl(to, FICLONE, from) == 0;
    while (!*is_clone && rc == 0 && (uint64_t) at < bytes) {
        const uint64_t left = bytes - (uint64_t) at;
        const ssize_t n =
            copy_piece(to, from, &at,
                       left < PIECE_BYTES ? (size_t) left : PIECE_BYTES,
                       &by_hand, &buf);
        if (n < 0 && errno != EINTR)
            rc = error_set(err, errno ? -errno : -ENOSPC,
                           "cannot copy the file (%llu bytes): %s",
                           (unsigned long long) bytes,
                           strerror(errno ? errno : ENOSPC));
        else if (n == 0)
            rc = error_set(err, -EIO,
                           "the file became shorter while it was copied");
        else if (atomic_load(stop))
            rc = error_set(err, -ECANCELED, "copying was cancelled");
        atomic_store(done, (unsigned long long) at);
    }
    free(buf);
    if (rc == 0 && (rc = sync_fd(to)) < 0)
        return error_set(err, rc, "cannot write the copy: %s", strerror(-rc));
    return rc;
}

int fdio_read_all(char **out, size_t *bytes, int fd, size_t bytes_max,
                  struct error *err)
{
    struct stat st;
    size_t have = 0;

    if (fstat(fd, &st) < 0 || st.st_size < 0)
        return error_set(err, -EIO, "cannot read the file");
    if ((uint64_t) st.st_size > bytes_max)
        return error_set(err, -E2BIG, "the file is larger than %zu bytes",
                         bytes_max);
    size_t size = (size_t) st.st_size;
    char *data = fault_malloc(size + 1);
    if (!data)
        return error_set(err, -ENOMEM, "out of memory");
    while (have < size) {
        ssize_t n = pread(fd, data + have, size - have, (off_t) have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            free(data);
            return error_set(err, -EIO, "cannot read the file");
        }
        have += (size_t) n;
    }
    data[size] = '\0';
    *out = data;
    *bytes = size;
    return 0;
}

int fdio_seal(const char *name, const void *data, size_t bytes)
{
    const int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        return -errno;
    int rc = fdio_write(fd, data, bytes, NULL);
    if (rc == 0 && fcntl(fd, F_ADD_SEALS, seals) < 0)
        rc = -errno;
    if (rc < 0) {
        (void) close(fd);
        return rc;
    }
    return fd;
}

static int sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc;

    if (fd < 0)
        return -errno;
    rc = sync_fd(fd);
    (void) close(fd);
    return rc;
}

int fdio_save(const char *dir, const char *name, int from, uint64_t bytes_max,
              struct error *err)
{
    char tmp[PATH_BYTES];
    char path[PATH_BYTES];
    uint64_t bytes = 0;

    snprintf(tmp, sizeof(tmp), "%s/.%s.tmp", dir, name);
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    int rc = fdio_check_readable(from, bytes_max, err);
    if (rc < 0)
        return rc;
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set(err, -errno, "cannot write %s: %s", tmp,
                         strerror(errno));
    rc = fdio_copy(fd, from, &bytes, err);
    if (rc == 0)
        rc = sync_fd(fd);
    (void) close(fd);
    if (rc == 0 && rename(tmp, path) < 0)
        rc = -errno;
    if (rc == 0)
        rc = sync_dir(dir);
    if (rc < 0) {
        (void) unlink(tmp);
        return error_set(err, rc, "cannot write %s: %s", path, strerror(-rc));
    }
    return 0;
}
