// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/hash.h"

#include "engine/base/fault.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nettle/sha2.h>

_Static_assert(sizeof(struct sha256_ctx) <= sizeof(struct hash_state),
               "hash_state must hold Nettle's state");

void hash_init(struct hash_state *h)
{
    sha256_init((struct sha256_ctx *) h->opaque);
}

void hash_update(struct hash_state *h, const void *data, size_t bytes)
{
    sha256_update((struct sha256_ctx *) h->opaque, bytes, data);
}

void hash_final(struct hash_state *h, uint8_t out[HASH_BYTES])
{
    sha256_digest((struct sha256_ctx *) h->opaque, HASH_BYTES, out);
}

void hash_bytes(uint8_t out[HASH_BYTES], const void *data, size_t bytes)
{
    struct hash_state h;

    hash_init(&h);
    hash_update(&h, data, bytes);
    hash_final(&h, out);
}

int hash_fd_told(uint8_t out[HASH_BYTES], int fd, hash_progress_fn progress,
                 void *user)
{
    unsigned char buf[16 << 10];
    struct hash_state h;
    struct stat st;
    off_t at = 0;

    if (fstat(fd, &st) < 0)
        return -errno;
    hash_init(&h);
    for (;;) {
        ssize_t n = fault_hit(FAULT_READ) ? (errno = EIO, -1)
                                          : pread(fd, buf, sizeof(buf), at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        hash_update(&h, buf, (size_t) n);
        at += n;
        if (progress)
            progress(user, (uint64_t) at, (uint64_t) st.st_size);
    }
    hash_final(&h, out);
    return 0;
}

int hash_fd(uint8_t out[HASH_BYTES], int fd)
{
    return hash_fd_told(out, fd, NULL, NULL);
}

void hash_to_hex(char out[HASH_HEX], const uint8_t digest[HASH_BYTES])
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < HASH_BYTES; i++) {
        out[2 * i] = digits[digest[i] >> 4];
        out[2 * i + 1] = digits[digest[i] & 15];
    }
    out[HASH_HEX - 1] = '\0';
}

// -1 when it is none.
static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int hash_from_hex(uint8_t out[HASH_BYTES], const char *hex)
{
    uint8_t digest[HASH_BYTES];

    if (strlen(hex) != HASH_HEX - 1)
        return -EINVAL;
    for (size_t i = 0; i < HASH_BYTES; i++) {
        const int high = digit_of(hex[2 * i]), low = digit_of(hex[2 * i + 1]);
        if (high < 0 || low < 0)
            return -EINVAL;
        digest[i] = (uint8_t) (high << 4 | low);
    }
    memcpy(out, digest, sizeof(digest));
    return 0;
}
