// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/libpock/pock_internal.h"
#include "engine/base/fault.h"
#include "ipc/message.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    GREETING_MS = 5000,
    PATH_BYTES = sizeof(((struct sockaddr_un *) NULL)->sun_path),
};

static char *copy_string(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *p = fault_malloc(bytes);

    if (p)
        memcpy(p, text, bytes);
    return p;
}

// A descriptor, or a negative errno.
static int connect_path(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t bytes = strlen(path);

    if (bytes >= PATH_BYTES)
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, bytes);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *) &address, sizeof(address)) == 0)
        return fd;
    int rc = -errno;
    close(fd);
    return rc;
}

static int no_daemon(struct pock_error *err, const char *path, int rc)
{
    if (rc == -EACCES || rc == -EPERM)
        return pock_error_set(err, POCK_ERROR_DENIED, rc,
                              "cannot connect to %s: permission denied: use "
                              "the account that the daemon runs for",
                              path);
    const char *why = strerror(-rc);
    if (rc == -ENOENT)
        why = "there is no such socket";
    else if (rc == -ECONNREFUSED)
        why = "nobody listens on it";
    return pock_error_set(err, POCK_ERROR_NOT_READY, rc,
                          "cannot connect to %s: %s: start the daemon with "
                          "`sudo systemctl enable --now pockd@%ld.socket` or "
                          "`pockd --user`",
                          path, why, (long) geteuid());
}

// Neither the system's daemon for this user nor one of the user's own.
static int no_daemon_at_all(struct pock_error *err, const char *system,
                            const char *own)
{
    return pock_error_set(
        err, POCK_ERROR_NOT_READY, -ENOENT,
        "no daemon runs for user %ld: there is neither %s nor %s: start it "
        "with `sudo systemctl enable --now pockd@%ld.socket` or `pockd --user`",
        (long) geteuid(), system, *own ? own : "a socket of the user's own",
        (long) geteuid());
}

enum { CANDIDATES = 2 };

// Where a daemon may listen; "" where the environment does not say.
static void find_candidates(char paths[CANDIDATES][PATH_BYTES + 64])
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    const char *data = getenv("XDG_DATA_HOME");
    const char *home = getenv("HOME");
    const size_t size = PATH_BYTES + 64;

    // The system's daemon for this user, then a daemon of the user's own. A
    // path that is too long is cut, and then refused by connect_path().
    snprintf(paths[0], size, "/run/pockd/%ld/pockd.sock", (long) geteuid());
    if (runtime && *runtime)
        snprintf(paths[1], size, "%s/pockd/pockd.sock", runtime);
    else if (data && *data)
        snprintf(paths[1], size, "%s/pockd/run/pockd.sock", data);
    else if (home && *home)
        snprintf(paths[1], size, "%s/.local/share/pockd/run/pockd.sock", home);
}

// The first that a daemon listens on; if none, what the most telling one said.
static int connect_any(struct pock *p, struct pock_error *err)
{
    char paths[CANDIDATES][PATH_BYTES + 64] = {"", ""};
    const char *named = getenv("POCKD_SOCKET");
    const char *tried = paths[0];
    int rc = -ENOENT;

    if (named && *named)
        snprintf(paths[0], sizeof(paths[0]), "%s", tried = named);
    else
        find_candidates(paths);
    for (size_t i = 0; i < CANDIDATES; i++) {
        if (!*paths[i])
            continue;
        int fd = connect_path(paths[i]);
        if (fd >= 0) {
            p->fd = fd;
            p->path = copy_string(paths[i]);
            return p->path ? 0 : -ENOMEM;
        }
        // A socket that is there and does not answer says more than none.
        if (rc == -ENOENT) {
            rc = fd;
            tried = paths[i];
        }
    }
    if (rc == -ENOENT && !(named && *named))
        return no_daemon_at_all(err, paths[0], paths[1]);
    return no_daemon(err, tried, rc);
}

static int open_socket(struct pock *p, const struct pock_options *o,
                       struct pock_error *err)
{
    if (o->use_fd)
        return 0;
    if (!o->path)
        return connect_any(p, err);
    int fd = connect_path(o->path);
    if (fd < 0)
        return no_daemon(err, o->path, fd);
    p->fd = fd;
    p->path = copy_string(o->path);
    return p->path ? 0 : -ENOMEM;
}

// The words of a list, with blanks between.
static void set_words(struct pock_request *r, const char *key,
                      const char *words)
{
    if (!words)
        return;
    pock_open_list(r, key);
    for (const char *at = words; *at;) {
        size_t n = strcspn(at, " ");
        if (n > 0)
            pock_set_text(r, NULL, at, n);
        at += n + (at[n] == ' ');
    }
    pock_close(r);
}

static int greet(struct pock *p, const struct pock_options *o,
                 struct pock_error *err)
{
    struct pock_request *r;
    int rc;

    if ((rc = pock_request_create(&r, p, "hello")) < 0)
        return rc;
    pock_open_list(r, "proto");
    pock_set_int(r, NULL, 1);
    pock_set_int(r, NULL, 0);
    pock_close(r);
    pock_set_str(r, "client", o->client ? o->client : "libpock");
    pock_set_str(r, "app_hint", o->app);
    set_words(r, "wants", o->wants);
    if (o->as_owner)
        pock_set_str(r, "role", "owner");
    // No timeout_ms here: before hello the daemon has its own deadline.
    struct pock_send_options how = {0};
    how.timeout_ms = o->timeout_ms > 0 ? o->timeout_ms : GREETING_MS;
    if ((rc = pock_call_with(r, &how, &p->hello, err)) < 0)
        return rc;
    const struct pock_value *limits = pock_get(p->hello->result, "limits");
    int64_t in_flight = pock_get_int(limits, "in_flight", POCK_IN_FLIGHT_MAX);
    if (in_flight > 0 && in_flight < POCK_IN_FLIGHT_MAX)
        p->in_flight_max = (size_t) in_flight;
    return 0;
}

int pock_connect_with(struct pock **out, const struct pock_options *options,
                      struct pock_error *err)
{
    struct pock *p = fault_calloc(1, sizeof(*p));
    int rc;

    if (!p) {
        if (options->use_fd)
            close(options->fd);
        return pock_error_set(err, POCK_ERROR_INTERNAL, -ENOMEM,
                              "cannot connect: there is no memory left");
    }
    p->fd = options->use_fd ? options->fd : -1;
    p->in_flight_max = POCK_IN_FLIGHT_MAX;
    p->trace = options->trace;
    p->trace_user = options->trace_user;
    frame_buffer_init(&p->in, &frame_limits_full);
    if ((rc = open_socket(p, options, err)) < 0 ||
        (rc = greet(p, options, err)) < 0)
        goto error;
    *out = p;
    return 0;

error:
    if (rc == -ENOMEM)
        pock_error_set(err, POCK_ERROR_INTERNAL, rc,
                       "cannot connect: there is no memory left");
    pock_destroy(p);
    return rc;
}

int pock_connect(struct pock **out, const char *path, struct pock_error *err)
{
    struct pock_options options = {.path = path};

    return pock_connect_with(out, &options, err);
}

void pock_destroy(struct pock *p)
{
    if (!p)
        return;
    pock_fail(p, POCK_ERROR_CANCELLED, -ENOTCONN,
              "the connection was closed on this side");
    frame_buffer_finish(&p->in);
    for (size_t i = 0; i < p->fd_count; i++)
        close(p->fds[i]);
    if (p->fd >= 0)
        close(p->fd);
    pock_reply_destroy(p->hello);
    free(p->path);
    free(p);
}

const struct pock_value *pock_hello(const struct pock *p)
{
    return p->hello ? p->hello->result : NULL;
}

const char *pock_path(const struct pock *p)
{
    return p->path;
}

int pock_fd(const struct pock *p)
{
    return p->fd;
}

size_t pock_open_requests(const struct pock *p)
{
    return p->pending_count;
}

struct pock_reply *pock_take_reply(struct pock *p)
{
    struct pock_reply *r = p->current;

    p->current = NULL;
    return r;
}

int pock_take_fd(struct pock *p)
{
    if (p->fd_count == 0)
        return -1;
    int fd = p->fds[0];
    p->fd_count--;
    memmove(p->fds, p->fds + 1, p->fd_count * sizeof(p->fds[0]));
    return fd;
}
