// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/times_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/dbthread.h"
#include "daemon/fdio.h"
#include "daemon/pockd.h"

static const char NAME[] = "kernel.times";

// Far more than a table has; a worker says what is wrong with one that is as
// long as this.
enum { TIMES_BYTES_MAX = 4 << 20 };

static void path_of(char *out, size_t size, const struct paths *p)
{
    snprintf(out, size, "%s/%s", p->state, NAME);
}

int times_file_open(const struct paths *p)
{
    char path[PATHS_BYTES + sizeof(NAME)];
    char *data = NULL;
    size_t bytes = 0;
    int sealed = -1;

    path_of(path, sizeof(path), p);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return -1;
    if (fdio_read_all(&data, &bytes, fd, TIMES_BYTES_MAX, NULL) == 0)
        sealed = fdio_seal("kernel-times", data, bytes);
    free(data);
    (void) close(fd);
    return sealed < 0 ? -1 : sealed;
}

int times_file_save(const struct paths *p, int from, struct error *err)
{
    return fdio_save(p->state, NAME, from, TIMES_BYTES_MAX, err);
}

int times_file_drop(const struct paths *p)
{
    char path[PATHS_BYTES + sizeof(NAME)];

    path_of(path, sizeof(path), p);
    return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

static int run_drop(struct store *s, void *arg, struct error *err)
{
    const struct pockd *p = arg;

    return times_file_drop(&p->paths);
}

void times_file_drop_soon(struct pockd *p)
{
    (void) dbthread_submit_own(p->dbthread, DBTHREAD_ALONE, run_drop, NULL, p);
}
