// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Signatures
 *
 * Ed25519 by Nettle, over the SHA-256 of what is signed and a word that says
 * what it is, so that a signature of one kind of thing is none of another:
 * "pockd WORD", a zero byte, 32 bytes of digest.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/hash.h"

enum {
    SIGN_KEY_BYTES = 32, // of a public key, and of a seed
    SIGN_BYTES = 64,
    SIGN_HEX = 2 * SIGN_BYTES + 1,
};

struct sign_key {
    uint8_t seed[SIGN_KEY_BYTES]; // the secret
    uint8_t public[SIGN_KEY_BYTES];
};

void sign_key_init(struct sign_key *k, const uint8_t seed[SIGN_KEY_BYTES]);
void sign_make(uint8_t out[SIGN_BYTES], const struct sign_key *k,
               const char *word, const uint8_t digest[HASH_BYTES]);
bool sign_check(const uint8_t public[SIGN_KEY_BYTES], const char *word,
                const uint8_t digest[HASH_BYTES],
                const uint8_t signature[SIGN_BYTES]);
void sign_to_hex(char out[SIGN_HEX], const uint8_t signature[SIGN_BYTES]);
// -EINVAL. `hex` may be NULL.
int sign_from_hex(uint8_t out[SIGN_BYTES], const char *hex);
