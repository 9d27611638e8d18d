// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Small files of the kernel
 *
 * One line, one number, or each device of a class. A file that is missing,
 * empty or nonsense is the same as no file.
 */

#include <stdbool.h>
#include <stddef.h>

enum {
    SYSFS_TEXT_BYTES = 128,
    SYSFS_PATH_BYTES = 1280,
};

// First line of dir/name, without the line end. False when there is none.
bool sysfs_read_text(char *out, size_t size, const char *dir, const char *name);
// Finite, and followed by nothing but a unit that nobody looks at.
bool sysfs_read_number(double *out, const char *dir, const char *name);
// The line is `want`, whatever its case.
bool sysfs_is_text(const char *dir, const char *name, const char *want);

typedef void (*sysfs_device_fn)(void *to, const char *dir, const char *name);

// fn for each entry of root/sub whose name begins with `prefix`: at most 64.
void sysfs_each(const char *root, const char *sub, const char *prefix,
                sysfs_device_fn fn, void *to);
