// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/keyfile.h"

#include "fixture.h"

#include <errno.h>
#include <sys/stat.h>

static void write_file(const char *name, const void *data, size_t bytes)
{
    char path[400];

    (void) snprintf(path, sizeof(path), "%s/%s", dir, name);
    (void) unlink(path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    (void) fclose(f);
}

static void says_what_is_no_key(void **state)
{
    static const char hex[] =
        "00112233445566778899aabbCCDDEEFF00112233445566778899aabbccddeeff\n";
    uint8_t key[SEAL_KEY_BYTES], same[SEAL_KEY_BYTES];
    char text[70];

    OK(keyfile_parse(key, hex, 64, &err));
    assert_int_equal(key[1], 0x11);
    assert_int_equal(key[31], 0xff);
    OK(keyfile_parse(same, hex, 65, &err));
    assert_memory_equal(key, same, sizeof(key));
    OK(keyfile_parse(same, key, sizeof(key), &err));
    assert_memory_equal(key, same, sizeof(key));
    for (size_t n = 0; n < 64; n++)
        if (n != 32)
            assert_int_equal(keyfile_parse(same, hex, n, &err), -EINVAL);
    assert_says("it has 63 bytes, but a key has 32, or 64");
    memcpy(text, hex, 65);
    text[64] = ' ';
    assert_int_equal(keyfile_parse(same, text, 65, &err), -EINVAL);
    text[9] = 'g';
    assert_int_equal(keyfile_parse(same, text, 64, &err), -EINVAL);
    assert_says("character 10 is none");
    assert_memory_equal(key, same, sizeof(key));
}

static void makes_a_file_that_only_its_owner_reads(void **state)
{
    char path[400], name[KEYFILE_NAME_SIZE], other[KEYFILE_NAME_SIZE];
    struct keyfile k, again;
    struct stat st;

    (void) snprintf(path, sizeof(path), "%s/own.key", dir);
    const struct keyfile_places p = {.file = path};
    OK(keyfile_load(&k, &p, &err));
    assert_int_equal(k.source, KEYFILE_NONE);
    OK(keyfile_make(&k, &p, &err));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0400);
    assert_int_equal(st.st_size, 65);
    assert_int_equal(keyfile_make(&again, &p, &err), -EEXIST);
    OK(keyfile_load(&again, &p, &err));
    assert_int_equal(again.source, KEYFILE_FILE);
    assert_memory_equal(again.key, k.key, sizeof(k.key));
    keyfile_name(name, k.key);
    k.key[0] ^= 1;
    keyfile_name(other, k.key);
    assert_int_equal(strlen(name), 32);
    assert_string_not_equal(name, other);
    assert_false(in_files(name));
}

static void a_credential_goes_before_a_file(void **state)
{
    char path[400];
    uint8_t bytes[SEAL_KEY_BYTES];
    struct keyfile k;

    (void) snprintf(path, sizeof(path), "%s/own.key", dir);
    const struct keyfile_places p = {.file = path, .credentials = dir};
    OK(keyfile_make(&k, &p, &err));
    (void) unlink(strcat(strcpy((char[400]){0}, dir), "/pockd.key"));
    OK(keyfile_load(&k, &p, &err));
    assert_int_equal(k.source, KEYFILE_FILE);
    memset(bytes, 7, sizeof(bytes));
    write_file("pockd.key", bytes, sizeof(bytes));
    OK(keyfile_load(&k, &p, &err));
    assert_int_equal(k.source, KEYFILE_CREDENTIAL);
    assert_memory_equal(k.key, bytes, sizeof(bytes));
    assert_false(k.has_other);
    bytes[0] = 8;
    write_file("pockd.key.old", bytes, sizeof(bytes));
    OK(keyfile_load(&k, &p, &err));
    assert_true(k.has_other);
    assert_memory_equal(k.other, bytes, sizeof(bytes));
    write_file("pockd.key", "short", 5);
    assert_int_equal(keyfile_load(&k, &p, &err), -EINVAL);
    assert_says("/pockd.key is none: it has 5 bytes");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(says_what_is_no_key),
        TEST(makes_a_file_that_only_its_owner_reads),
        TEST(a_credential_goes_before_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
