// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/tar.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static uint8_t block[TAR_BLOCK];
static struct error err;

static void what_is_written_is_read(void **state)
{
    struct tar_entry e;

    assert_int_equal(tar_encode(block, "records/000001.jsonl", 12345,
                                1700000000),
                     0);
    assert_int_equal(tar_decode(&e, block, &err), 0);
    assert_string_equal(e.name, "records/000001.jsonl");
    assert_int_equal(e.bytes, 12345);
    assert_false(e.is_end);
    memset(block, 0, sizeof(block));
    assert_int_equal(tar_decode(&e, block, &err), 0);
    assert_true(e.is_end);
    assert_int_equal(tar_padding(0), 0);
    assert_int_equal(tar_padding(1), 511);
    assert_int_equal(tar_padding(512), 0);
}

static void names_that_lead_elsewhere_are_refused(void **state)
{
    static const char *const bad[] = {"",       "/etc/passwd", "../x",
                                      "a/../b", "a//b",        "a/",
                                      ".",      "a/.",         "a\nb",
                                      "a b",    "\xc3\xa4"};
    char name[200];

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(tar_name_is_valid(bad[i]));
        assert_int_equal(tar_encode(block, bad[i], 1, 0), -EINVAL);
    }
    assert_true(tar_name_is_valid("a/..b/c.-_Z9"));
    memset(name, 'x', sizeof(name));
    name[100] = '\0';
    assert_true(tar_name_is_valid(name));
    name[100] = 'x';
    name[101] = '\0';
    assert_false(tar_name_is_valid(name));
    assert_int_equal(tar_encode(block, "a", UINT64_C(1) << 33, 0), -EINVAL);
}

static void resum(void)
{
    char text[8];
    unsigned sum = 8 * ' ';

    for (int i = 0; i < TAR_BLOCK; i++)
        sum += i < 148 || i >= 156 ? block[i] : 0;
    (void) snprintf(text, sizeof(text), "%06o", sum);
    memcpy(block + 148, text, 7);
}

static void refused(const char *words)
{
    struct tar_entry e;

    resum();
    assert_int_equal(tar_decode(&e, block, &err), -EBADMSG);
    if (!strstr(err.text, words))
        fail_msg("\"%s\" does not say \"%s\"", err.text, words);
    assert_int_equal(tar_encode(block, "a/b", 3, 0), 0);
}

static void other_things_than_files_are_refused(void **state)
{
    struct tar_entry e;

    assert_int_equal(tar_encode(block, "a/b", 3, 0), 0);
    block[7] ^= 1; // without its sum
    assert_int_equal(tar_decode(&e, block, &err), -EBADMSG);
    block[7] ^= 1;
    for (const char *type = "12345678gxLK"; *type; type++) {
        block[156] = (uint8_t) *type;
        refused("no plain file");
    }
    block[157] = 'x';
    refused("no plain file");
    block[345] = 'x';
    refused("not allowed");
    memcpy(block, "../b", 5);
    refused("not allowed");
    memset(block + 124, 0xff, 12);
    refused("no size");
    memset(block + 124, ' ', 12);
    refused("no size");
    block[257] = 'x';
    refused("no tar archive");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(names_that_lead_elsewhere_are_refused),
        cmocka_unit_test(other_things_than_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
