// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/hash.h"

#include "engine/base/fault.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

_Static_assert(sizeof(crypto_hash_sha256_state) <= sizeof(struct hash_state),
               "hash_state must hold libsodium's state");

void hash_init(struct hash_state *h)
{
    crypto_hash_sha256_init((crypto_hash_sha256_state *) h->opaque);
}

void hash_update(struct hash_state *h, const void *data, size_t bytes)
{
    crypto_hash_sha256_update((crypto_hash_sha256_state *) h->opaque, data,
                              bytes);
}

void hash_final(struct hash_state *h, uint8_t out[HASH_BYTES])
{
    crypto_hash_sha256_final((crypto_hash_sha256_state *) h->opaque, out);
}

void hash_bytes(uint8_t out[HASH_BYTES], const void *data, size_t bytes)
{
    crypto_hash_sha256(out, data, bytes);
}

int hash_fd(uint8_t out[HASH_BYTES], int fd)
{
    unsigned char buf[16 << 10];
    struct hash_state h;
    off_t at = 0;

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
    }
    hash_final(&h, out);
    return 0;
}

void hash_to_hex(char out[HASH_HEX], const uint8_t digest[HASH_BYTES])
{
    sodium_bin2hex(out, HASH_HEX, digest, HASH_BYTES);
}

int hash_from_hex(uint8_t out[HASH_BYTES], const char *hex)
{
    size_t n;
    if (strlen(hex) != HASH_HEX - 1 ||
        sodium_hex2bin(out, HASH_BYTES, hex, HASH_HEX - 1, NULL, &n, NULL) ||
        n != HASH_BYTES)
        return -EINVAL;
    return 0;
}
