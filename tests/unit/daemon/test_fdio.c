// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "../storage/fixture.h"

#include "daemon/fdio.h"
#include "engine/base/fault.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>

static int from;
static int to;

static int fdio_setup(void **state)
{
    char path[300];

    make_dir();
    (void) snprintf(path, sizeof(path), "%s/from", dir);
    from = open(path, O_RDWR | O_CREAT, 0600);
    (void) snprintf(path, sizeof(path), "%s/to", dir);
    to = open(path, O_RDWR | O_CREAT, 0600);
    return from < 0 || to < 0;
}

static int fdio_teardown(void **state)
{
    fault_arm(FAULT_WRITE, 0);
    (void) close(from);
    (void) close(to);
    remove_dir();
    return 0;
}

static void assert_not_writable(int fd, const char *words)
{
    assert_int_equal(fdio_check_writable(fd, &err), -EINVAL);
    assert_says(words);
}

static void assert_not_readable(int fd, int rc, const char *words)
{
    assert_int_equal(fdio_check_readable(fd, 4, &err), rc);
    assert_says(words);
}

static void what_cannot_be_used_is_named(void **state)
{
    int pipes[2];
    char path[300];

    assert_int_equal(pipe(pipes), 0);
    (void) snprintf(path, sizeof(path), "%s/from", dir);
    const int s = socket(AF_UNIX, SOCK_STREAM, 0);
    const int read_only = open(path, O_RDONLY);
    const int write_only = open(path, O_WRONLY);
    const int no_file = open(path, O_PATH);
    assert_true(s >= 0 && read_only >= 0 && write_only >= 0 && no_file >= 0);

    assert_not_writable(-1, "cannot be used");
    assert_not_writable(s, "a regular file or a pipe");
    assert_not_writable(read_only, "open for writing");
    assert_not_writable(pipes[0], "open for writing");
    assert_not_writable(no_file, "open for writing");
    OK(fdio_check_writable(pipes[1], &err));
    OK(fdio_check_writable(from, &err));

    assert_not_readable(-1, -EINVAL, "cannot be used");
    assert_not_readable(pipes[0], -EINVAL, "must be a regular file");
    assert_not_readable(write_only, -EINVAL, "open for reading");
    assert_not_readable(no_file, -EINVAL, "open for reading");
    assert_not_readable(from, -EINVAL, "is empty");
    assert_int_equal(write(from, "honey", 5), 5);
    assert_not_readable(from, -E2BIG, "has 5 bytes, but at most 4");
    OK(fdio_check_readable(from, 5, &err));
    (void) close(s);
    (void) close(read_only);
    (void) close(write_only);
    (void) close(no_file);
    (void) close(pipes[0]);
    (void) close(pipes[1]);
}

static void a_full_disk_is_an_error_at_once(void **state)
{
    const int full = open("/dev/full", O_RDWR);

    if (full < 0)
        skip();
    assert_int_equal(fdio_write(full, "honey", 5, &err), -ENOSPC);
    assert_says("cannot write: No space left");
    assert_int_equal(write(from, "honey", 5), 5);
    assert_int_equal(fdio_copy(full, from, NULL, &err), -ENOSPC);
    (void) close(full);
}

static void who_reads_nothing_is_not_waited_for(void **state)
{
    static char much[256 << 10];
    int pipes[2];

    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(fdio_write(pipes[1], much, sizeof(much), &err),
                     -ETIMEDOUT);
    assert_says("the other end does not read");
    (void) close(pipes[0]);
    (void) close(pipes[1]);
}

static int clone(bool is_stopped, uint64_t bytes)
{
    atomic_ullong done = 0;
    atomic_bool stop = is_stopped;
    bool is_clone;

    (void) !ftruncate(to, 0);
    (void) lseek(to, 0, SEEK_SET);
    return fdio_clone(to, from, bytes, &done, &stop, &is_clone, &err);
}

static void assert_same(const char *text)
{
    char got[64] = "";

    assert_int_equal(pread(to, got, sizeof(got) - 1, 0), strlen(text));
    assert_string_equal(got, text);
}

static void copies_are_whole_or_told_of(void **state)
{
    assert_int_equal(write(from, "honey", 5), 5);
    OK(clone(false, 5));
    assert_same("honey");
    assert_int_equal(clone(false, 9), -EIO);
    assert_says("became shorter");
    assert_int_equal(clone(true, 5), -ECANCELED);
    assert_says("cancelled");
    // What the kernel refuses is done by hand; what the disk refuses is told.
    unsigned failures = 0;
    for (unsigned n = 1;; n++) {
        fault_arm(FAULT_WRITE, n);
        const int rc = clone(false, 5);
        const bool fired = fault_fired(FAULT_WRITE);
        fault_arm(FAULT_WRITE, 0);
        if (rc == 0)
            assert_same("honey");
        else
            assert_says("cop");
        failures += rc < 0;
        if (!fired)
            break;
    }
    assert_true(failures >= 1);
}

static void where_the_kernel_does_not_copy_pockd_does(void **state)
{
    char got[16] = "";
    int pipes[2];
    const int kept = to;

    assert_int_equal(write(from, "honey", 5), 5);
    assert_int_equal(pipe(pipes), 0);
    to = pipes[1];
    // It is all there; a pipe alone cannot be synced.
    assert_int_equal(clone(false, 5), -EINVAL);
    assert_says("cannot write the copy");
    assert_int_equal(read(pipes[0], got, sizeof(got)), 5);
    assert_string_equal(got, "honey");
    (void) close(pipes[0]);
    (void) close(pipes[1]);
    to = open("/dev/full", O_WRONLY);
    if (to >= 0)
        assert_int_equal(clone(false, 5), -ENOSPC);
    (void) close(to);
    to = kept;
}

static void files_are_read_whole(void **state)
{
    char *data = NULL;
    size_t bytes = 0;

    assert_int_equal(write(from, "honey", 5), 5);
    OK(fdio_read_all(&data, &bytes, from, 5, &err));
    assert_int_equal(bytes, 5);
    assert_string_equal(data, "honey");
    free(data);
    assert_int_equal(fdio_read_all(&data, &bytes, from, 4, &err), -E2BIG);
    assert_says("larger than 4 bytes");
    assert_int_equal(fdio_read_all(&data, &bytes, -1, 4, &err), -EIO);
}

static int count_files(void)
{
    char command[400], line[16] = "";

    (void) snprintf(command, sizeof(command), "ls -A '%s' | wc -l", dir);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof(line), f));
    (void) pclose(f);
    return atoi(line);
}

// What fails leaves the file that was there, and nothing beside it.
static void saving_is_all_or_nothing(void **state)
{
    char path[300], got[16] = "";

    assert_int_equal(write(from, "honey", 5), 5);
    OK(fdio_save(dir, "kept", from, 100, &err));
    assert_int_equal(pwrite(from, "waxen", 5, 0), 5);
    const int before = count_files();
    unsigned n = 1;
    for (;; n++) {
        fault_arm(FAULT_WRITE, n);
        const int rc = fdio_save(dir, "kept", from, 100, &err);
        const bool fired = fault_fired(FAULT_WRITE);
        fault_arm(FAULT_WRITE, 0);
        assert_int_equal(count_files(), before);
        if (!fired) {
            OK(rc);
            break;
        }
        assert_true(rc < 0);
        assert_says("cannot write");
    }
    assert_true(n > 2);
    (void) snprintf(path, sizeof(path), "%s/kept", dir);
    const int fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, got, sizeof(got)), 5);
    (void) close(fd);
    assert_string_equal(got, "waxen");
    assert_int_equal(fdio_save("/nonexistent", "kept", from, 100, &err),
                     -ENOENT);
    assert_says("cannot write /nonexistent/.kept.tmp");
    assert_int_equal(fdio_save(dir, "kept", from, 4, &err), -E2BIG);
}

static void a_seal_keeps_its_bytes(void **state)
{
    char got[16] = "";
    const int fd = fdio_seal("test", "honey", 5);

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, got, sizeof(got), 0), 5);
    assert_string_equal(got, "honey");
    assert_true(pwrite(fd, "w", 1, 0) < 0);
    assert_true(ftruncate(fd, 1) < 0);
    (void) close(fd);
    fault_arm(FAULT_WRITE, 1);
    assert_true(fdio_seal("test", "honey", 5) < 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fdio_setup, fdio_teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_cannot_be_used_is_named),
        TEST(a_full_disk_is_an_error_at_once),
        TEST(who_reads_nothing_is_not_waited_for),
        TEST(copies_are_whole_or_told_of),
        TEST(where_the_kernel_does_not_copy_pockd_does),
        TEST(files_are_read_whole),
        TEST(saving_is_all_or_nothing),
        TEST(a_seal_keeps_its_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
