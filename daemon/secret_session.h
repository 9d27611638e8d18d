// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Session of the Secret Service
 *
 * Secrets cross the bus encrypted, so that neither the bus's memory nor who
 * listens on it has them: "dh-ietf1024-sha256-aes128-cbc-pkcs7" of the Secret
 * Service's specification, which is Diffie-Hellman in the group of RFC 2409
 * 6.2, HKDF with SHA-256, AES-128-CBC. It does not say who the other side is:
 * that is the bus's word. Bytes only, no bus.
 */

#include <stddef.h>
#include <stdint.h>

#define SECRET_ALGORITHM "dh-ietf1024-sha256-aes128-cbc-pkcs7"

enum {
    SECRET_PUBLIC_BYTES = 128,
    SECRET_PRIVATE_BYTES = 32, // 256 bits are more than the group is worth
    SECRET_KEY_BYTES = 16,
    SECRET_BLOCK_BYTES = 16,
    SECRET_VALUE_MAX = 1024, // longer ones are no keys of ours
};

// In memory of seal_alloc().
struct secret_session {
    uint8_t public[SECRET_PUBLIC_BYTES]; // most significant byte first
    uint8_t private[SECRET_PRIVATE_BYTES];
    uint8_t key[SECRET_KEY_BYTES];
};

// A private number, and the public one that goes to the service. -ENOMEM.
int secret_session_init(struct secret_session *s);
// The same for a given private number.
int secret_session_derive(struct secret_session *s);
// The service's public number makes the key. -EBADMSG: it is none; -ENOMEM.
int secret_session_agree(struct secret_session *s, const void *public,
                         size_t bytes);
// out has SECRET_VALUE_MAX bytes. The bytes of the secret; -EBADMSG.
int secret_session_open(uint8_t *out, const struct secret_session *s,
                        const void *iv, size_t iv_bytes, const void *data,
                        size_t bytes);
// out has bytes + SECRET_BLOCK_BYTES; the bytes that it took.
size_t secret_session_close(uint8_t *out, const struct secret_session *s,
                            const uint8_t iv[SECRET_BLOCK_BYTES],
                            const void *data, size_t bytes);
