// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/tokenizer/bpe.h"

#include "engine/base/fault.h"
#include "engine/tokenizer/tokenizer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// Byte b is token b. Ranks: ab < bc < (ab)(ab) < aa < (aa)(aa).
enum { AB = 256, BC, ABAB, AA, AAAA };

static struct bpe *make(void)
{
    int32_t bytes[256];
    struct bpe *b;
    for (int i = 0; i < 256; i++)
        bytes[i] = i;
    assert_int_equal(bpe_create(&b, bytes, 6), 0);
    bpe_add_merge(b, 'a', 'b', AB);
    bpe_add_merge(b, 'b', 'c', BC);
    bpe_add_merge(b, AB, AB, ABAB);
    bpe_add_merge(b, 'a', 'a', AA);
    bpe_add_merge(b, AA, AA, AAAA);
    bpe_add_merge(b, 'b', 'c', 'x'); // later: of no effect
    return b;
}

// Merges by the definition: again and again, the leftmost of the lowest rank.
static size_t merge_slowly(int32_t *ids, size_t n)
{
    static const int32_t merges[5][3] = {{'a', 'b', AB},
                                         {'b', 'c', BC},
                                         {AB, AB, ABAB},
                                         {'a', 'a', AA},
                                         {AA, AA, AAAA}};
    for (int rank = 0; rank < 5;) {
        size_t i = 0;
        while (i + 1 < n &&
               (ids[i] != merges[rank][0] || ids[i + 1] != merges[rank][1]))
            i++;
        if (i + 1 >= n) {
            rank++;
            continue;
        }
        ids[i] = merges[rank][2];
        memmove(&ids[i + 1], &ids[i + 2], (n - i - 2) * sizeof(*ids));
        n--;
        rank = 0;
    }
    return n;
}

static void assert_encodes(struct bpe *b, const char *word, size_t bytes)
{
    int32_t want[2000];
    struct token_list got = {0};
    for (size_t i = 0; i < bytes; i++)
        want[i] = (unsigned char) word[i];
    size_t n = merge_slowly(want, bytes);
    assert_int_equal(bpe_encode(b, &got, word, bytes), 0);
    assert_int_equal(got.count, n);
    assert_memory_equal(got.ids, want, n * sizeof(*want));
    token_list_free(&got);
}

static void merges_as_the_definition_says(void **state)
{
    struct bpe *b = make();
    uint32_t seed = 1;
    char word[2000];

    assert_encodes(b, "abc", 3);
    assert_encodes(b, "bc", 2);
    assert_encodes(b, "ababab", 6);
    assert_encodes(b, "aaaaaaa", 7);
    assert_encodes(b, "\xff\0z", 3);
    // Short words (and the cache), words of the border, and long ones.
    for (int round = 0; round < 600; round++) {
        size_t n = round < 300   ? 1 + (size_t) round % 21
                   : round < 590 ? 44 + (size_t) round % 10
                                 : 500;
        for (size_t i = 0; i < n; i++) {
            seed = seed * 1664525u + 1013904223u;
            word[i] = "aaabbc"[(seed >> 16) % 6];
        }
        assert_encodes(b, word, n);
        assert_encodes(b, word, n);
    }
    bpe_destroy(b);
}

static void merges_a_long_run_in_time(void **state)
{
    enum { N = 1 << 20 };
    struct bpe *b = make();
    struct token_list got = {0};
    char *word = malloc(N + 3);
    assert_non_null(word);
    memset(word, 'a', N + 3);
    assert_int_equal(bpe_encode(b, &got, word, N + 3), 0);
    assert_int_equal(got.count, N / 4 + 2);
    assert_int_equal(got.ids[0], AAAA);
    assert_int_equal(got.ids[got.count - 2], AA);
    assert_int_equal(got.ids[got.count - 1], 'a');
    free(word);
    token_list_free(&got);
    bpe_destroy(b);
}

static void reports_limits_and_lack_of_memory(void **state)
{
    char word[100];
    memset(word, 'z', sizeof(word));
    struct bpe *b = make();
    struct token_list l = {.limit = 99};
    assert_int_equal(bpe_encode(b, &l, word, 100), -E2BIG);
    token_list_free(&l);
    bpe_destroy(b);
    for (unsigned long n = 1;; n++) {
        int32_t bytes[256] = {0};
        struct token_list got = {0};
        b = NULL;
        fault_arm(FAULT_ALLOC, n);
        int rc = bpe_create(&b, bytes, 4);
        if (rc == 0)
            rc = bpe_encode(b, &got, word, 100);
        bool fired = fault_fired(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        token_list_free(&got);
        bpe_destroy(b);
        assert_int_equal(rc, fired ? -ENOMEM : 0);
        if (!fired)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_as_the_definition_says),
        cmocka_unit_test(merges_a_long_run_in_time),
        cmocka_unit_test(reports_limits_and_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
