// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/blob.h"

#include "fixture.h"

#include <errno.h>
#include <sys/stat.h>

#include "engine/base/fault.h"

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
    int dirfd = store_adapters_dirfd(store);
    int fd = source("weights");

    // From its start, wherever it stands.
    assert_int_equal(lseek(fd, 3, SEEK_SET), 3);
    OK(blob_put_fd(dirfd, fd, 100, hash, &bytes, &err));
    hash_bytes(expected, "weights", 7);
    assert_memory_equal(hash, expected, 32);
    assert_int_equal(bytes, 7);
    assert_true(blob_exists(dirfd, hash, 7));
    assert_false(blob_exists(dirfd, hash, 8));
    OK(blob_put_fd(dirfd, fd, 100, hash, NULL, &err)); // again
    close(fd);
    fd = blob_open(dirfd, hash, 7, &err);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, buf, 8), 7);
    assert_string_equal(buf, "weights");
    assert_int_equal(write(fd, "x", 1), -1);
    close(fd);
    assert_int_equal(blob_open(dirfd, hash, 8, &err), -EUCLEAN);
    hash[0]++;
    assert_int_equal(blob_open(dirfd, hash, 7, &err), -ENOENT);
}

static void refuses_what_is_too_large(void **state)
{
    uint8_t hash[32];
    uint32_t removed;
    int fd = source("weights");

    assert_int_equal(blob_put_fd(store_adapters_dirfd(store), fd, 6, hash, NULL,
                                 &err),
                     -E2BIG);
    assert_says("larger than 6 bytes");
    close(fd);
    OK(store_blob_sweep(store, &removed, &err));
    assert_int_equal(removed, 0);
}

static void notices_changed_content(void **state)
{
    uint8_t hash[32];
    char hex[HASH_HEX], path[400];
    int dirfd = store_adapters_dirfd(store);
    int fd = source("weights");

    OK(blob_put_fd(dirfd, fd, 100, hash, NULL, &err));
    close(fd);
    hash_to_hex(hex, hash);
    (void) snprintf(path, sizeof(path), "%s/adapters/%s/adapter.gguf", dir,
                    hex);
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    (void) fputc('W', f);
    (void) fclose(f);
    assert_int_equal(blob_open(dirfd, hash, 7, &err), -EUCLEAN);
    assert_says("another hash");
}

static void sweeps_what_nobody_keeps(void **state)
{
    uint8_t one[32], two[32];
    uint32_t removed;
    char path[400];
    int dirfd = store_adapters_dirfd(store);
    int fd = source("one");

    OK(blob_put_fd(dirfd, fd, 100, one, NULL, &err));
    close(fd);
    fd = source("two");
    OK(blob_put_fd(dirfd, fd, 100, two, NULL, &err));
    close(fd);
    (void) snprintf(path, sizeof(path), "%s/adapters/incoming.1.2.tmp", dir);
    fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    close(fd);
    (void) snprintf(path, sizeof(path), "%s/adapters/not-a-hash", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    OK(blob_sweep(dirfd, keep_first, one, &removed, &err));
    assert_int_equal(removed, 3);
    assert_true(blob_exists(dirfd, one, 3));
    assert_false(blob_exists(dirfd, two, 3));
    // Without rows, the next start takes the rest.
    reopen();
    assert_int_equal(report.orphans, 1);
}

static void survives_every_failing_call(void **state)
{
    int dirfd = store_adapters_dirfd(store);
    int fd = source("weights");
    uint8_t hash[32];
    uint32_t removed;

    for (int kind = FAULT_WRITE; kind <= FAULT_READ; kind++) {
        for (unsigned long n = 1;; n++) {
            fault_arm((enum fault_kind) kind, n);
            int rc = blob_put_fd(dirfd, fd, 100, hash, NULL, &err);
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
            int got = blob_open(dirfd, hash, 7, &err);
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
        TEST(puts_and_opens_by_hash),      TEST(refuses_what_is_too_large),
        TEST(notices_changed_content),     TEST(sweeps_what_nobody_keeps),
        TEST(survives_every_failing_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
