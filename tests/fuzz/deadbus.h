// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * A bus that nobody reads nor writes: messages need one to belong to.
 */

#include <stdlib.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>

static inline sd_bus *deadbus(void)
{
    sd_bus *bus;
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0 ||
        sd_bus_new(&bus) < 0 || sd_bus_set_fd(bus, fds[0], fds[0]) < 0 ||
        sd_bus_start(bus) < 0)
        abort();
    return bus;
}
