// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 // Linux 6.5
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

// While the process lives its number is nobody else's: everything is read
// between two looks at it.
struct held {
    int pidfd; // -1: the kernel has none; the start time must do
    int dir;   // /proc/PID
    uint64_t started;
};

static int gone(struct error *err)
{
    return error_set(err, -ESRCH, "the program has ended");
}

// 0 at the end; the bytes that were read are *n.
static int read_at(int dir, const char *name, int flags, char *text,
                   size_t size, size_t *n)
{
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | flags);
    int rc = 0;

    if (fd < 0)
        return -errno;
    *n = 0;
    for (;;) {
        ssize_t got = read(fd, text + *n, size - *n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            rc = -errno;
        if (got <= 0)
            break;
        *n += (size_t) got;
        if (*n == size) {
            rc = -E2BIG;
            break;
        }
    }
    (void) close(fd);
    return rc;
}

// Field 22 of /proc/PID/stat; the name in the second may hold anything.
static int read_start(int dir, uint64_t *out)
{
    char text[1024];
    size_t n = 0;
    int rc = read_at(dir, "stat", 0, text, sizeof(text) - 1, &n);

    if (rc < 0)
        return rc;
    text[n] = '\0';
    char *at = strrchr(text, ')');
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    if (!at)
        return -EPROTO;
    *out = strtoull(at + 1, NULL, 10);
    return 0;
}

static void let_go(struct held *h)
{
    if (h->pidfd >= 0)
        (void) close(h->pidfd);
    if (h->dir >= 0)
        (void) close(h->dir);
}

static int hold(struct held *h, struct peer *p, int sock, struct error *err)
{
    char path[32];
    socklen_t len = sizeof(h->pidfd);

    *h = (struct held){.pidfd = -1, .dir = -1};
    if (getsockopt(sock, SOL_SOCKET, SO_PEERPIDFD, &h->pidfd, &len) == 0) {
        p->is_held = true;
    } else if (errno == ESRCH || errno == ENODATA) {
        return gone(err);
    } else {
        h->pidfd = (int) syscall(SYS_pidfd_open, p->pid, 0);
        if (h->pidfd < 0 && errno == ESRCH)
            return gone(err);
    }
    snprintf(path, sizeof(path), "/proc/%ld", (long) p->pid);
    h->dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (h->dir < 0)
        return error_set(err, -errno, "%s cannot be opened: %s", path,
                         strerror(errno));
    int rc = read_start(h->dir, &h->started);
    return rc < 0 ? error_set(err, rc, "%s/stat cannot be read: %s", path,
                              strerror(-rc))
                  : 0;
}

// Nothing has taken its place meanwhile.
static int check_held(const struct held *h, struct error *err)
{
    struct pollfd f = {.fd = h->pidfd, .events = POLLIN};
    uint64_t started;

    if (h->pidfd >= 0 && poll(&f, 1, 0) != 0)
        return gone(err);
    if (read_start(h->dir, &started) < 0 || started != h->started)
        return gone(err);
    return 0;
}

static int read_cgroup(struct peer *p, const struct held *h, char *text,
                       struct error *err)
{
    size_t n = 0;
    int rc = read_at(h->dir, "cgroup", 0, text, APPID_FILE_BYTES_MAX, &n);

    if (rc < 0)
        return error_set(err, rc,
                         "/proc/%ld/cgroup cannot be read: %s: the daemon's "
                         "unit needs ProtectProc=default",
                         (long) p->pid, strerror(-rc));
    if ((rc = appid_from_cgroup(&p->app, text, n)) < 0)
        return error_set(err, rc, "the cgroup of process %ld names no app",
                         (long) p->pid);
    if (p->app.kind != APPID_NONE)
        p->strength = PEER_STRENGTH_SCOPE;
    p->is_sandboxed = p->app.kind == APPID_SNAP || p->app.is_flatpak_scope;
    return 0;
}

// The file lies at the root of what the app sees. It is opened from a
// descriptor of that root, not by a path that could lead elsewhere, and no
// link of the app's making is followed.
static int read_info(struct peer *p, const struct held *h, char *text,
                     struct error *err)
{
    struct stat st;
    size_t n = 0;
    int rc = 0;
    int root = openat(h->dir, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (root < 0)
        return error_set(err, -errno, "the root of process %ld is closed: %s",
                         (long) p->pid, strerror(errno));
    if (fstatat(root, ".flatpak-info", &st, AT_SYMLINK_NOFOLLOW) < 0) {
        rc = errno == ENOENT ? 0 : -errno;
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        rc = -EPROTO;
        goto out;
    }
    rc = read_at(root, ".flatpak-info", O_NOFOLLOW | O_NONBLOCK, text,
                 APPID_FILE_BYTES_MAX, &n);
    if (rc == 0)
        rc = appid_from_flatpak_info(&p->app, text, n);
    if (rc == 0) {
        p->strength = PEER_STRENGTH_SANDBOXED;
        p->is_sandboxed = true;
    }

out:
    (void) close(root);
    return rc < 0 ? error_set(err, rc,
                              "the sandbox of process %ld does not say which "
                              "app it is: %s",
                              (long) p->pid, strerror(-rc))
                  : 0;
}

static void read_comm(struct peer *p, const struct held *h)
{
    size_t n = 0;

    if (read_at(h->dir, "comm", 0, p->comm, sizeof(p->comm), &n) < 0 &&
        n < sizeof(p->comm))
        n = 0;
    n = n < sizeof(p->comm) ? n : sizeof(p->comm) - 1;
    p->comm[n] = '\0';
    p->comm[strcspn(p->comm, "\n")] = '\0';
}

static int look(struct peer *p, const struct held *h, struct error *err)
{
    char *text = malloc(APPID_FILE_BYTES_MAX);
    int rc;

    if (!text)
        return error_set(err, -ENOMEM, "out of memory");
    rc = read_cgroup(p, h, text, err);
    if (rc == 0 && (geteuid() == p->uid || geteuid() == 0))
        rc = read_info(p, h, text, err);
    read_comm(p, h);
    free(text);
    return rc;
}

int peer_identify(struct peer *out, int sock, struct error *err)
{
    struct ucred cred = {.uid = (uid_t) -1};
    socklen_t len = sizeof(cred);
    struct held h;
    int rc;

    *out = (struct peer){.uid = (uid_t) -1, .strength = PEER_STRENGTH_UID};
    if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return error_set(err, -errno, "the kernel names no peer: %s",
                         strerror(errno));
    out->uid = cred.uid;
    out->pid = cred.pid;
    if (cred.pid <= 0)
        return error_set(err, -ESRCH,
                         "the program lives where processes have other "
                         "numbers");
    rc = hold(&h, out, sock, err);
    if (rc == 0)
        rc = look(out, &h, err);
    if (rc == 0)
        rc = check_held(&h, err);
    let_go(&h);
    return rc;
}

enum peer_strength peer_strength_of(enum appid_kind kind)
{
    switch (kind) {
    case APPID_FLATPAK:
        return PEER_STRENGTH_SANDBOXED;
    case APPID_SNAP:
    case APPID_SCOPE:
        return PEER_STRENGTH_SCOPE;
    case APPID_HOST:
    case APPID_NONE:
        break;
    }
    return PEER_STRENGTH_UID;
}
