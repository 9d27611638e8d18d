// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Writes a model file with random weights in the shape of a real one. Large:
 * 4b in q4_0 takes 2.3 GB.
 *
 * usage: make_shape NAME TYPE FILE    NAME: blocks32, qwen05b, 4b
 *                                     TYPE: f32, q8_0, q4_0
 */

#include "engine/base/error.h"
#include "tests/support/shapefile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int save(const char *name, const char *type_name, const char *path,
                struct error *err)
{
    const struct shapefile *shape = shapefile_find(name);
    int type = 0;

    while (type < DTYPE_COUNT && strcmp(dtype_infos[type].name, type_name) != 0)
        type++;
    if (!shape || type == DTYPE_COUNT)
        return error_set(err, -EINVAL, "there is no shape %s of %s", name,
                         type_name);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return error_set(err, -errno, "%s: %s", path, strerror(errno));
    int rc = shapefile_save(shape, (enum dtype) type, 1, fd, err);
    if (close(fd) < 0 && rc == 0)
        rc = error_set(err, -errno, "%s: %s", path, strerror(errno));
    if (rc < 0)
        (void) unlink(path);
    return rc;
}

int main(int argc, char **argv)
{
    struct error err = {0};

    if (argc != 4) {
        (void) fprintf(stderr, "usage: make_shape NAME TYPE FILE\n");
        return 2;
    }
    if (save(argv[1], argv[2], argv[3], &err) < 0) {
        (void) fprintf(stderr, "make_shape: %s\n", err.text);
        return 1;
    }
    return 0;
}
