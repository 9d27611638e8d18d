// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/sign.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <nettle/eddsa.h>

enum { WORD_BYTES_MAX = 31 };

struct message {
    uint8_t text[6 + WORD_BYTES_MAX + 1 + HASH_BYTES];
    size_t bytes;
};

static void build(struct message *m, const char *word,
                  const uint8_t digest[HASH_BYTES])
{
    const size_t n = strlen(word);

    assert(n <= WORD_BYTES_MAX);
    memcpy(m->text, "pockd ", 6);
    memcpy(m->text + 6, word, n + 1);
    memcpy(m->text + 6 + n + 1, digest, HASH_BYTES);
    m->bytes = 6 + n + 1 + HASH_BYTES;
}

void sign_key_init(struct sign_key *k, const uint8_t seed[SIGN_KEY_BYTES])
{
    memcpy(k->seed, seed, SIGN_KEY_BYTES);
    ed25519_sha512_public_key(k->public, seed);
}

void sign_make(uint8_t out[SIGN_BYTES], const struct sign_key *k,
               const char *word, const uint8_t digest[HASH_BYTES])
{
    struct message m;

    build(&m, word, digest);
    ed25519_sha512_sign(k->public, k->seed, m.bytes, m.text, out);
}

bool sign_check(const uint8_t public[SIGN_KEY_BYTES], const char *word,
                const uint8_t digest[HASH_BYTES],
                const uint8_t signature[SIGN_BYTES])
{
    struct message m;

    build(&m, word, digest);
    return ed25519_sha512_verify(public, m.bytes, m.text, signature) == 1;
}

void sign_to_hex(char out[SIGN_HEX], const uint8_t signature[SIGN_BYTES])
{
    hash_to_hex(out, signature);
    hash_to_hex(out + 2 * HASH_BYTES, signature + HASH_BYTES);
}

int sign_from_hex(uint8_t out[SIGN_BYTES], const char *hex)
{
    char half[HASH_HEX];

    if (!hex || strlen(hex) != SIGN_HEX - 1)
        return -EINVAL;
    memcpy(half, hex, HASH_HEX - 1);
    half[HASH_HEX - 1] = '\0';
    int rc = hash_from_hex(out, half);
    return rc < 0 ? rc : hash_from_hex(out + HASH_BYTES, hex + HASH_HEX - 1);
}
