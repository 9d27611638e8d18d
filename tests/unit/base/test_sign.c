// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/sign.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

// RFC 8032, 7.1, test 1: the public key of this seed.
static void public_keys_are_those_of_the_standard(void **state)
{
    struct sign_key k;
    uint8_t seed[32], public[32];

    assert_int_equal(hash_from_hex(seed, "9d61b19deffd5a60ba844af492ec2cc4"
                                         "4449c5697b326919703bac031cae7f60"),
                     0);
    assert_int_equal(hash_from_hex(public, "d75a980182b10ab7d54bfed3c964073a"
                                           "0ee172f3daa62325af021a68f707511a"),
                     0);
    sign_key_init(&k, seed);
    assert_memory_equal(k.public, public, 32);
}

static void a_signature_is_of_one_text_word_and_key(void **state)
{
    const uint8_t seed[32] = {1}, seed2[32] = {2};
    uint8_t digest[HASH_BYTES], signature[SIGN_BYTES], back[SIGN_BYTES];
    char hex[SIGN_HEX];
    struct sign_key k, other;

    sign_key_init(&k, seed);
    sign_key_init(&other, seed2);
    hash_bytes(digest, "text", 4);
    sign_make(signature, &k, "manifest", digest);
    assert_true(sign_check(k.public, "manifest", digest, signature));
    assert_false(sign_check(k.public, "archive", digest, signature));
    assert_false(sign_check(other.public, "manifest", digest, signature));
    sign_to_hex(hex, signature);
    assert_int_equal(sign_from_hex(back, hex), 0);
    assert_memory_equal(back, signature, SIGN_BYTES);
    hex[127] = 'x';
    assert_int_equal(sign_from_hex(back, hex), -EINVAL);
    assert_int_equal(sign_from_hex(back, "12"), -EINVAL);
    assert_int_equal(sign_from_hex(back, NULL), -EINVAL);
    signature[7] ^= 1;
    assert_false(sign_check(k.public, "manifest", digest, signature));
    signature[7] ^= 1;
    digest[0] ^= 1;
    assert_false(sign_check(k.public, "manifest", digest, signature));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(public_keys_are_those_of_the_standard),
        cmocka_unit_test(a_signature_is_of_one_text_word_and_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
