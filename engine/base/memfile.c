// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/memfile.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/mapfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE,
};

int memfile_create(int *out, const char *name)
{
    if (fault_hit(FAULT_ALLOC))
        return -ENOMEM;
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    *out = fd;
    return 0;
}

int memfile_seal(int fd)
{
    if (fcntl(fd, F_ADD_SEALS, SEALS) < 0)
        return -errno;
    return lseek(fd, 0, SEEK_SET) < 0 ? -errno : 0;
}

int memfile_from_bytes(int *out, const char *name, const void *data,
                       size_t bytes)
{
    int fd = -1;
    int rc;

    if ((rc = memfile_create(&fd, name)) < 0)
        return rc;
    if ((rc = file_write_all(fd, data, bytes)) < 0)
        goto error;
    if ((rc = memfile_seal(fd)) < 0)
        goto error;
    *out = fd;
    return 0;

error:
    (void) close(fd);
    return rc;
}

int memfile_check(uint64_t *bytes, int fd, uint64_t bytes_max, const char *what,
                  struct error *err)
{
    struct stat st;

    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0)
        return error_set(err, -EPROTO,
                         "%s: not a memory file that can be "
                         "sealed",
                         what);
    if ((seals & SEALS) != SEALS)
        return error_set(err, -EPROTO,
                         "%s: not sealed against change (seals are 0x%x, but "
                         "must be 0x%x)",
                         what, (unsigned) seals, (unsigned) SEALS);
    if (fstat(fd, &st) < 0)
        return error_set(err, -errno, "%s: %s", what, strerror(errno));
    if (st.st_size < 0 || (uint64_t) st.st_size > bytes_max)
        return error_set(err, -EPROTO,
                         "%s: %" PRIu64 " bytes, but %" PRIu64 " is the most",
                         what, (uint64_t) st.st_size, bytes_max);
    *bytes = (uint64_t) st.st_size;
    return 0;
}

int memfile_map(const void **out, size_t *bytes, int fd, uint64_t bytes_max,
                const char *what, struct error *err)
{
    uint64_t size = 0;
    int rc = memfile_check(&size, fd, bytes_max, what, err);
    if (rc < 0)
        return rc;
    if (size > SIZE_MAX)
        return error_set(err, -ENOMEM, "%s: too large for this machine", what);
    if (size == 0) {
        *out = NULL;
        *bytes = 0;
        return 0;
    }

    void *p = fault_hit(FAULT_READ)
                  ? (errno = EIO, MAP_FAILED)
                  : mmap(NULL, (size_t) size, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return error_set(err, -errno, "%s: cannot be mapped: %s", what,
                         strerror(errno));
    *out = p;
    *bytes = (size_t) size;
    return 0;
}

void memfile_unmap(const void *data, size_t bytes)
{
    if (data)
        (void) munmap((void *) (uintptr_t) data, bytes);
}
