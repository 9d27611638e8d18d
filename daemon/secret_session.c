// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/secret_session.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <gmp.h>
#include <nettle/aes.h>
#include <nettle/cbc.h>
#include <nettle/hkdf.h>
#include <nettle/hmac.h>

#include "engine/base/seal.h"

enum {
    LIMB_BYTES = sizeof(mp_limb_t),
    LIMBS = SECRET_PUBLIC_BYTES / LIMB_BYTES,
    PRIVATE_LIMBS = SECRET_PRIVATE_BYTES / LIMB_BYTES,
    PRIVATE_BITS = 8 * SECRET_PRIVATE_BYTES,
};
_Static_assert(GMP_NAIL_BITS == 0, "limbs are whole words");

// 2^1024 - 2^960 - 1 + 2^64 * (floor(2^894 pi) + 129093)
static const uint8_t prime_bytes[SECRET_PUBLIC_BYTES] = {
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc9, 0x0f, 0xda, 0xa2,
    0x21, 0x68, 0xc2, 0x34, 0xc4, 0xc6, 0x62, 0x8b, 0x80, 0xdc, 0x1c, 0xd1,
    0x29, 0x02, 0x4e, 0x08, 0x8a, 0x67, 0xcc, 0x74, 0x02, 0x0b, 0xbe, 0xa6,
    0x3b, 0x13, 0x9b, 0x22, 0x51, 0x4a, 0x08, 0x79, 0x8e, 0x34, 0x04, 0xdd,
    0xef, 0x95, 0x19, 0xb3, 0xcd, 0x3a, 0x43, 0x1b, 0x30, 0x2b, 0x0a, 0x6d,
    0xf2, 0x5f, 0x14, 0x37, 0x4f, 0xe1, 0x35, 0x6d, 0x6d, 0x51, 0xc2, 0x45,
    0xe4, 0x85, 0xb5, 0x76, 0x62, 0x5e, 0x7e, 0xc6, 0xf4, 0x4c, 0x42, 0xe9,
    0xa6, 0x37, 0xed, 0x6b, 0x0b, 0xff, 0x5c, 0xb6, 0xf4, 0x06, 0xb7, 0xed,
    0xee, 0x38, 0x6b, 0xfb, 0x5a, 0x89, 0x9f, 0xa5, 0xae, 0x9f, 0x24, 0x11,
    0x7c, 0x4b, 0x1f, 0xe6, 0x49, 0x28, 0x66, 0x51, 0xec, 0xe6, 0x53, 0x81,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
};

// Limbs begin with the least significant one, bytes with the most.
static void limbs_of(mp_limb_t *out, const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const uint8_t *at = bytes + (count - 1 - i) * LIMB_BYTES;
        mp_limb_t v = 0;
        for (int b = 0; b < LIMB_BYTES; b++)
            v = v << 8 | at[b];
        out[i] = v;
    }
}

static void bytes_of(uint8_t *out, const mp_limb_t *limbs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (int b = 0; b < LIMB_BYTES; b++)
            out[(count - i) * LIMB_BYTES - 1 - (size_t) b] =
                (uint8_t) (limbs[i] >> 8 * b);
}

// base^private mod prime, in time that does not tell the private number.
static int power(uint8_t out[SECRET_PUBLIC_BYTES],
                 const struct secret_session *s, const mp_limb_t *base,
                 mp_size_t base_limbs)
{
    struct {
        mp_limb_t prime[LIMBS];
        mp_limb_t private[PRIVATE_LIMBS];
        mp_limb_t result[LIMBS];
        mp_limb_t scratch[];
    } * w;
    const mp_size_t scratch =
        mpn_sec_powm_itch(base_limbs, PRIVATE_BITS, LIMBS);

    w = seal_alloc(sizeof(*w) + (size_t) scratch * LIMB_BYTES);
    if (!w)
        return -ENOMEM;
    limbs_of(w->prime, prime_bytes, LIMBS);
    limbs_of(w->private, s->private, PRIVATE_LIMBS);
    mpn_sec_powm(w->result, base, base_limbs, w->private, PRIVATE_BITS,
                 w->prime, LIMBS, w->scratch);
    bytes_of(out, w->result, LIMBS);
    seal_free(w);
    return 0;
}

int secret_session_derive(struct secret_session *s)
{
    const mp_limb_t two = 2;

    return power(s->public, s, &two, 1);
}

int secret_session_init(struct secret_session *s)
{
    seal_random(s->private, sizeof(s->private));
    return secret_session_derive(s);
}

static void derive_key(struct secret_session *s,
                       const uint8_t shared[SECRET_PUBLIC_BYTES])
{
    static const uint8_t salt[SHA256_DIGEST_SIZE];
    uint8_t middle[SHA256_DIGEST_SIZE];
    struct hmac_sha256_ctx h;

    hmac_sha256_set_key(&h, sizeof(salt), salt);
    hkdf_extract(&h, (nettle_hash_update_func *) hmac_sha256_update,
                 (nettle_hash_digest_func *) hmac_sha256_digest, sizeof(middle),
                 SECRET_PUBLIC_BYTES, shared, middle);
    hmac_sha256_set_key(&h, sizeof(middle), middle);
    hkdf_expand(&h, (nettle_hash_update_func *) hmac_sha256_update,
                (nettle_hash_digest_func *) hmac_sha256_digest, sizeof(middle),
                0, NULL, sizeof(s->key), s->key);
    seal_wipe(middle, sizeof(middle));
    seal_wipe(&h, sizeof(h));
}

// 2 to prime - 2: 0, 1 and prime - 1 would make a key that anybody knows.
static bool is_public(const mp_limb_t limbs[LIMBS])
{
    mp_limb_t prime[LIMBS];

    limbs_of(prime, prime_bytes, LIMBS);
    (void) mpn_sub_1(prime, prime, LIMBS, 1);
    return mpn_cmp(limbs, prime, LIMBS) < 0 &&
           (limbs[0] > 1 || !mpn_zero_p(limbs + 1, LIMBS - 1));
}

int secret_session_agree(struct secret_session *s, const void *public,
                         size_t bytes)
{
    uint8_t whole[SECRET_PUBLIC_BYTES] = {0};
    mp_limb_t limbs[LIMBS];

    if (bytes == 0 || bytes > sizeof(whole))
        return -EBADMSG;
    memcpy(whole + sizeof(whole) - bytes, public, bytes);
    limbs_of(limbs, whole, LIMBS);
    if (!is_public(limbs))
        return -EBADMSG;
    uint8_t *shared = seal_alloc(SECRET_PUBLIC_BYTES);
    int rc = shared ? power(shared, s, limbs, LIMBS) : -ENOMEM;
    if (rc == 0)
        derive_key(s, shared);
    seal_free(shared);
    return rc;
}

// Of the n bytes that are left when the padding is off; -EBADMSG.
static int unpad(const uint8_t *data, size_t bytes)
{
    const uint8_t pad = data[bytes - 1];

    if (pad < 1 || pad > SECRET_BLOCK_BYTES)
        return -EBADMSG;
    for (size_t i = bytes - pad; i < bytes; i++)
        if (data[i] != pad)
            return -EBADMSG;
    return (int) (bytes - pad);
}

int secret_session_open(uint8_t *out, const struct secret_session *s,
                        const void *iv, size_t iv_bytes, const void *data,
                        size_t bytes)
{
    struct aes128_ctx aes;
    uint8_t chain[SECRET_BLOCK_BYTES];

    if (iv_bytes != sizeof(chain) || bytes == 0 || bytes > SECRET_VALUE_MAX ||
        bytes % SECRET_BLOCK_BYTES != 0)
        return -EBADMSG;
    memcpy(chain, iv, sizeof(chain));
    aes128_set_decrypt_key(&aes, s->key);
    cbc_decrypt(&aes, (nettle_cipher_func *) aes128_decrypt, SECRET_BLOCK_BYTES,
                chain, bytes, out, data);
    seal_wipe(&aes, sizeof(aes));
    int rc = unpad(out, bytes);
    if (rc < 0)
        seal_wipe(out, bytes);
    return rc;
}

size_t secret_session_close(uint8_t *out, const struct secret_session *s,
                            const uint8_t iv[SECRET_BLOCK_BYTES],
                            const void *data, size_t bytes)
{
    const size_t pad = SECRET_BLOCK_BYTES - bytes % SECRET_BLOCK_BYTES;
    struct aes128_ctx aes;
    uint8_t chain[SECRET_BLOCK_BYTES];

    memmove(out, data, bytes);
    memset(out + bytes, (int) pad, pad);
    memcpy(chain, iv, sizeof(chain));
    aes128_set_encrypt_key(&aes, s->key);
    cbc_encrypt(&aes, (nettle_cipher_func *) aes128_encrypt, SECRET_BLOCK_BYTES,
                chain, bytes + pad, out, out);
    seal_wipe(&aes, sizeof(aes));
    return bytes + pad;
}
