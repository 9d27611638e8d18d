// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Writes the tiny model of the tests to the path on the command line.
 */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/support/tinyfile.h"

int main(int argc, char **argv)
{
    char buf[4096];
    ssize_t n;
    FILE *f = argc == 2 ? fopen(argv[1], "wb") : NULL;
    int fd = tinyfile_create(1);

    if (!f || lseek(fd, 0, SEEK_SET) < 0)
        return 1;
    while ((n = read(fd, buf, sizeof(buf))) > 0)
        if (fwrite(buf, 1, (size_t) n, f) != (size_t) n)
            return 1;
    return fclose(f) == 0 ? 0 : 1;
}
