// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * A store that is made once, and copied for each death that it then dies
 */

#include "../unit/storage/fixture.h"

#include "fault_vfs.h"

#include <sys/wait.h>

static char old_dir[256];

// A copy of its own for what comes next, in `dir`.
static inline void copy_old(void)
{
    char command[700];

    make_dir();
    (void) snprintf(command, sizeof(command), "cp -r '%s/.' '%s'", old_dir,
                    dir);
    assert_int_equal(system(command), 0);
}

static inline int open_fault_store(void)
{
    const struct store_params p = {.dir = dir, .now_ms = NOW, .vfs = "fault"};

    return store_open(&store, &p, &report, &err);
}

// In a process of its own, which must be killed or end well. True when it was
// killed.
static inline bool dies(int (*act)(unsigned write, unsigned step),
                        unsigned write, unsigned step)
{
    int status;
    const pid_t child = fork();

    if (child == 0)
        _exit(act(write, step) < 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status))
        assert_int_equal(WEXITSTATUS(status), 0);
    return WIFSIGNALED(status);
}

// make() leaves its store, closed, in `dir`.
#define run_with_old(make, tests)                      \
    (fault_vfs_register() != 0                         \
         ? 1                                           \
         : (make(), memcpy(old_dir, dir, sizeof(dir)), \
            remove_old(cmocka_run_group_tests(tests, NULL, NULL))))

static inline int remove_old(int rc)
{
    memcpy(dir, old_dir, sizeof(dir));
    remove_dir();
    return rc;
}
