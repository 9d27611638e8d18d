// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/secret_session.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/seal.h"

// Made with Python's pow() and hmac, and openssl enc -aes-128-cbc, for the
// private numbers 0x0102..20 and SHA-256 of "pockd".
static const char public_a[] =
    "457120764f3a1e6fd58103e41a4093a6c8bc1d97cb8759de41c21afdd2d3048a"
    "5ef3d88ce24aa6ba4fe30bcfb0b0f75abf1a8aeaff3723f1bf53740c902005e1"
    "199fabad7c538e94a7034fd585339a02f3634893f748929d2a7257643e398130"
    "541ae64124c17d4507a97f1cbebeb7b933642b8df479eb59e36cfeffbf1671dd";
static const char public_b[] =
    "0cafbec8d5355e291b032c5287e3a146c3ca150fd7b3422141dfb885545fbc6f"
    "8ac378ed0b95a0d486b47bff7028abd41377f299d87ac59578072bf78a80524e"
    "f25d5af5f02130e901da1dc6cde8b98d1a01e000071597ea21bd69adc72ebf79"
    "d88435efd2aaf46879423c3e9a0d536f805a9cab58c242d9f47152a0dbbaa3bc";
static const char agreed[] = "40502e6e5fa8359c714f2a69b97ba525";
static const char words[] = "open sesame, said the moth";
static const char closed[] = "a6e83765317d1557761474c1627b5faf"
                             "c6d809164a436c879a1bacf6d45d7b95";

static size_t from_hex(uint8_t *out, const char *hex)
{
    const size_t n = strlen(hex) / 2;

    for (size_t i = 0; i < n; i++) {
        unsigned v;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &v), 1);
        out[i] = (uint8_t) v;
    }
    return n;
}

static struct secret_session *first(void)
{
    struct secret_session *s = seal_alloc(sizeof(*s));

    assert_non_null(s);
    for (size_t i = 0; i < sizeof(s->private); i++)
        s->private[i] = (uint8_t) (i + 1);
    assert_int_equal(secret_session_derive(s), 0);
    return s;
}

static void agrees_as_others_compute_it(void **state)
{
    uint8_t want[SECRET_PUBLIC_BYTES], peer[SECRET_PUBLIC_BYTES], iv[16];
    uint8_t out[64];
    struct secret_session *s = first();

    (void) from_hex(want, public_a);
    assert_memory_equal(s->public, want, sizeof(want));
    (void) from_hex(peer, public_b);
    assert_int_equal(secret_session_agree(s, peer, sizeof(peer)), 0);
    (void) from_hex(want, agreed);
    assert_memory_equal(s->key, want, sizeof(s->key));
    for (int i = 0; i < 16; i++)
        iv[i] = (uint8_t) (16 + i);
    (void) from_hex(want, closed);
    assert_int_equal(secret_session_close(out, s, iv, words, strlen(words)),
                     32);
    assert_memory_equal(out, want, 32);
    uint8_t text[SECRET_VALUE_MAX];
    assert_int_equal(secret_session_open(text, s, iv, sizeof(iv), want, 32),
                     (int) strlen(words));
    assert_memory_equal(text, words, strlen(words));
    seal_free(s);
}

static void two_sides_agree_whatever_their_numbers(void **state)
{
    struct secret_session *a = seal_alloc(sizeof(*a));
    struct secret_session *b = seal_alloc(sizeof(*b));
    uint8_t secret[100], out[116], back[SECRET_VALUE_MAX];
    uint8_t iv[SECRET_BLOCK_BYTES];

    for (size_t n = 0; n <= 100; n += 5) {
        assert_int_equal(secret_session_init(a), 0);
        assert_int_equal(secret_session_init(b), 0);
        assert_int_equal(secret_session_agree(a, b->public, 128), 0);
        // Some leave out zeros in front.
        const uint8_t *at = a->public;
        while (*at == 0)
            at++;
        assert_int_equal(secret_session_agree(b, at,
                                              (size_t) (a->public + 128 - at)),
                         0);
        assert_memory_equal(a->key, b->key, sizeof(a->key));
        seal_random(secret, n);
        seal_random(iv, sizeof(iv));
        const size_t bytes = secret_session_close(out, a, iv, secret, n);
        assert_int_equal(bytes, n / 16 * 16 + 16);
        assert_int_equal(secret_session_open(back, b, iv, 16, out, bytes), n);
        assert_memory_equal(back, secret, n);
    }
    seal_free(a);
    seal_free(b);
}

static void numbers_that_give_the_key_away_are_refused(void **state)
{
    struct secret_session *s = first();
    uint8_t n[SECRET_PUBLIC_BYTES + 1] = {0};
    uint8_t prime[SECRET_PUBLIC_BYTES];

    assert_int_equal(secret_session_agree(s, n, 0), -EBADMSG);
    assert_int_equal(secret_session_agree(s, n, 128), -EBADMSG);
    assert_int_equal(secret_session_agree(s, n, 129), -EBADMSG);
    n[127] = 1;
    assert_int_equal(secret_session_agree(s, n, 128), -EBADMSG);
    n[127] = 2;
    assert_int_equal(secret_session_agree(s, n, 128), 0);
    memset(n, 0xff, sizeof(n));
    assert_int_equal(secret_session_agree(s, n, 128), -EBADMSG);
    // The prime less one, whose powers are itself and 1.
    (void) from_hex(prime, "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd1"
                           "29024e088a67cc74020bbea63b139b22514a08798e3404dd"
                           "ef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245"
                           "e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7ed"
                           "ee386bfb5a899fa5ae9f24117c4b1fe649286651ece65381"
                           "ffffffffffffffff");
    assert_int_equal(secret_session_agree(s, prime, 128), -EBADMSG);
    prime[127]--;
    assert_int_equal(secret_session_agree(s, prime, 128), -EBADMSG);
    prime[127]--;
    assert_int_equal(secret_session_agree(s, prime, 128), 0);
    seal_free(s);
}

static void what_was_cut_or_changed_does_not_open(void **state)
{
    struct secret_session *s = first();
    uint8_t peer[SECRET_PUBLIC_BYTES], iv[16] = {0};
    uint8_t out[SECRET_VALUE_MAX + 32], text[SECRET_VALUE_MAX];
    uint8_t key[64] = "0123";

    (void) from_hex(peer, public_b);
    assert_int_equal(secret_session_agree(s, peer, sizeof(peer)), 0);
    const size_t n = secret_session_close(out, s, iv, key, sizeof(key));
    assert_int_equal(n, 80);
    assert_int_equal(secret_session_open(text, s, iv, 15, out, n), -EBADMSG);
    assert_int_equal(secret_session_open(text, s, iv, 16, out, 0), -EBADMSG);
    assert_int_equal(secret_session_open(text, s, iv, 16, out, 79), -EBADMSG);
    memset(text, 1, sizeof(text));
    // Without the last block no padding is left.
    assert_int_equal(secret_session_open(text, s, iv, 16, out, 64), -EBADMSG);
    for (int i = 0; i < 64; i++)
        assert_int_equal(text[i], 0);
    assert_int_equal(secret_session_open(text, s, iv, 16, out,
                                         SECRET_VALUE_MAX + 16),
                     -EBADMSG);
    seal_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_as_others_compute_it),
        cmocka_unit_test(two_sides_agree_whatever_their_numbers),
        cmocka_unit_test(numbers_that_give_the_key_away_are_refused),
        cmocka_unit_test(what_was_cut_or_changed_does_not_open),
    };
    assert_int_equal(seal_init(), 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
