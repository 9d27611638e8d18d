// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/fdpass.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
    struct cmsghdr align;
    char data[CMSG_SPACE(FDPASS_MAX * sizeof(int))];
};

int fdpass_send(int sock, const void *data, size_t bytes, const int *fds,
                uint32_t n_fds)
{
    union control c;
    struct iovec iov = {.iov_base = (void *) (uintptr_t) data,
                        .iov_len = bytes};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

    if (n_fds > FDPASS_MAX)
        return -EINVAL;
    if (n_fds > 0) {
        memset(&c, 0, sizeof(c));
        m.msg_control = c.data;
        m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(h), fds, n_fds * sizeof(int));
    }
    for (;;) {
        ssize_t n = sendmsg(sock, &m, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        return n < 0 ? -errno : 0;
    }
}

// Keeps the first `n_max` and closes the rest; returns how many there were.
static uint32_t collect(struct msghdr *m, int *fds, uint32_t n_max)
{
    uint32_t n = 0;

    for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(fd));
            if (n < n_max)
                fds[n] = fd;
            else
                (void) close(fd);
            n++;
        }
    }
    return n;
}

int fdpass_recv(int sock, void *data, size_t size, size_t *bytes, int *fds,
                uint32_t n_max, uint32_t *n_fds)
{
    union control c;
    struct iovec iov = {.iov_base = data, .iov_len = size};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = c.data,
                       .msg_controllen = sizeof(c.data)};
    ssize_t n;

    do {
        n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;

    uint32_t count = collect(&m, fds, n_max);
    if (count > n_max || (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
        fdpass_close(fds, count < n_max ? count : n_max);
        return -EMSGSIZE;
    }
    *bytes = (size_t) n;
    *n_fds = count;
    return 0;
}

void fdpass_close(int *fds, uint32_t n_fds)
{
    for (uint32_t i = 0; i < n_fds; i++) {
        if (fds[i] >= 0)
            (void) close(fds[i]);
        fds[i] = -1;
    }
}
