// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/worker/worker_crash.h"

#include "ipc/worker_proto.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct {
    uint8_t packet[1024];
    size_t bytes;
    int sock;
} prepared = {.sock = -1};

static atomic_flag is_told = ATOMIC_FLAG_INIT;

// Async-signal-safe calls only. Several threads of the engine may get here;
// the first one speaks for all.
static void on_sigbus(int signal_number)
{
    (void) signal_number;
    if (atomic_flag_test_and_set(&is_told))
        for (;;)
            (void) pause();
    while (prepared.bytes > 0) {
        ssize_t n =
            send(prepared.sock, prepared.packet, prepared.bytes, MSG_NOSIGNAL);
        if (n >= 0 || (errno != EAGAIN && errno != EINTR))
            break;
        struct pollfd p = {.fd = prepared.sock, .events = POLLOUT};
        (void) poll(&p, 1, 1000);
    }
    _exit(1);
}

void worker_crash_arm(int sock, uint64_t req)
{
    int fds[WORKER_FDS_MAX];
    uint32_t n_fds;
    struct worker_msg m;

    worker_msg_init(&m, WORKER_MSG_error);
    m.error.req = req;
    m.error.severity = WORKER_SEVERITY_PERMANENT;
    (void) snprintf(m.error.name, sizeof(m.error.name), "BAD_MODEL");
    (void) snprintf(m.error.msg, sizeof(m.error.msg),
                    "the model file cannot be read any more: it was truncated "
                    "or its disk failed while it was in use: restore the file "
                    "or add the model again");
    prepared.bytes = 0;
    prepared.sock = sock;
    if (worker_msg_encode(prepared.packet, sizeof(prepared.packet),
                          &prepared.bytes, fds, &n_fds, &m, NULL) < 0)
        prepared.bytes = 0;

    struct sigaction a = {.sa_handler = on_sigbus};
    (void) sigaction(SIGBUS, &a, NULL);
}
