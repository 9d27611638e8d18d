// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * The file of a prefix cache: all of it, or, after a first byte 'E', the
 * entries behind a header that is right. Whatever it is, what is put can be
 * read, also when the file is opened again, and the file keeps its bounds.
 */

#include "engine/base/error.h"
#include "engine/train/prefix_cache.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    WIDTH = 4,
    ROWS = 3,
    BYTES_MAX = 1 << 16,
    ENTRY_BYTES = 64,
    KEY_AT = 16,
};

static bool is_sealed;

static struct prefix_cache *open_cache(int fd)
{
    static const uint8_t key[32] = {5};
    const struct prefix_cache_params params = {
        .fd = fd,
        .bytes_max = BYTES_MAX,
        .width = WIDTH,
        .values = PREFIX_VALUES_F16,
        .owner = {1},
        .key = is_sealed ? key : NULL,
    };
    struct prefix_cache *c;
    struct error err;

    if (prefix_cache_open(&c, &params, &err) < 0)
        abort();
    return c;
}

static void write_file(int fd, const uint8_t *data, size_t size)
{
    is_sealed = size > 0 && data[0] == 'K';
    if (is_sealed) {
        data++;
        size--;
    }
    if (size > 0 && data[0] == 'E') {
        prefix_cache_close(open_cache(fd));
        data++;
        size--;
        if (lseek(fd, 0, SEEK_END) < 0)
            abort();
    }
    if (write(fd, data, size) != (ssize_t) size)
        abort();
}

static void check_bounds(int fd, const struct prefix_cache *c)
{
    struct prefix_cache_stats stats;
    struct stat st;

    prefix_cache_stats(&stats, c);
    if (fstat(fd, &st) < 0 || st.st_size > BYTES_MAX ||
        stats.bytes != (uint64_t) st.st_size)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t want[ROWS * 2 * WIDTH], got[ROWS * 2 * WIDTH];
    uint8_t key[PREFIX_KEY_BYTES] = {0};
    int fd = memfd_create("prefix", MFD_CLOEXEC);

    // Room for what is put is left.
    if (fd < 0 || size > BYTES_MAX - 1024) {
        if (fd >= 0)
            (void) close(fd);
        return 0;
    }
    write_file(fd, data, size);
    struct prefix_cache *c = open_cache(fd);
    check_bounds(fd, c);
    // A key of the file, if it has an entry, and one that it has not.
    if (size > ENTRY_BYTES)
        memcpy(key, data + 1 + KEY_AT, sizeof key);
    for (int i = 0; i < 2; i++, key[0]++) {
        memset(want, 0x33 + i, sizeof want);
        if (!prefix_cache_get(c, key, ROWS, want))
            prefix_cache_put(c, key, ROWS, want);
        if (!prefix_cache_get(c, key, ROWS, got) ||
            memcmp(want, got, sizeof want) != 0)
            abort();
        check_bounds(fd, c);
    }
    prefix_cache_close(c);
    c = open_cache(fd);
    key[0]--;
    if (prefix_cache_notice(c) || !prefix_cache_get(c, key, ROWS, got) ||
        memcmp(want, got, sizeof want) != 0)
        abort();
    prefix_cache_close(c);
    (void) close(fd);
    return 0;
}
