// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/seal.h"

#include "engine/base/fault.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

_Static_assert((int) SEAL_KEY_BYTES ==
                       (int) crypto_aead_xchacha20poly1305_ietf_KEYBYTES &&
                   (int) SEAL_NONCE_BYTES ==
                       (int) crypto_aead_xchacha20poly1305_ietf_NPUBBYTES &&
                   (int) SEAL_TAG_BYTES ==
                       (int) crypto_aead_xchacha20poly1305_ietf_ABYTES &&
                   (int) SEAL_KEY_BYTES ==
                       (int) crypto_stream_chacha20_KEYBYTES,
               "the sizes are those of XChaCha20-Poly1305");

int seal_init(void)
{
    return sodium_init() < 0 ? -ENOSYS : 0;
}

void seal_close(void *out, const uint8_t key[SEAL_KEY_BYTES],
                const uint8_t nonce[SEAL_NONCE_BYTES], const void *ad,
                size_t ad_bytes, const void *data, size_t bytes)
{
    uint8_t *at = out;

    memcpy(at, nonce, SEAL_NONCE_BYTES);
    (void) crypto_aead_xchacha20poly1305_ietf_encrypt(at + SEAL_NONCE_BYTES,
                                                      NULL, data, bytes, ad,
                                                      ad_bytes, NULL, nonce,
                                                      key);
}

bool seal_open(void *out, const uint8_t key[SEAL_KEY_BYTES], const void *ad,
               size_t ad_bytes, const void *sealed, size_t bytes)
{
    const uint8_t *at = sealed;

    if (bytes < SEAL_EXTRA_BYTES)
        return false;
    return crypto_aead_xchacha20poly1305_ietf_decrypt(out, NULL, NULL,
                                                      at + SEAL_NONCE_BYTES,
                                                      bytes - SEAL_NONCE_BYTES,
                                                      ad, ad_bytes, at,
                                                      key) == 0;
}

void seal_close_at(void *data, size_t bytes, uint8_t tag[SEAL_TAG_BYTES],
                   const uint8_t key[SEAL_KEY_BYTES],
                   const uint8_t nonce[SEAL_NONCE_BYTES], const void *ad,
                   size_t ad_bytes)
{
    (void) crypto_aead_xchacha20poly1305_ietf_encrypt_detached(data, tag, NULL,
                                                               data, bytes, ad,
                                                               ad_bytes, NULL,
                                                               nonce, key);
}

bool seal_open_at(void *data, size_t bytes, const uint8_t tag[SEAL_TAG_BYTES],
                  const uint8_t key[SEAL_KEY_BYTES],
                  const uint8_t nonce[SEAL_NONCE_BYTES], const void *ad,
                  size_t ad_bytes)
{
    return crypto_aead_xchacha20poly1305_ietf_decrypt_detached(data, NULL, data,
                                                               bytes, tag, ad,
                                                               ad_bytes, nonce,
                                                               key) == 0;
}

void seal_series_init(struct seal_series *s)
{
    randombytes_buf(s->next, sizeof(s->next));
}

void seal_nonce_next(uint8_t out[SEAL_NONCE_BYTES], struct seal_series *s)
{
    memcpy(out, s->next, SEAL_NONCE_BYTES);
    sodium_increment(s->next, sizeof(s->next));
}

void seal_random(void *out, size_t bytes)
{
    randombytes_buf(out, bytes);
}

void seal_wipe(void *data, size_t bytes)
{
    sodium_memzero(data, bytes);
}

void seal_split(uint8_t out[2 * SEAL_KEY_BYTES],
                const uint8_t key[SEAL_KEY_BYTES])
{
    static const uint8_t nonce[crypto_stream_chacha20_NONCEBYTES];

    (void) crypto_stream_chacha20(out, 2 * (size_t) SEAL_KEY_BYTES, nonce, key);
}

void seal_digest(void *out, size_t out_bytes, const uint8_t key[SEAL_KEY_BYTES],
                 const void *data, size_t bytes)
{
    (void) crypto_generichash(out, out_bytes, data, bytes, key, SEAL_KEY_BYTES);
}

void *seal_alloc(size_t bytes)
{
    void *p = fault_hit(FAULT_ALLOC) ? NULL : sodium_malloc(bytes);

    if (p)
        memset(p, 0, bytes);
    return p;
}

void seal_free(void *p)
{
    sodium_free(p);
}
