// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Any bytes from a client that has said hello, to a whole pockd: its methods
 * with parameters that nobody would send. The connection is answered or closed
 * in time, and others are served.
 */

#include "live.h"

#include <stdint.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const int fd = live_connect();

    if (live_hello(fd)) {
        live_send(fd, data, size);
        live_ping(fd);
    }
    (void) close(fd);
    live_check();
    return 0;
}
