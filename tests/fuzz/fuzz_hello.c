// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Any bytes as the first ones of a connection, to a whole pockd. It answers or
 * hangs up in time, and others are served meanwhile and afterwards.
 */

#include "live.h"

#include <poll.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const int fd = live_connect();
    struct pollfd p = {.fd = fd}; // POLLHUP

    live_send(fd, data, size);
    // Now and then nothing more comes, until the time for hello is over.
    if (size % 8 == 0)
        (void) poll(&p, 1, 40);
    (void) shutdown(fd, SHUT_WR);
    live_wait(fd, 0xff);
    (void) close(fd);
    live_check();
    return 0;
}
