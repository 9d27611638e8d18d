// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/sdnotify.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    LISTEN_FDS_START = 3,
    LISTEN_FDS_MAX = 64,
};

void sdnotify_send(const char *state)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");

    if (!path || (path[0] != '/' && path[0] != '@') ||
        strlen(path) >= sizeof(addr.sun_path))
        return;
    memcpy(addr.sun_path, path, strlen(path));
    socklen_t len =
        (socklen_t) (offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (path[0] == '@')
        addr.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    // Nobody to tell if this fails.
    (void) !sendto(fd, state, strlen(state), MSG_NOSIGNAL,
                   (struct sockaddr *) &addr, len);
    (void) close(fd);
}

uint64_t sdnotify_watchdog_ms(void)
{
    const char *usec = getenv("WATCHDOG_USEC");
    const char *pid = getenv("WATCHDOG_PID");

    // Children see the variables too, and must not ping for their parent.
    if (!usec || !pid || strtol(pid, NULL, 10) != (long) getpid())
        return 0;
    return strtoull(usec, NULL, 10) / 2000;
}

// Is the `n`-th of the names "a:b:c" this one?
static int name_is(const char *names, int n, const char *name)
{
    for (; names && n > 0; n--) {
        names = strchr(names, ':');
        names = names ? names + 1 : NULL;
    }
    if (!names)
        return 0;
    size_t len = strcspn(names, ":");
    return len == strlen(name) && memcmp(names, name, len) == 0;
}

int sdnotify_listen_fd(const char *name)
{
    const char *pid = getenv("LISTEN_PID");
    const char *fds = getenv("LISTEN_FDS");
    const char *names = getenv("LISTEN_FDNAMES");
    int found = -1;

    if (!pid || !fds || strtol(pid, NULL, 10) != (long) getpid())
        return -1;
    long count = strtol(fds, NULL, 10);
    for (int i = 0; i < count && i < LISTEN_FDS_MAX; i++) {
        int fd = LISTEN_FDS_START + i;
        (void) fcntl(fd, F_SETFD, FD_CLOEXEC);
        if (found < 0 && (count == 1 || name_is(names, i, name)))
            found = fd;
    }
    if (found >= 0)
        (void) fcntl(found, F_SETFL, fcntl(found, F_GETFL) | O_NONBLOCK);
    (void) unsetenv("LISTEN_PID");
    (void) unsetenv("LISTEN_FDS");
    (void) unsetenv("LISTEN_FDNAMES");
    return found;
}
