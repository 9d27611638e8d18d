// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/merkle.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { COUNT = 300 };

static struct merkle_leaf leaves[COUNT];

static void key_of(uint8_t key[HASH_BYTES], unsigned number)
{
    char text[32];

    (void) snprintf(text, sizeof(text), "text %u", number);
    hash_bytes(key, text, strlen(text));
}

static size_t fill(size_t count)
{
    for (unsigned i = 0; i < count; i++) {
        memset(leaves[i].salt, (int) (i % 251), sizeof(leaves[i].salt));
        key_of(leaves[i].key, i);
    }
    return merkle_sort(leaves, count);
}

// The definition, bit by bit, without any short cut. Slow: few leaves.
static void reference(uint8_t out[HASH_BYTES], const struct merkle_leaf *l,
                      size_t n, uint32_t depth)
{
    uint8_t text[1 + 2 * HASH_BYTES] = {1};
    struct merkle_leaf side[2][COUNT];
    size_t count[2] = {0, 0};

    if (n == 0) {
        merkle_empty(out);
        return;
    }
    if (depth == MERKLE_DEPTH) {
        assert_int_equal(n, 1);
        text[0] = 0;
        memcpy(text + 1, l[0].salt, MERKLE_SALT_BYTES);
        memcpy(text + 1 + MERKLE_SALT_BYTES, l[0].key, HASH_BYTES);
        hash_bytes(out, text, 1 + MERKLE_SALT_BYTES + HASH_BYTES);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const int bit = (l[i].key[depth / 8] >> (7 - depth % 8)) & 1;
        side[bit][count[bit]++] = l[i];
    }
    reference(text + 1, side[0], count[0], depth + 1);
    reference(text + 1 + HASH_BYTES, side[1], count[1], depth + 1);
    hash_bytes(out, text, sizeof(text));
}

static void roots_are_as_defined(void **state)
{
    static const size_t counts[] = {0, 1, 2, 3, 17};

    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        uint8_t a[HASH_BYTES], b[HASH_BYTES];
        const size_t n = fill(counts[i]);
        merkle_root(a, leaves, n);
        reference(b, leaves, n, 0);
        assert_memory_equal(a, b, HASH_BYTES);
    }
}

static void equal_keys_count_once(void **state)
{
    size_t n = fill(3);

    leaves[n] = leaves[0];
    memset(leaves[n].salt, 0xff, sizeof(leaves[n].salt));
    uint8_t a[HASH_BYTES], b[HASH_BYTES];
    merkle_root(a, leaves, 3);
    assert_int_equal(merkle_sort(leaves, 4), 3);
    merkle_root(b, leaves, 3);
    assert_memory_equal(a, b, HASH_BYTES);
}

static void proves_what_is_there_and_what_is_not(void **state)
{
    const size_t n = fill(COUNT);
    uint8_t root[HASH_BYTES], key[HASH_BYTES];
    struct merkle_proof p;

    assert_int_equal(n, COUNT);
    merkle_root(root, leaves, n);
    for (unsigned i = 0; i < 2 * COUNT; i++) {
        key_of(key, i);
        assert_int_equal(merkle_prove(&p, leaves, n, key), 0);
        assert_int_equal(p.is_member, i < COUNT);
        assert_int_equal(merkle_check(root, key, &p), 0);
        // The path of one key says nothing of another.
        key_of(key, i + 1);
        assert_int_equal(merkle_check(root, key, &p), -EBADMSG);
    }
}

static void nothing_is_absent_from_everything(void **state)
{
    uint8_t root[HASH_BYTES], key[HASH_BYTES];
    struct merkle_proof p;

    key_of(key, 1);
    merkle_root(root, NULL, 0);
    assert_int_equal(merkle_prove(&p, NULL, 0, key), 0);
    assert_false(p.is_member);
    assert_int_equal(p.depth, 0);
    assert_int_equal(merkle_check(root, key, &p), 0);
}

static void every_changed_byte_shows(void **state)
{
    const size_t n = fill(40);
    uint8_t root[HASH_BYTES], key[HASH_BYTES];
    struct merkle_proof p;

    merkle_root(root, leaves, n);
    for (unsigned k = 3; k < 60; k += 40) { // one inside, one not
        key_of(key, k);
        assert_int_equal(merkle_prove(&p, leaves, n, key), 0);
        for (uint32_t d = 0; d < p.depth; d++) {
            p.siblings[d][d % HASH_BYTES] ^= 1;
            assert_int_equal(merkle_check(root, key, &p), -EBADMSG);
            p.siblings[d][d % HASH_BYTES] ^= 1;
        }
        p.is_member = !p.is_member;
        assert_int_equal(merkle_check(root, key, &p), -EBADMSG);
        p.is_member = !p.is_member;
        p.depth++;
        assert_int_equal(merkle_check(root, key, &p), -EBADMSG);
    }
}

// A neighbour of a proof cannot be tried without its salt: with the same set
// of keys and other salts every hash on the way differs, but where nothing is.
static void neighbours_are_hidden_by_their_salts(void **state)
{
    const size_t n = fill(40);
    uint8_t key[HASH_BYTES], empty[HASH_BYTES];
    struct merkle_proof a, b;

    key_of(key, 1000);
    merkle_empty(empty);
    assert_int_equal(merkle_prove(&a, leaves, n, key), 0);
    for (size_t i = 0; i < n; i++)
        leaves[i].salt[0] ^= 0x55;
    assert_int_equal(merkle_prove(&b, leaves, n, key), 0);
    assert_int_equal(a.depth, b.depth);
    for (uint32_t d = 0; d < a.depth; d++)
        assert_int_equal(memcmp(a.siblings[d], b.siblings[d], HASH_BYTES) == 0,
                         memcmp(a.siblings[d], empty, HASH_BYTES) == 0);
}

static void keys_that_share_their_first_bits_are_not_told_apart(void **state)
{
    uint8_t root[HASH_BYTES], other[HASH_BYTES];
    struct merkle_proof p;

    (void) fill(1);
    leaves[1] = leaves[0];
    leaves[1].key[31] ^= 1;
    const size_t n = merkle_sort(leaves, 2);
    assert_int_equal(n, 2);
    merkle_root(root, leaves, n);
    assert_int_equal(merkle_prove(&p, leaves, n, leaves[0].key), -ENOTSUP);
    memcpy(other, leaves[0].key, HASH_BYTES);
    other[20] ^= 1;
    assert_int_equal(merkle_prove(&p, leaves, 1, other), -ENOTSUP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roots_are_as_defined),
        cmocka_unit_test(equal_keys_count_once),
        cmocka_unit_test(proves_what_is_there_and_what_is_not),
        cmocka_unit_test(nothing_is_absent_from_everything),
        cmocka_unit_test(every_changed_byte_shows),
        cmocka_unit_test(neighbours_are_hidden_by_their_salts),
        cmocka_unit_test(keys_that_share_their_first_bits_are_not_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
