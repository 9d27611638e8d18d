// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Writes a model file with random weights in the shape of a real one. Large:
 * 4b in q4_0 takes 2.3 GB.
 *
 * usage: make_shape NAME TYPE FILE    NAME: mixed, stories15m, llama29m,
 *                                     blocks32, smollm135m, qwen05b,
 *                                     qwen3_06b, llama1b, llama7b,
 *                                     4b
 *                                     TYPE: any of dtypes.def, or q4_k_m
 */

#include "engine/base/error.h"
#include "tests/support/shapefile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int save(const char *name, const char *types, const char *path,
                struct error *err)
{
    const struct shapefile *shape = shapefile_find(name);

    if (!shape)
        return error_set(err, -EINVAL,
                         "there is no shape %s: see tests/support/shapefile.c",
                         name);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return error_set(err, -errno, "%s: %s", path, strerror(errno));
    int rc = shapefile_save(shape, types, 1, fd, err);
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
