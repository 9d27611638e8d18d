// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int copy_out(struct ctl *c, int fd)
{
    char buffer[65536];
    ssize_t n;

    if (lseek(fd, 0, SEEK_SET) < 0)
        return ctl_fail_errno(c, -errno, "cannot read the answer");
    while ((n = read(fd, buffer, sizeof(buffer))) > 0)
        if (fwrite(buffer, 1, (size_t) n, stdout) != (size_t) n)
            break; // ctl_finish() tells it
    return n < 0 ? ctl_fail_errno(c, -errno, "cannot read the answer") : CTL_OK;
}

int ctl_output_open(struct ctl *c, const char *path, struct ctl_output *o)
{
    *o = (struct ctl_output){.path = path, .fd = -1};
    if (strcmp(path, "-") == 0) {
        // The daemon writes into files, and a terminal is none.
        o->fd = memfd_create("pockctl", MFD_CLOEXEC);
    } else {
        if (asprintf(&o->partial, "%s.part", path) < 0)
            return ctl_no_memory(c);
        o->fd = open(o->partial, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    }
    if (o->fd >= 0)
        return CTL_OK;
    int rc = -errno;
    free(o->partial);
    o->partial = NULL;
    return ctl_fail(c, CTL_FAILED, "cannot write %s: %s", path, strerror(-rc));
}

// Half a file never gets the name of a whole one.
int ctl_output_close(struct ctl *c, struct ctl_output *o, int status)
{
    if (o->partial && status == CTL_OK &&
        (fsync(o->fd) < 0 || rename(o->partial, o->path) < 0))
        status = ctl_fail(c, CTL_FAILED, "cannot write %s: %s", o->path,
                          strerror(errno));
    else if (!o->partial && status == CTL_OK)
        status = copy_out(c, o->fd);
    if (o->partial && status != CTL_OK)
        (void) unlink(o->partial);
    if (o->fd >= 0)
        close(o->fd);
    free(o->partial);
    return status;
}
