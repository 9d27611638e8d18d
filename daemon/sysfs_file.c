// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/sysfs_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEVICES_MAX = 64 }; // of one class; more are not looked at

bool sysfs_read_text(char *out, size_t size, const char *dir, const char *name)
{
    char path[SYSFS_PATH_BYTES];
    int n = snprintf(path, sizeof(path), "%s/%s", dir, name);

    if (n < 0 || (size_t) n >= sizeof(path))
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    ssize_t got = read(fd, out, size - 1);
    (void) close(fd);
    if (got <= 0)
        return false;
    out[got] = '\0';
    out[strcspn(out, "\n")] = '\0';
    return out[0] != '\0';
}

bool sysfs_read_number(double *out, const char *dir, const char *name)
{
    char text[SYSFS_TEXT_BYTES];
    char *end;

    if (!sysfs_read_text(text, sizeof(text), dir, name))
        return false;
    double v = strtod(text, &end);
    if (end == text || !isfinite(v))
        return false;
    *out = v;
    return true;
}

bool sysfs_is_text(const char *dir, const char *name, const char *want)
{
    char text[SYSFS_TEXT_BYTES];

    return sysfs_read_text(text, sizeof(text), dir, name) &&
           strcasecmp(text, want) == 0;
}

void sysfs_each(const char *root, const char *sub, const char *prefix,
                sysfs_device_fn fn, void *to)
{
    char base[SYSFS_PATH_BYTES / 2];
    char path[SYSFS_PATH_BYTES];
    int count = 0;

    snprintf(base, sizeof(base), "%s/%s", root, sub);
    DIR *d = opendir(base);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d)) && count < DEVICES_MAX;) {
        if (e->d_name[0] == '.' ||
            strncmp(e->d_name, prefix, strlen(prefix)) != 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", base, e->d_name);
        fn(to, path, e->d_name);
        count++;
    }
    (void) closedir(d);
}
