// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/fdpass.h"
#include "engine/base/mapfile.h"
#include "engine/base/memfile.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void a_sealed_file_can_be_mapped_and_not_written(void **state)
{
    const void *p;
    size_t bytes;
    int fd;

    assert_int_equal(memfile_from_bytes(&fd, "test", "hives", 5), 0);
    assert_int_equal(memfile_map(&p, &bytes, fd, 5, "the test", NULL), 0);
    assert_int_equal(bytes, 5);
    assert_memory_equal(p, "hives", 5);
    assert_int_equal(write(fd, "x", 1), -1);
    assert_int_equal(ftruncate(fd, 1), -1);
    memfile_unmap(p, bytes);
    (void) close(fd);
}

static void an_empty_file_maps_to_nothing(void **state)
{
    const void *p = "";
    size_t bytes = 1;
    int fd;

    assert_int_equal(memfile_from_bytes(&fd, "test", NULL, 0), 0);
    assert_int_equal(memfile_map(&p, &bytes, fd, 5, "the test", NULL), 0);
    assert_null(p);
    assert_int_equal(bytes, 0);
    memfile_unmap(p, bytes);
    (void) close(fd);
}

static void refuses_files_that_could_change(void **state)
{
    uint64_t bytes;
    struct error err;
    int fd;

    assert_int_equal(memfile_create(&fd, "test"), 0);
    assert_int_equal(file_write_all(fd, "abc", 3), 0);
    assert_int_equal(memfile_check(&bytes, fd, 9, "the test", &err), -EPROTO);
    assert_non_null(strstr(err.text, "not sealed"));
    // All seals but the one against writing.
    assert_int_equal(fcntl(fd, F_ADD_SEALS,
                           F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW),
                     0);
    assert_int_equal(memfile_check(&bytes, fd, 9, "the test", &err), -EPROTO);
    (void) close(fd);

    fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(memfile_check(&bytes, fd, 9, "the test", &err), -EPROTO);
    (void) close(fd);
}

static void refuses_files_over_the_limit(void **state)
{
    uint64_t bytes;
    struct error err;
    int fd;

    assert_int_equal(memfile_from_bytes(&fd, "test", "hives", 5), 0);
    assert_int_equal(memfile_check(&bytes, fd, 4, "the test", &err), -EPROTO);
    assert_string_equal(err.text, "the test: 5 bytes, but 4 is the most");
    (void) close(fd);
}

static void a_failed_write_leaves_nothing_behind(void **state)
{
    int fd = -7;

    fault_arm(FAULT_WRITE, 1);
    assert_int_equal(memfile_from_bytes(&fd, "test", "hives", 5), -ENOSPC);
    fault_arm(FAULT_WRITE, 0);
    assert_int_equal(fd, -7);
}

/*
 * Passing
 */

static int count_fds(void)
{
    int n = 0;

    for (int i = 0; i < 256; i++)
        n += fcntl(i, F_GETFD) >= 0;
    return n;
}

static void passes_bytes_and_descriptors(void **state)
{
    int s[2], fds[4], file;
    uint32_t n;
    size_t bytes;
    char buf[8];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s),
                     0);
    assert_int_equal(memfile_from_bytes(&file, "test", "hives", 5), 0);
    assert_int_equal(fdpass_send(s[0], "abc", 3, (int[]){file, file}, 2), 0);
    assert_int_equal(fdpass_recv(s[1], buf, sizeof(buf), &bytes, fds, 4, &n),
                     0);
    assert_int_equal(bytes, 3);
    assert_int_equal(n, 2);
    assert_true(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
    assert_int_equal(pread(fds[1], buf, 5, 0), 5);
    assert_memory_equal(buf, "hives", 5);
    fdpass_close(fds, n);
    assert_int_equal(fds[0], -1);
    (void) close(file);
    (void) close(s[0]);
    assert_int_equal(fdpass_recv(s[1], buf, sizeof(buf), &bytes, fds, 4, &n),
                     0);
    assert_int_equal(bytes, 0);
    (void) close(s[1]);
}

static void a_packet_cut_short_leaks_nothing(void **state)
{
    int s[2], fds[4], file;
    uint32_t n;
    size_t bytes;
    char buf[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s),
                     0);
    assert_int_equal(memfile_from_bytes(&file, "test", "hives", 5), 0);
    int before = count_fds();
    // Too many bytes, then too many descriptors.
    assert_int_equal(fdpass_send(s[0], "abc", 3, (int[]){file, file}, 2), 0);
    assert_int_equal(fdpass_recv(s[1], buf, sizeof(buf), &bytes, fds, 4, &n),
                     -EMSGSIZE);
    assert_int_equal(fdpass_send(s[0], "a", 1, (int[]){file, file}, 2), 0);
    assert_int_equal(fdpass_recv(s[1], buf, sizeof(buf), &bytes, fds, 1, &n),
                     -EMSGSIZE);
    assert_int_equal(count_fds(), before);
    (void) close(file);
    (void) close(s[0]);
    (void) close(s[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sealed_file_can_be_mapped_and_not_written),
        cmocka_unit_test(an_empty_file_maps_to_nothing),
        cmocka_unit_test(refuses_files_that_could_change),
        cmocka_unit_test(refuses_files_over_the_limit),
        cmocka_unit_test(a_failed_write_leaves_nothing_behind),
        cmocka_unit_test(passes_bytes_and_descriptors),
        cmocka_unit_test(a_packet_cut_short_leaks_nothing),
    };
    return cmocka_run_group_tests_name("worker/memfile", tests, NULL, NULL);
}
