// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/mapfile.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEMP_SUFFIX_BYTES = 40 };

static int guarded_open(int dirfd, const char *path, int flags)
{
    if (fault_hit(FAULT_READ))
        return -EIO;
    int fd = openat(dirfd, path, flags | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int map_fd(struct mapfile *out, int fd)
{
    struct stat st;

    if (fault_hit(FAULT_READ))
        return -EIO;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode))
        return -EISDIR;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    if (st.st_size == 0) {
        *out = (struct mapfile){0};
        return 0;
    }
    if ((uint64_t) st.st_size > SIZE_MAX)
        return -EFBIG;
    void *p = mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        return -errno;
    *out = (struct mapfile){.data = p, .bytes = (size_t) st.st_size};
    return 0;
}

static const char *reason(int rc)
{
    return rc == -EINVAL ? "it is not a regular file" : strerror(-rc);
}

int mapfile_load_fd(struct mapfile *out, int fd, struct error *err)
{
    int rc = map_fd(out, fd);
    if (rc < 0)
        return error_set(err, rc, "cannot map the file: %s", reason(rc));
    return 0;
}

int mapfile_load(struct mapfile *out, const char *path, struct error *err)
{
    // Without O_NONBLOCK the open of a FIFO would wait for a writer.
    int fd = guarded_open(AT_FDCWD, path, O_RDONLY | O_NONBLOCK);
    if (fd < 0)
        return error_set(err, fd, "cannot open %s: %s", path, strerror(-fd));
    int rc = map_fd(out, fd);
    close(fd);
    if (rc < 0)
        return error_set(err, rc, "cannot map %s: %s", path, reason(rc));
    return 0;
}

void mapfile_finish(struct mapfile *m)
{
    // munmap takes a plain pointer; nobody writes through it.
    if (m->data)
        (void) munmap((void *) (uintptr_t) m->data, m->bytes);
    *m = (struct mapfile){0};
}

int file_draft_init(struct file_draft *d, int dirfd, const char *name)
{
    static atomic_uint counter;
    struct file_draft draft = {.dirfd = dirfd, .fd = -1};
    size_t n = strlen(name);

    if (n == 0 || n >= sizeof(draft.name) - TEMP_SUFFIX_BYTES)
        return -ENAMETOOLONG;
    memcpy(draft.name, name, n + 1);
    // Nobody alive has this name: what is there was left by a process that
    // died while it wrote.
    (void) snprintf(draft.temp, sizeof(draft.temp), "%s.%ld.%u.tmp", name,
                    (long) getpid(), atomic_fetch_add(&counter, 1));
    if (fault_hit(FAULT_WRITE))
        return -ENOSPC;
    (void) unlinkat(dirfd, draft.temp, 0);
    draft.fd =
        openat(dirfd, draft.temp,
               O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (draft.fd < 0)
        return -errno;
    *d = draft;
    return 0;
}

// The directory that holds `name`, so that its new entry can be made durable.
static int sync_parent(int dirfd, const char *name)
{
    char dir[256] = ".";
    const char *slash = strrchr(name, '/');

    if (slash) {
        size_t n = slash == name ? 1 : (size_t) (slash - name);
        memcpy(dir, name, n);
        dir[n] = '\0';
    }
    int fd = openat(dirfd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = fault_hit(FAULT_WRITE) ? -ENOSPC : fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return rc;
}

int file_draft_commit(struct file_draft *d)
{
    int rc = 0;

    if (fault_hit(FAULT_WRITE))
        rc = -ENOSPC;
    else if (fsync(d->fd) < 0)
        rc = -errno;
    if (close(d->fd) < 0 && rc == 0)
        rc = -errno;
    d->fd = -1;
    if (rc == 0 && fault_hit(FAULT_WRITE))
        rc = -ENOSPC;
    if (rc == 0 && renameat(d->dirfd, d->temp, d->dirfd, d->name) < 0)
        rc = -errno;
    if (rc < 0) {
        file_draft_abort(d);
        return rc;
    }
    return sync_parent(d->dirfd, d->name);
}

void file_draft_abort(struct file_draft *d)
{
    if (d->fd >= 0)
        close(d->fd);
    (void) unlinkat(d->dirfd, d->temp, 0);
    d->fd = -1;
}

int file_read_at(int fd, void *data, size_t bytes, uint64_t offset)
{
    for (size_t done = 0; done < bytes;) {
        const ssize_t n = fault_hit(FAULT_READ)
                              ? (errno = EIO, -1)
                              : pread(fd, (char *) data + done, bytes - done,
                                      (off_t) (offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -ENODATA;
        done += (size_t) n;
    }
    return 0;
}

int file_write_all(int fd, const void *data, size_t bytes)
{
    const char *p = data;

    while (bytes > 0) {
        if (fault_hit(FAULT_WRITE))
            return -ENOSPC;
        ssize_t n = write(fd, p, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        p += n;
        bytes -= (size_t) n;
    }
    return 0;
}

int file_write_atomic(int dirfd, const char *name, const void *data,
                      size_t bytes)
{
    struct file_draft d;
    int rc = file_draft_init(&d, dirfd, name);
    if (rc < 0)
        return rc;
    if ((rc = file_write_all(d.fd, data, bytes)) < 0) {
        file_draft_abort(&d);
        return rc;
    }
    return file_draft_commit(&d);
}
