// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/agent/agent.h"
#include "engine/base/peer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    BACKLOG = 16,
    ACCEPTS_A_TURN = 16,
};

static int make_dir(const char *path)
{
    char dir[AGENT_PATH_SIZE];

    (void) snprintf(dir, sizeof(dir), "%s", path);
    char *slash = strrchr(dir, '/');
    if (!slash)
        return -EINVAL;
    *slash = '\0';
    return mkdir(dir, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

// Somebody answers there: a daemon of the user's own, which needs no door.
static bool is_taken(const struct sockaddr_un *at)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool taken =
        fd >= 0 && connect(fd, (const struct sockaddr *) at, sizeof(*at)) == 0;

    if (fd >= 0)
        (void) close(fd);
    return taken;
}

int agent_door_open(struct agent *a)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct stat st;
    int rc;

    if (!a->door_path[0])
        return -ENOENT;
    (void) snprintf(at.sun_path, sizeof(at.sun_path), "%s", a->door_path);
    if ((rc = make_dir(a->door_path)) < 0)
        goto error;
    if (is_taken(&at)) {
        agent_log("no door: somebody listens on %s", a->door_path);
        return -EADDRINUSE;
    }
    if (lstat(a->door_path, &st) == 0 && S_ISSOCK(st.st_mode))
        (void) unlink(a->door_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        rc = -errno;
        goto error;
    }
    mode_t old = umask(0177);
    rc = bind(fd, (struct sockaddr *) &at, sizeof(at)) < 0 ? -errno : 0;
    (void) umask(old);
    if (rc == 0 && listen(fd, BACKLOG) < 0)
        rc = -errno;
    if (rc < 0) {
        (void) close(fd);
        goto error;
    }
    a->door = fd;
    return 0;

error:
    agent_log("no door at %s: %s", a->door_path, strerror(-rc));
    return rc;
}

// What cannot be told is not let in.
static void let_in(struct agent *a, int fd)
{
    struct error err = {0};
    struct peer peer;

    if (peer_identify(&peer, fd, &err) < 0 || peer.uid != getuid()) {
        agent_log("somebody was not let in: %s",
                  err.text[0] ? err.text : "another user");
        (void) close(fd);
        return;
    }
    bool is_known = peer.strength == PEER_STRENGTH_SANDBOXED;
    agent_link_attest(a, fd, is_known ? peer.app.name : NULL);
}

void agent_door_run(struct agent *a)
{
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        int fd = accept4(a->door, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0)
            return;
        let_in(a, fd);
    }
}

void agent_door_close(struct agent *a)
{
    if (a->door < 0)
        return;
    (void) close(a->door);
    (void) unlink(a->door_path);
    a->door = -1;
}
