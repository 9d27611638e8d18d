// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/prefix_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "daemon/paths.h"
#include "daemon/policy.h"
#include "storage/store_file.h"

#define KEY_NAME "prefix.cache"

enum { MIB_SHIFT = 20 };

// What the file may take of the space that the policy does not keep free. It
// counts what the file has already.
static uint64_t room(int fd, uint64_t size, const struct policy *policy)
{
    struct statvfs fs;

    if (fstatvfs(fd, &fs) < 0)
        return 0;
    const uint64_t free_bytes = (uint64_t) fs.f_bavail * fs.f_frsize;
    const uint64_t total = (uint64_t) fs.f_blocks * fs.f_frsize;
    const uint64_t keep_mib = (uint64_t) policy->disk_free_mib << MIB_SHIFT;
    const uint64_t keep_part =
        (uint64_t) ((double) total * policy->disk_free_pct / 100);
    const uint64_t keep = keep_mib > keep_part ? keep_mib : keep_part;

    if (free_bytes + size <= keep)
        return 0;
    return free_bytes + size - keep;
}

int prefix_file_open(struct store *s, const struct paths *p,
                     const struct policy *policy, uint64_t *bytes_max,
                     uint8_t key[SEAL_KEY_BYTES])
{
    uint64_t most = (uint64_t) policy->prefix_cache_mib << MIB_SHIFT;
    struct stat st;
    int fd = -1;

    if (most == 0)
        goto none;
    fd = open(p->prefix, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        goto none;
    const uint64_t left = room(fd, (uint64_t) st.st_size, policy);
    if (most > left)
        most = left;
    // A cache of less than this is not worth a file.
    if (most < (uint64_t) 1 << MIB_SHIFT)
        goto none;
    if (store_file_lend_key(s, KEY_NAME, key, NULL) < 0)
        goto none;
    *bytes_max = most;
    return fd;

none:
    if (fd >= 0)
        (void) close(fd);
    (void) prefix_file_drop(s, p);
    return -1;
}

int prefix_file_drop(struct store *s, const struct paths *p)
{

    // A worker that still has it open, or anything else that does, sees an
    // empty file.
    int fd = open(p->prefix, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd >= 0) {
        (void) !ftruncate(fd, 0);
        (void) close(fd);
    }
    return store_file_remove(s, KEY_NAME, NULL);
}

int64_t prefix_file_bytes(const struct paths *p)
{
    struct stat st;

    return lstat(p->prefix, &st) == 0 ? st.st_size : 0;
}
