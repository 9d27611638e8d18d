// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Sealing
 *
 * A thin name for libsodium's XChaCha20-Poly1305, so that the rest of the tree
 * does not care who computes it. What is sealed cannot be read without its
 * key, and cannot be changed, cut, or put in another's place (associated data)
 * without being found out. Keys live in memory that is locked where the system
 * allows it, between guard pages, left out of core dumps and wiped.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SEAL_KEY_BYTES = 32,
    SEAL_NONCE_BYTES = 24,
    SEAL_TAG_BYTES = 16,
    SEAL_EXTRA_BYTES = SEAL_NONCE_BYTES + SEAL_TAG_BYTES,
};

// Before anything else; any number of times, by any thread. -ENOSYS.
int seal_init(void);

// `out`: nonce, sealed bytes, tag: `bytes` + SEAL_EXTRA_BYTES. No nonce may be
// used twice with one key: give one of seal_nonce_next().
void seal_close(void *out, const uint8_t key[SEAL_KEY_BYTES],
                const uint8_t nonce[SEAL_NONCE_BYTES], const void *ad,
                size_t ad_bytes, const void *data, size_t bytes);
// `out`: `bytes` - SEAL_EXTRA_BYTES. False, and nothing in `out`, when it was
// not sealed by this key with this associated data.
bool seal_open(void *out, const uint8_t key[SEAL_KEY_BYTES], const void *ad,
               size_t ad_bytes, const void *sealed, size_t bytes);

// The same in place, nonce and tag apart: for files of fixed layout.
void seal_close_at(void *data, size_t bytes, uint8_t tag[SEAL_TAG_BYTES],
                   const uint8_t key[SEAL_KEY_BYTES],
                   const uint8_t nonce[SEAL_NONCE_BYTES], const void *ad,
                   size_t ad_bytes);
bool seal_open_at(void *data, size_t bytes, const uint8_t tag[SEAL_TAG_BYTES],
                  const uint8_t key[SEAL_KEY_BYTES],
                  const uint8_t nonce[SEAL_NONCE_BYTES], const void *ad,
                  size_t ad_bytes);

// Nonces that never come twice: a random start for each series, then counted,
// because a call of the system for each record would cost more than sealing.
// Not to be copied, nor used on both sides of a fork().
struct seal_series {
    uint8_t next[SEAL_NONCE_BYTES];
};
void seal_series_init(struct seal_series *s);
void seal_nonce_next(uint8_t out[SEAL_NONCE_BYTES], struct seal_series *s);

void seal_random(void *out, size_t bytes);
void seal_wipe(void *data, size_t bytes);
// Two keys from one: the 64 bytes that it, and only it, leads to.
void seal_split(uint8_t out[2 * SEAL_KEY_BYTES],
                const uint8_t key[SEAL_KEY_BYTES]);
// A keyed digest of at most 64 bytes.
void seal_digest(void *out, size_t out_bytes, const uint8_t key[SEAL_KEY_BYTES],
                 const void *data, size_t bytes);

// Zeroed; NULL when there is no memory. Freeing wipes; NULL is fine.
void *seal_alloc(size_t bytes);
void seal_free(void *p);
