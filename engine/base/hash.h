// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * SHA-256
 *
 * A thin name for Nettle's, so that the rest of the tree does not care who
 * computes it. Digests are 32 bytes; their text form is 64 lower-case digits.
 */

#include <stddef.h>
#include <stdint.h>

enum {
    HASH_BYTES = 32,
    HASH_HEX = 65, // with the terminating NUL
};

struct hash_state {
    _Alignas(16) unsigned char opaque[128];
};

void hash_init(struct hash_state *h);
void hash_update(struct hash_state *h, const void *data, size_t bytes);
void hash_final(struct hash_state *h, uint8_t out[HASH_BYTES]);

void hash_bytes(uint8_t out[HASH_BYTES], const void *data, size_t bytes);
// The whole file from its start; the offset of `fd` is not moved.
int hash_fd(uint8_t out[HASH_BYTES], int fd);
// The same, and says after each piece how far it is.
typedef void (*hash_progress_fn)(void *user, uint64_t done, uint64_t total);
int hash_fd_told(uint8_t out[HASH_BYTES], int fd, hash_progress_fn progress,
                 void *user);

void hash_to_hex(char out[HASH_HEX], const uint8_t digest[HASH_BYTES]);
int hash_from_hex(uint8_t out[HASH_BYTES], const char *hex);
