// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/blob.h"

#include "fixture.h"

#include <errno.h>
#include <sys/stat.h>

#include "engine/base/fault.h"
#include "storage/store_key.h"

static int source(const char *content)
{
    char path[300];

    (void) snprintf(path, sizeof(path), "%s/source", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void) fputs(content, f);
    (void) fclose(f);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    return fd;
}

static bool keep_first(const uint8_t sha256[BLOB_HASH_BYTES], void *user)
{
    return memcmp(sha256, user, BLOB_HASH_BYTES) == 0;
}

static void puts_and_opens_by_hash(void **state)
{
    uint8_t hash[32], expected[32];
    uint64_t bytes;
    char buf[8] = "";
    int fd = source("weights");

    // From its start, wherever it stands.
    assert_int_equal(lseek(fd, 3, SEEK_SET), 3);
    OK(store_blob_put_fd(store, fd, 100, hash, &bytes, &err));
    hash_bytes(expected, "weights", 7);
    assert_memory_equal(hash, expected, 32);
    assert_int_equal(bytes, 7);
    assert_true(store_blob_exists(store, hash, 7));
    assert_false(store_blob_exists(store, hash, 8));
    OK(store_blob_put_fd(store, fd, 100, hash, NULL, &err)); // again
    close(fd);
    fd = store_blob_open(store, hash, 7, &err);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, buf, 8), 7);
    assert_string_equal(buf, "weights");
    assert_int_equal(write(fd, "x", 1), -1);
    close(fd);
    assert_int_equal(store_blob_open(store, hash, 8, &err), -EUCLEAN);
    hash[0]++;
    assert_int_equal(store_blob_open(store, hash, 7, &err), -ENOENT);
}

static void refuses_what_is_too_large(void **state)
{
    uint8_t hash[32];
    uint32_t removed;
    int fd = source("weights");

    assert_int_equal(store_blob_put_fd(store, fd, 6, hash, NULL, &err), -E2BIG);
    assert_says("larger than 6 bytes");
    close(fd);
    OK(store_blob_sweep(store, &removed, &err));
    assert_int_equal(removed, 0);
}

static void path_of(char path[400], const uint8_t hash[32])
{
    char hex[HASH_HEX];

    hash_to_hex(hex, hash);
    (void) snprintf(path, 400, "%s/adapters/%s/adapter.gguf", dir, hex);
}

static void flip(const char *path, long at)
{
    FILE *f = fopen(path, "r+");

    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    const int c = fgetc(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    (void) fputc(c ^ 1, f);
    (void) fclose(f);
}

static void notices_changed_content(void **state)
{
    static const long places[] = {0, 8, 12, 16, 24, 63, 64, 70, 71, 86};
    uint8_t hash[32];
    char path[400];
    int fd = source("weights");

    OK(store_blob_put_fd(store, fd, 100, hash, NULL, &err));
    close(fd);
    path_of(path, hash);
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        flip(path, places[i]);
        assert_int_equal(store_blob_open(store, hash, 7, &err), -EUCLEAN);
        assert_says("damaged");
        flip(path, places[i]);
    }
    fd = store_blob_open(store, hash, 7, &err);
    assert_true(fd >= 0);
    close(fd);
}

// Of the same size, and whole: but another one.
static void notices_one_in_the_place_of_another(void **state)
{
    uint8_t one[32], two[32];
    char from[400], to[400];
    int fd = source("weights");

    OK(store_blob_put_fd(store, fd, 100, one, NULL, &err));
    close(fd);
    fd = source("WEIGHTS");
    OK(store_blob_put_fd(store, fd, 100, two, NULL, &err));
    close(fd);
    path_of(from, one);
    path_of(to, two);
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(store_blob_open(store, two, 7, &err), -EUCLEAN);
    assert_says("not what was sealed");
}

static void content_is_sealed_in_many_pieces(void **state)
{
    enum { BYTES = 3 * 65536 + 77 };
    static char content[BYTES + 1], back[BYTES];
    uint8_t hash[32];
    char path[400];
    uint64_t bytes;

    for (int i = 0; i < BYTES; i++)
        content[i] = (char) ('a' + i % 25);
    int fd = source(content);
    OK(store_blob_put_fd(store, fd, BYTES, hash, &bytes, &err));
    close(fd);
    (void) snprintf(path, sizeof(path), "%s/source", dir);
    (void) unlink(path);
    assert_int_equal(bytes, BYTES);
    assert_false(in_files("abcdefghijkl"));
    fd = store_blob_open(store, hash, BYTES, &err);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, back, BYTES), BYTES);
    assert_memory_equal(back, content, BYTES);
    close(fd);
    // Pieces change places.
    path_of(path, hash);
    static char file[BYTES + 200];
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    const size_t n = fread(file, 1, sizeof(file), f);
    assert_int_equal(n, 64 + BYTES + 4 * 16);
    rewind(f);
    (void) fwrite(file, 1, 64, f);
    (void) fwrite(file + 64 + 65552, 1, 65552, f);
    (void) fwrite(file + 64, 1, 65552, f);
    (void) fclose(f);
    assert_int_equal(store_blob_open(store, hash, BYTES, &err), -EUCLEAN);
    // Without its key it is nothing.
    char shred[] = "adapters/0123456789012345678901234567890123456789012345678"
                   "901234567890123";
    hash_to_hex(shred + 9, hash);
    OK(store_file_shred(store, shred, &err));
    assert_int_equal(store_blob_open(store, hash, BYTES, &err), -ENOKEY);
}

static void sweeps_what_nobody_keeps(void **state)
{
    uint8_t one[32], two[32];
    uint32_t removed;
    char path[400];
    int fd = source("one");

    OK(store_blob_put_fd(store, fd, 100, one, NULL, &err));
    close(fd);
    fd = source("two");
    OK(store_blob_put_fd(store, fd, 100, two, NULL, &err));
    close(fd);
    (void) snprintf(path, sizeof(path), "%s/adapters/incoming.1.2.tmp", dir);
    fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    close(fd);
    (void) snprintf(path, sizeof(path), "%s/adapters/not-a-hash", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    OK(blob_sweep(store, keep_first, one, &removed, &err));
    assert_int_equal(removed, 3);
    assert_true(store_blob_exists(store, one, 3));
    assert_false(store_blob_exists(store, two, 3));
    // Without rows, the next start takes the rest.
    reopen();
    assert_int_equal(report.orphans, 1);
}

static void survives_every_failing_call(void **state)
{
    int fd = source("weights");
    uint8_t hash[32];
    uint32_t removed;

    for (int kind = FAULT_WRITE; kind <= FAULT_READ; kind++) {
        for (unsigned long n = 1;; n++) {
            fault_arm((enum fault_kind) kind, n);
            int rc = store_blob_put_fd(store, fd, 100, hash, NULL, &err);
            bool fired = fault_fired((enum fault_kind) kind);
            fault_arm((enum fault_kind) kind, 0);
            assert_int_equal(rc, !fired                ? 0
                                 : kind == FAULT_WRITE ? -ENOSPC
                                                       : -EIO);
            if (!fired) {
                assert_true(n > 1);
                break;
            }
            // Nothing, or the whole file: never a part under its name.
            hash_bytes(hash, "weights", 7);
            int got = store_blob_open(store, hash, 7, &err);
            if (got >= 0)
                close(got);
            else
                assert_int_equal(got, -ENOENT);
            OK(store_blob_sweep(store, &removed, &err));
        }
    }
    close(fd);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(puts_and_opens_by_hash),
        TEST(refuses_what_is_too_large),
        TEST(notices_changed_content),
        TEST(sweeps_what_nobody_keeps),
        TEST(notices_one_in_the_place_of_another),
        TEST(content_is_sealed_in_many_pieces),
        TEST(survives_every_failing_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
