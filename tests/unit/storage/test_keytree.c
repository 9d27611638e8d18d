// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/keytree.h"

#include "fixture.h"

#include <errno.h>
#include <string.h>

#include "engine/base/rng.h"

enum { ALL = KEYTREE_LEAVES };

static uint8_t (*keys)[SEAL_KEY_BYTES]; // of a whole tree
static bool *gone;

static int tree_setup(void **state)
{
    struct keytree *t;

    assert_int_equal(seal_init(), 0);
    keys = calloc(ALL, SEAL_KEY_BYTES);
    gone = calloc(ALL, sizeof(*gone));
    t = keytree_new();
    assert_non_null(t);
    for (uint32_t i = 0; i < ALL; i++)
        assert_int_equal(keytree_key(keys[i], t, i), 0);
    *state = t;
    return 0;
}

static int tree_teardown(void **state)
{
    keytree_free(*state);
    free(keys);
    free(gone);
    return 0;
}

// Every key that was not taken out is as it was, in this order and in another.
static void check(struct keytree *t)
{
    uint8_t key[SEAL_KEY_BYTES];

    for (uint32_t n = 0; n < 2 * ALL; n++) {
        const uint32_t i = n < ALL ? n : (n * 40503u) % ALL;
        const int rc = keytree_key(key, t, i);
        assert_int_equal(rc, gone[i] ? -ENOKEY : 0);
        if (rc == 0)
            assert_memory_equal(key, keys[i], SEAL_KEY_BYTES);
    }
}

static struct keytree *save_and_load(struct keytree *t)
{
    size_t bytes = keytree_bytes(t);
    uint8_t *data = malloc(bytes);
    int rc;

    keytree_save(data, t);
    keytree_free(t);
    t = keytree_load(data, bytes, &rc);
    assert_non_null(t);
    free(data);
    return t;
}

static void every_leaf_has_a_key_of_its_own(void **state)
{
    for (uint32_t i = 1; i < ALL; i++)
        assert_int_not_equal(memcmp(keys[i], keys[i - 1], SEAL_KEY_BYTES), 0);
    check(*state);
}

static void what_is_taken_out_is_gone_and_the_rest_stays(void **state)
{
    static const uint32_t first[] = {0, ALL - 1, 7, 6, 4096, 4097, 40000};
    struct keytree *t = *state;
    struct rng r;

    for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++) {
        assert_int_equal(keytree_remove(t, first[i]), 0);
        assert_int_equal(keytree_remove(t, first[i]), 0); // again
        gone[first[i]] = true;
    }
    t = *state = save_and_load(t);
    check(t);
    rng_init(&r, 5, 0);
    for (int i = 0; i < 3000; i++) {
        const uint32_t leaf = rng_below(&r, ALL);
        assert_int_equal(keytree_remove(t, leaf), 0);
        gone[leaf] = true;
    }
    *state = t = save_and_load(t);
    check(t);
}

static void a_run_of_leaves_leaves_few_nodes(void **state)
{
    struct keytree *t = *state;

    for (uint32_t i = 100; i < 10100; i++) {
        assert_int_equal(keytree_remove(t, i), 0);
        gone[i] = true;
    }
    assert_true(keytree_nodes(t) <= 2 * KEYTREE_DEPTH);
    check(t);
}

static void no_pattern_needs_more_than_is_allowed(void **state)
{
    struct keytree *t = *state;

    for (uint32_t i = 0; i < ALL; i += 2) {
        assert_int_equal(keytree_remove(t, i), 0);
        gone[i] = true;
    }
    assert_int_equal(keytree_nodes(t), ALL / 2);
    *state = t = save_and_load(t);
    check(t);
    for (uint32_t i = 1; i < ALL; i += 2)
        assert_int_equal(keytree_remove(t, i), 0);
    assert_int_equal(keytree_nodes(t), 0);
    assert_int_equal(keytree_bytes(t), 0);
}

static void keys_above_what_is_gone_are_in_no_node(void **state)
{
    struct keytree *t = *state;
    uint8_t root[KEYTREE_NODE_BYTES], pair[64];

    keytree_save(root, t);
    assert_int_equal(keytree_remove(t, 9), 0);
    size_t bytes = keytree_bytes(t);
    uint8_t *data = malloc(bytes);
    keytree_save(data, t);
    // The way down from the root to leaf 9.
    uint8_t *at = root + 4;
    for (int depth = 0; depth <= KEYTREE_DEPTH; depth++) {
        assert_null(memmem(data, bytes, at, SEAL_KEY_BYTES));
        if (depth == KEYTREE_DEPTH)
            break;
        seal_split(pair, at);
        memcpy(at, pair + (9 >> (KEYTREE_DEPTH - 1 - depth) & 1) * 32, 32);
        if (depth == KEYTREE_DEPTH - 1)
            assert_memory_equal(at, keys[9], SEAL_KEY_BYTES);
    }
    free(data);
}

static void refuses_what_is_no_tree(void **state)
{
    static const struct {
        uint8_t depth;
        uint32_t first;
    } bad[][2] = {
        {{KEYTREE_DEPTH + 1, 0}, {1, 0}},
        {{1, 3}, {1, ALL / 2}},
        {{0, 0}, {16, 5}},
        {{16, 5}, {16, 4}},
        {{16, ALL}, {16, ALL + 1}},
        {{255, 0}, {16, 1}},
    };
    uint8_t data[2 * KEYTREE_NODE_BYTES] = {0};
    int rc = 0;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        for (int n = 0; n < 2; n++) {
            uint8_t *at = data + n * KEYTREE_NODE_BYTES;
            at[0] = bad[i][n].depth;
            for (int b = 0; b < 3; b++)
                at[1 + b] = (uint8_t) (bad[i][n].first >> 8 * b);
        }
        assert_null(keytree_load(data, sizeof(data), &rc));
        assert_int_equal(rc, -EUCLEAN);
    }
    assert_null(keytree_load(data, 0, &rc));
    assert_null(keytree_load(data, KEYTREE_NODE_BYTES + 1, &rc));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, tree_setup, tree_teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_leaf_has_a_key_of_its_own),
        TEST(what_is_taken_out_is_gone_and_the_rest_stays),
        TEST(a_run_of_leaves_leaves_few_nodes),
        TEST(no_pattern_needs_more_than_is_allowed),
        TEST(keys_above_what_is_gone_are_in_no_node),
        TEST(refuses_what_is_no_tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
