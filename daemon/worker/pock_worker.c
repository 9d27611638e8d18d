// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * pock-worker: the process that computes. Started by pockd with a socket as
 * descriptor 3 (--fd=3), or by a socket unit with the socket as descriptor 0.
 */

#include "daemon/worker/worker_control.h"
#include "daemon/worker/worker_limits.h"
#include "daemon/worker/worker_serve.h"
#include "daemon/worker/worker_tool.h"
#include "daemon/worker/worker_train.h"
#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/fdpass.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_VERSION = 3,
};

static int usage(FILE *out, int status)
{
    (void) fputs("usage: pock-worker [--fd=N]\n"
                 "Computes for pockd, which starts it. N is the descriptor of "
                 "its socket (0).\n",
                 out);
    return status;
}

// 0, or -1 when the arguments are wrong. *fd is -1 when there is nothing to do.
static int parse(int *fd, int argc, char **argv)
{
    char *end = NULL;

    *fd = 0;
    if (argc > 2)
        return -1;
    if (argc == 1)
        return 0;
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "--version") == 0) {
        *fd = -1;
        return 0;
    }
    if (strncmp(argv[1], "--fd=", 5) != 0)
        return -1;
    long n = strtol(argv[1] + 5, &end, 10);
    if (end == argv[1] + 5 || *end || n < 0 || n > 1023)
        return -1;
    *fd = (int) n;
    return 0;
}

// The first packet, before there is a control thread. False: no hello came.
static int receive_hello(struct worker_hello *out, int fd)
{
    uint8_t buf[WORKER_PACKET_MAX];
    int fds[WORKER_FDS_MAX];
    struct worker_msg m;
    uint32_t n_fds = 0;
    size_t bytes = 0;

    int rc =
        fdpass_recv(fd, buf, sizeof(buf), &bytes, fds, WORKER_FDS_MAX, &n_fds);
    if (rc < 0 || bytes == 0)
        return rc < 0 ? rc : -EPIPE;
    rc =
        worker_msg_decode(&m, buf, bytes, fds, n_fds, WORKER_SIDE_DAEMON, NULL);
    if (rc < 0) {
        fdpass_close(fds, n_fds);
        return rc;
    }
    if (m.type != WORKER_MSG_hello) {
        worker_msg_finish(&m);
        return -EPROTO;
    }
    *out = m.hello;
    return 0;
}

static int answer_hello(int fd, const struct worker_hello *theirs)
{
    uint8_t buf[WORKER_PACKET_MAX];
    int fds[WORKER_FDS_MAX];
    struct worker_msg m;
    uint32_t n_fds;
    size_t bytes;

    worker_msg_init(&m, WORKER_MSG_hello);
    m.hello.proto = WORKER_PROTO;
    (void) snprintf(m.hello.version, sizeof(m.hello.version), "%s",
                    POCK_VERSION);
    m.hello.kind = theirs->kind;
    m.hello.pid = (uint32_t) getpid();
    m.hello.threads = theirs->threads;
    m.hello.idle_exit_s = theirs->idle_exit_s;
    m.hello.is_urgent = theirs->is_urgent;
    int rc = worker_msg_encode(buf, sizeof(buf), &bytes, fds, &n_fds, &m, NULL);
    return rc < 0 ? rc : fdpass_send(fd, buf, bytes, NULL, 0);
}

static int run_kind(struct worker_control *c, const struct worker_hello *hello)
{
    switch ((enum worker_kind) hello->kind) {
    case WORKER_KIND_TRAIN:
        return worker_train_run(c, hello);
    case WORKER_KIND_SERVE:
        return worker_serve_run(c, hello);
    case WORKER_KIND_TOOL:
        return worker_tool_run(c, hello);
    }
    return EXIT_FAILED;
}

int main(int argc, char **argv)
{
    struct worker_control *control = NULL;
    struct worker_hello hello;
    struct error err;
    struct stat st;
    int fd;

    if (parse(&fd, argc, argv) < 0)
        return usage(stderr, EXIT_USAGE);
    if (fd < 0) {
        (void) puts("pock-worker " POCK_VERSION);
        return usage(stdout, 0);
    }
    if (fstat(fd, &st) < 0 || !S_ISSOCK(st.st_mode)) {
        (void) fprintf(stderr,
                       "pock-worker: descriptor %d is not a socket: "
                       "this program is started by pockd\n",
                       fd);
        return EXIT_USAGE;
    }
    (void) fcntl(fd, F_SETFD, FD_CLOEXEC);
    if (receive_hello(&hello, fd) < 0)
        return EXIT_FAILED;
    if (answer_hello(fd, &hello) < 0)
        return EXIT_FAILED;
    if (hello.proto != WORKER_PROTO)
        return EXIT_VERSION;
    fault_arm_from_env();
    worker_limits_begin(fd > 0);

    // The control thread first: it keeps the ordinary scheduling class, so
    // that a stop is seen at once on a busy machine.
    if (worker_control_start(&control, fd, &err) < 0) {
        (void) fprintf(stderr, "pock-worker: %s\n", err.text);
        return EXIT_FAILED;
    }
    worker_limits_apply(hello.kind == WORKER_KIND_TRAIN && !hello.is_urgent);
    int status = run_kind(control, &hello);
    worker_control_destroy(control);
    return status;
}
