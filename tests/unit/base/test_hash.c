// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/hash.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

// FIPS 180-2, appendix B.1.
static const char abc[] =
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

static void agrees_with_the_standard(void **state)
{
    uint8_t digest[HASH_BYTES];
    char hex[HASH_HEX];
    hash_bytes(digest, "abc", 3);
    hash_to_hex(hex, digest);
    assert_string_equal(hex, abc);
}

static void parts_and_files_give_the_same(void **state)
{
    uint8_t a[HASH_BYTES], b[HASH_BYTES], c[HASH_BYTES];
    struct hash_state h;
    hash_init(&h);
    hash_update(&h, "a", 1);
    hash_update(&h, "bc", 2);
    hash_final(&h, a);
    assert_int_equal(hash_from_hex(b, abc), 0);
    assert_memory_equal(a, b, HASH_BYTES);

    FILE *f = tmpfile();
    assert_non_null(f);
    fputs("abc", f);
    fflush(f);
    assert_int_equal(hash_fd(c, fileno(f)), 0);
    assert_memory_equal(a, c, HASH_BYTES);
    fclose(f);
    assert_int_equal(hash_fd(c, -1), -EBADF);
}

struct told {
    uint64_t done, total;
    int times;
};

static void take_progress(void *user, uint64_t done, uint64_t total)
{
    struct told *t = user;

    assert_true(done > t->done && done <= total);
    *t = (struct told){done, total, t->times + 1};
}

// Long enough for several reads, whose blocks end within one of the hash.
static void says_how_far_it_is(void **state)
{
    enum { BYTES = 100001 };
    static unsigned char data[BYTES];
    uint8_t whole[HASH_BYTES], read[HASH_BYTES];
    struct told t = {0};

    for (size_t i = 0; i < BYTES; i++)
        data[i] = (unsigned char) (i * 31 >> 3);
    FILE *f = tmpfile();
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, BYTES, f), BYTES);
    fflush(f);
    assert_int_equal(hash_fd_told(read, fileno(f), take_progress, &t), 0);
    hash_bytes(whole, data, BYTES);
    assert_memory_equal(read, whole, HASH_BYTES);
    assert_int_equal(t.done, BYTES);
    assert_int_equal(t.total, BYTES);
    assert_true(t.times > 1);
    fclose(f);
}

static void text_gives_the_digest_back(void **state)
{
    uint8_t a[HASH_BYTES], b[HASH_BYTES];
    char hex[HASH_HEX];

    for (size_t i = 0; i < HASH_BYTES; i++)
        a[i] = (uint8_t) (i * 0x9d + 3);
    hash_to_hex(hex, a);
    assert_int_equal(strlen(hex), HASH_HEX - 1);
    assert_int_equal(hash_from_hex(b, hex), 0);
    assert_memory_equal(a, b, HASH_BYTES);
    for (size_t i = 0; i < HASH_HEX - 1; i++)
        if (hex[i] >= 'a')
            hex[i] = (char) (hex[i] - 'a' + 'A');
    memset(b, 0, sizeof b);
    assert_int_equal(hash_from_hex(b, hex), 0);
    assert_memory_equal(a, b, HASH_BYTES);
}

static void refuses_text_that_is_no_digest(void **state)
{
    uint8_t d[HASH_BYTES];
    char hex[HASH_HEX];
    assert_int_equal(hash_from_hex(d, "ba78"), -EINVAL);
    memcpy(hex, abc, sizeof(hex));
    hex[10] = 'g';
    assert_int_equal(hash_from_hex(d, hex), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_standard),
        cmocka_unit_test(parts_and_files_give_the_same),
        cmocka_unit_test(says_how_far_it_is),
        cmocka_unit_test(text_gives_the_digest_back),
        cmocka_unit_test(refuses_text_that_is_no_digest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
