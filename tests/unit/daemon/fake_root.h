// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * A directory that stands for /, for tests of what reads /sys and /proc.
 */

#include <ftw.h>
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

static char root[64];

static inline void make_parents(char *full)
{
    for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        (void) mkdir(full, 0700);
        *p = '/';
    }
}

static inline void put(const char *path, const char *text)
{
    char full[512];

    snprintf(full, sizeof(full), "%s/%s", root, path);
    make_parents(full);
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static inline void put_link(const char *path, const char *to)
{
    char full[512];

    snprintf(full, sizeof(full), "%s/%s", root, path);
    make_parents(full);
    assert_int_equal(symlink(to, full), 0);
}

static inline int make_root(void **state)
{
    strcpy(root, "/tmp/pock-sysfs-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static inline int unlink_one(const char *path, const struct stat *st, int flag,
                             struct FTW *ftw)
{
    return remove(path);
}

static inline int remove_root(void **state)
{
    return nftw(root, unlink_one, 16, FTW_DEPTH | FTW_PHYS);
}
