// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#define LOG_MODULE "server"

#include "daemon/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/session.h"
#include "engine/base/log.h"
#include "engine/base/peer.h"

enum {
    BACKLOG = 64,
    ACCEPTS_A_TURN = 16,
};

struct server {
    struct server_params params;
    char path[sizeof(((struct sockaddr_un *) NULL)->sun_path)];
    int fd;
    bool owns_path;
    bool is_destroyed;
    uv_poll_t poll;
    struct encoder encoder;
    struct session *sessions;
    size_t session_count;
    uint64_t next_id;
};

const struct server_params *server_params(const struct server *s)
{
    return &s->params;
}

struct encoder *server_encoder(struct server *s)
{
    return &s->encoder;
}

size_t server_session_count(const struct server *s)
{
    return s->session_count;
}

static void free_when_done(struct server *s)
{
    if (!s->is_destroyed || s->sessions)
        return;
    encoder_destroy(&s->encoder);
    free(s);
}

void server_on_session_end(struct server *s, struct session *session)
{
    if (s->params.on_session_end)
        s->params.on_session_end(session->id, s->params.user);
    if (session->prev)
        session->prev->next = session->next;
    else
        s->sessions = session->next;
    if (session->next)
        session->next->prev = session->prev;
    s->session_count--;
}

static bool may_connect(const struct server *s, uid_t uid)
{
    int64_t same = 0;

    if (uid != 0 && uid != s->params.owner && !s->params.others_may_connect)
        return false;
    for (const struct session *p = s->sessions; p; p = p->next)
        same += p->uid == uid;
    return same < s->params.config->connections_uid_max &&
           (int64_t) s->session_count < s->params.config->connections_max;
}

// Sandboxes leave a quarter of the connections to who can shut them out, and
// one alone has no more than a quarter.
static bool has_room(const struct server *s, const struct peer *peer)
{
    const int64_t max = s->params.config->connections_uid_max;
    const int64_t part = max > 4 ? max / 4 : 1;
    int64_t all = 0;
    int64_t same = 0;

    if (!peer->is_sandboxed)
        return true;
    for (const struct session *p = s->sessions; p; p = p->next) {
        all += p->peer.is_sandboxed;
        same += p->peer.is_sandboxed &&
                strcmp(p->peer.app.name, peer->app.name) == 0;
    }
    return same < part && all < max - part;
}

// Takes `fd`.
static int start_session(struct server *s, int fd, const struct peer *peer)
{
    struct session *session;

    if (!has_room(s, peer)) {
        log_info("event=client_refused app=%s reason=connections",
                 peer->app.name);
        (void) close(fd);
        return -EMFILE;
    }
    int rc = session_create(&session, s, fd, peer, ++s->next_id);

    if (rc < 0) {
        log_warn("event=client_refused reason=memory");
        return rc;
    }
    session->next = s->sessions;
    if (session->next)
        session->next->prev = session;
    s->sessions = session;
    s->session_count++;
    return 0;
}

static bool check_user(const struct server *s, int fd)
{
    struct ucred cred = {.uid = (uid_t) -1};
    socklen_t len = sizeof(cred);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
        may_connect(s, cred.uid))
        return true;
    log_info("event=client_refused uid=%ld", (long) cred.uid);
    return false;
}

static void add_session(struct server *s, int fd)
{
    struct error err = {0};
    struct peer peer;

    if (!check_user(s, fd)) {
        (void) close(fd);
        return;
    }
    if (peer_identify(&peer, fd, &err) < 0) {
        log_info("event=client_refused uid=%ld text=%s", (long) peer.uid,
                 err.text);
        (void) close(fd);
        return;
    }
    (void) start_session(s, fd, &peer);
}

static int check_socket(int fd, struct error *err)
{
    struct ucred cred = {.uid = (uid_t) -1};
    socklen_t len = sizeof(cred);
    int is_listening = 1;
    int flags = fcntl(fd, F_GETFL);
    int rc = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);

    len = sizeof(is_listening);
    if (rc < 0 || cred.uid == (uid_t) -1 || flags < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &len) < 0 ||
        is_listening || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return error_set(err, -EINVAL,
                         "the descriptor is no connected Unix stream socket");
    return 0;
}

int server_adopt(struct server *s, int fd, const struct appid *app,
                 struct error *err)
{
    struct peer peer;
    int rc = check_socket(fd, err);

    if (rc == 0 && !check_user(s, fd))
        rc = error_set(err, -EACCES,
                       "the program at its other end is another user's, or "
                       "too many are connected");
    if (rc == 0)
        rc = peer_identify(&peer, fd, err);
    // The daemon may be another user's, and see less than its owner's agent.
    if (rc == 0 && app) {
        peer.app = *app;
        peer.strength = peer_strength_of(app->kind);
        peer.is_sandboxed = true;
    }
    if (rc == 0) {
        rc = start_session(s, fd, &peer);
        return rc < 0
                   ? error_set(err, rc, "no more connections of %s are taken",
                               peer.app.name[0] ? peer.app.name : "it")
                   : 0;
    }
    (void) close(fd);
    return rc;
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
    struct server *s = poll->data;

    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            add_session(s, fd);
            continue;
        }
        if (errno == EINTR || errno == ECONNABORTED)
            continue;
        if (errno != EAGAIN && errno != EWOULDBLOCK)
            log_warn("event=accept_failed reason=%s", strerror(errno));
        return;
    }
}

// A socket file that nobody listens on is what a killed daemon left behind.
// The store's lock, taken before, says that no other daemon owns it.
static int listen_at(struct server *s, const char *path, struct error *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(addr.sun_path))
        return error_set(err, -ENAMETOOLONG, "socket path %s is too long",
                         path);
    strcpy(addr.sun_path, path);
    strcpy(s->path, path);
    s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0)
        return error_set(err, -errno, "cannot make a socket: %s",
                         strerror(errno));
    if (connect(s->fd, (struct sockaddr *) &addr, sizeof(addr)) == 0)
        return error_set(err, -EADDRINUSE,
                         "cannot listen on %s: another daemon answers there",
                         path);
    (void) close(s->fd);
    s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
        (void) unlink(path);
    // The owner of a system's daemon is another user: the directory, and what
    // the kernel says of a peer, keep everybody else out.
    mode_t old =
        umask(s->params.others_may_connect || s->params.is_system ? 0 : 0177);
    int rc = bind(s->fd, (struct sockaddr *) &addr, sizeof(addr));
    int why = errno;
    (void) umask(old);
    if (rc < 0)
        return error_set(err, -why, "cannot listen on %s: %s", path,
                         strerror(why));
    s->owns_path = true;
    if (listen(s->fd, BACKLOG) < 0)
        return error_set(err, -errno, "cannot listen on %s: %s", path,
                         strerror(errno));
    return 0;
}

static void close_fd(struct server *s)
{
    if (s->fd >= 0)
        (void) close(s->fd);
    s->fd = -1;
    if (s->owns_path)
        (void) unlink(s->path);
    s->owns_path = false;
}

int server_create(struct server **out, const struct server_params *params,
                  struct error *err)
{
    struct server *s = calloc(1, sizeof(*s));
    int rc = 0;

    if (!s)
        return error_set(err, -ENOMEM, "out of memory");
    s->params = *params;
    s->fd = params->fd;
    encoder_init(&s->encoder, 0);
    if (s->fd < 0 && (rc = listen_at(s, params->path, err)) < 0)
        goto error;
    if ((rc = uv_poll_init(params->loop, &s->poll, s->fd)) < 0) {
        (void) error_set(err, rc, "cannot watch the socket: %s",
                         uv_strerror(rc));
        goto error;
    }
    s->poll.data = s;
    (void) uv_poll_start(&s->poll, UV_READABLE, on_connection);
    *out = s;
    return 0;

error:
    close_fd(s);
    encoder_destroy(&s->encoder);
    free(s);
    return rc;
}

void server_stop_app(struct server *s, const char *app)
{
    for (struct session *p = s->sessions; p; p = p->next) {
        if (p->is_owner || (app && strcmp(p->app, app) != 0))
            continue;
        for (struct request *r = p->requests, *next; r; r = next) {
            next = request_next(r);
            request_cancel(r, REQUEST_END_CANCELLED);
        }
        if (s->params.on_session_end)
            s->params.on_session_end(p->id, s->params.user);
    }
}

void server_stop(struct server *s)
{
    (void) uv_poll_stop(&s->poll);
    for (struct session *p = s->sessions, *next; p; p = next) {
        next = p->next;
        session_stop(p);
    }
}

static void on_poll_closed(uv_handle_t *h)
{
    struct server *s = h->data;

    s->is_destroyed = true;
    free_when_done(s);
}

void server_destroy(struct server *s)
{
    if (!s)
        return;
    while (s->sessions)
        session_close(s->sessions);
    close_fd(s);
    uv_close((uv_handle_t *) &s->poll, on_poll_closed);
}
