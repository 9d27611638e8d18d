// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/mapfile.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];
static int dirfd_;

static int make_dir(void **state)
{
    (void) snprintf(dir, sizeof(dir), "/tmp/pock-mapfile-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    dirfd_ = open(dir, O_RDONLY | O_DIRECTORY);
    return dirfd_ < 0 ? -1 : 0;
}

static int count_files(void)
{
    DIR *d = opendir(dir);
    int n = 0;
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static int drop_dir(void **state)
{
    (void) unlinkat(dirfd_, "file", 0);
    (void) unlinkat(dirfd_, "fifo", 0);
    close(dirfd_);
    return rmdir(dir);
}

static void assert_content(const char *want)
{
    char path[100];
    struct mapfile m;
    struct error err;
    (void) snprintf(path, sizeof(path), "%s/file", dir);
    assert_int_equal(mapfile_load(&m, path, &err), 0);
    assert_int_equal(m.bytes, strlen(want));
    if (m.bytes > 0)
        assert_memory_equal(m.data, want, m.bytes);
    mapfile_finish(&m);
    assert_null(m.data);
}

static void writes_then_maps(void **state)
{
    assert_int_equal(file_write_atomic(dirfd_, "file", "first", 5), 0);
    assert_content("first");
    assert_int_equal(file_write_atomic(dirfd_, "file", "second", 6), 0);
    assert_content("second");
    assert_int_equal(file_write_atomic(dirfd_, "file", "", 0), 0);
    assert_content("");
    char path[100];
    (void) snprintf(path, sizeof(path), "%s/file", dir);
    assert_int_equal(file_write_atomic(AT_FDCWD, path, "abs", 3), 0);
    assert_content("abs");
    assert_int_equal(count_files(), 1);
}

static void keeps_the_old_file_when_a_write_fails(void **state)
{
    assert_int_equal(file_write_atomic(dirfd_, "file", "old", 3), 0);
    for (unsigned long n = 1;; n++) {
        fault_arm(FAULT_WRITE, n);
        int rc = file_write_atomic(dirfd_, "file", "new", 3);
        bool fired = fault_fired(FAULT_WRITE);
        fault_arm(FAULT_WRITE, 0);
        if (!fired) {
            assert_int_equal(rc, 0);
            break;
        }
        assert_int_equal(rc, -ENOSPC);
        assert_int_equal(count_files(), 1);
        // The fifth and last is the directory's fsync: the new file is
        // complete, but may not survive a power loss.
        assert_content(n < 5 ? "old" : "new");
    }
    assert_content("new");
}

static void names_what_cannot_be_mapped(void **state)
{
    struct mapfile m = {0};
    struct error err;
    char path[100];

    assert_int_equal(mapfile_load(&m, "/nonexistent/x", &err), -ENOENT);
    assert_non_null(strstr(err.text, "/nonexistent/x"));
    assert_int_equal(mapfile_load(&m, dir, &err), -EISDIR);
    (void) snprintf(path, sizeof(path), "%s/fifo", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(mapfile_load(&m, path, &err), -EINVAL);
    assert_non_null(strstr(err.text, "not a regular file"));
    assert_int_equal(mapfile_load_fd(&m, -1, &err), -EBADF);
    assert_null(m.data);
    assert_int_equal(file_write_atomic(dirfd_, "", "x", 1), -ENAMETOOLONG);
    assert_int_equal(file_write_atomic(dirfd_, "no/such", "x", 1), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(writes_then_maps, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(keeps_the_old_file_when_a_write_fails,
                                        make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(names_what_cannot_be_mapped, make_dir,
                                        drop_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
