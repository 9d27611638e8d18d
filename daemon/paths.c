// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/paths.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int put(char out[PATHS_BYTES], struct error *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static int put(char out[PATHS_BYTES], struct error *err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(out, PATHS_BYTES, fmt, ap);
    va_end(ap);
    if (n < 0 || n >= PATHS_BYTES)
        return error_set(err, -ENAMETOOLONG, "path %.64s... is too long", out);
    return 0;
}

// $VAR/pockd, or $HOME/fallback/pockd.
static int xdg(char out[PATHS_BYTES], const char *var, const char *fallback,
               struct error *err)
{
    const char *base = getenv(var);
    const char *home = getenv("HOME");

    if (base && base[0] == '/')
        return put(out, err, "%s/pockd", base);
    if (!home || home[0] != '/')
        return error_set(err, -ENOENT,
                         "neither %s nor HOME is set: use --dir DIR", var);
    return put(out, err, "%s/%s/pockd", home, fallback);
}

int paths_config_file(char out[PATHS_BYTES], const struct config *c,
                      struct error *err)
{
    char dir[PATHS_BYTES];
    int rc;

    if (c->dir[0])
        return put(out, err, "%s/pockd.conf", c->dir);
    if (!c->is_user)
        return put(out, err, "/etc/pockd/pockd.conf");
    if ((rc = xdg(dir, "XDG_CONFIG_HOME", ".config", err)) < 0)
        return rc;
    return put(out, err, "%.*s/pockd.conf", PATHS_BYTES - 16, dir);
}

static int init_state(struct paths *p, const struct config *c,
                      struct error *err)
{
    const char *state = getenv("STATE_DIRECTORY"); // systemd's, of this owner

    if (c->dir[0] == '/')
        return put(p->state, err, "%s", c->dir);
    if (c->dir[0]) {
        char cwd[PATHS_BYTES];
        if (!getcwd(cwd, sizeof(cwd)))
            return error_set(err, -errno, "cannot read the working directory");
        return put(p->state, err, "%.*s/%s", PATHS_BYTES / 2, cwd, c->dir);
    }
    if (c->is_user)
        return xdg(p->state, "XDG_DATA_HOME", ".local/share", err);
    if (state && state[0] == '/')
        return put(p->state, err, "%s", state);
    return put(p->state, err, "/var/lib/pockd/%lld", (long long) c->owner_uid);
}

static int init_runtime(struct paths *p, const struct config *c,
                        struct error *err)
{
    const char *run = getenv("XDG_RUNTIME_DIR");

    if (c->dir[0])
        return put(p->runtime, err, "%s", p->state);
    if (!c->is_user)
        return put(p->runtime, err, "/run/pockd/%lld",
                   (long long) c->owner_uid);
    if (run && run[0] == '/')
        return put(p->runtime, err, "%s/pockd", run);
    return put(p->runtime, err, "%.*s/run", PATHS_BYTES - 8, p->state);
}

static int init_socket(struct paths *p, const struct config *c,
                       struct error *err)
{
    const size_t max = sizeof(((struct sockaddr_un *) NULL)->sun_path) - 1;
    int rc = c->socket[0] ? put(p->socket, err, "%s", c->socket)
                          : put(p->socket, err, "%.*s/pockd.sock",
                                PATHS_BYTES - 16, p->runtime);

    if (rc < 0)
        return rc;
    if (strlen(p->socket) > max)
        return error_set(err, -ENAMETOOLONG,
                         "the socket's path %s has %zu bytes, but sockets "
                         "allow %zu: use a shorter --dir or --socket",
                         p->socket, strlen(p->socket), max);
    return 0;
}

// Is there such a file beside pockd, as when it was built but not installed?
static bool find_beside(char out[PATHS_BYTES], const char *name, int mode)
{
    char self[PATHS_BYTES];
    struct error err;
    const ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (n <= 0)
        return false;
    self[n] = '\0';
    char *slash = strrchr(self, '/');
    if (slash)
        *slash = '\0';
    return put(out, &err, "%.*s/%s", PATHS_BYTES - 32, self, name) == 0 &&
           access(out, mode) == 0;
}

static int init_worker(struct paths *p, const struct config *c,
                       struct error *err)
{
    if (c->worker[0])
        return put(p->worker, err, "%s", c->worker);
    if (find_beside(p->worker, "pock-worker", X_OK) ||
        find_beside(p->worker, "worker/pock-worker", X_OK))
        return 0;
    return put(p->worker, err, "%s/pock-worker", POCK_LIBEXECDIR);
}

static int init_probe(struct paths *p, const struct config *c,
                      struct error *err)
{
    if (c->probe[0])
        return put(p->probe, err, "%s", c->probe);
    if (find_beside(p->probe, "probe.jsonl", R_OK))
        return 0;
    return put(p->probe, err, "%s/probe.jsonl", POCK_DATADIR);
}

// Of a person's own daemon it does not lie beside what it seals.
static int init_key(struct paths *p, const struct config *c, struct error *err)
{
    char dir[PATHS_BYTES];
    int rc;

    if (c->key_file[0])
        return put(p->key, err, "%s", c->key_file);
    if (c->dir[0] || !c->is_user)
        return put(p->key, err, "%.*s/pockd.key", PATHS_BYTES - 16, p->state);
    if ((rc = xdg(dir, "XDG_CONFIG_HOME", ".config", err)) < 0)
        return rc;
    return put(p->key, err, "%.*s/pockd.key", PATHS_BYTES - 16, dir);
}

static int init_worker_sockets(struct paths *p, const struct config *c,
                               struct error *err)
{
    static const char *const names[PATHS_WORKER_COUNT] = {"train", "serve",
                                                          "tool"};
    int rc = 0;

    for (int i = 0; c->worker_sockets[0] && i < PATHS_WORKER_COUNT; i++)
        if ((rc = put(p->worker_sockets[i], err, "%s/%s.sock",
                      c->worker_sockets, names[i])) < 0)
            break;
    return rc;
}

bool paths_is_system(const struct config *c)
{
    return !c->is_user && !c->dir[0];
}

const char *paths_worker_socket(const struct paths *p, enum paths_worker which)
{
    return p->worker_sockets[which][0] ? p->worker_sockets[which] : NULL;
}

const char *paths_worker_program(const struct paths *p)
{
    return p->worker_sockets[0][0] ? NULL : p->worker;
}

int paths_init(struct paths *p, const struct config *c, struct error *err)
{
    int rc;

    memset(p, 0, sizeof(*p));
    if ((rc = init_state(p, c, err)) < 0 ||
        (rc = init_runtime(p, c, err)) < 0 || (rc = init_socket(p, c, err)) < 0)
        return rc;
    const int room = PATHS_BYTES - 32;
    if ((rc = put(p->checkpoints, err, "%.*s/ckpt", room, p->state)) < 0 ||
        (rc = put(p->prefix, err, "%.*s/prefix.cache", room, p->state)) < 0 ||
        (rc = put(p->tmp, err, "%.*s/tmp", room, p->state)) < 0 ||
        (rc = put(p->models, err, "%.*s/models", room, p->state)) < 0 ||
        (rc = init_key(p, c, err)) < 0 || (rc = init_worker(p, c, err)) < 0 ||
        (rc = init_worker_sockets(p, c, err)) < 0)
        return rc;
    return init_probe(p, c, err);
}

// mkdir -p; only what is missing is made, with `mode`.
static int make_dirs(const char *path, mode_t mode, struct error *err)
{
    const char *hint = strncmp(path, "/var/lib/", 9) == 0 && geteuid() != 0
                           ? ": `pockd --user` keeps all in your home"
                           : "";
    char part[PATHS_BYTES];

    snprintf(part, sizeof(part), "%s", path);
    for (char *p = part + 1;; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        char was = *p;
        *p = '\0';
        if (mkdir(part, mode) < 0 && errno != EEXIST)
            return error_set(err, -errno, "cannot make directory %s: %s%s",
                             part, strerror(errno), hint);
        if (was == '\0')
            return 0;
        *p = was;
    }
}

// Who may write there could put another store, key or socket in the place of
// ours.
static int check_own(const char *path, struct error *err)
{
    struct stat st;

    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        return error_set(err, -ENOTDIR, "%s is no directory", path);
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return error_set(err, -EPERM,
                         "the directory %s belongs to another user (%lld): "
                         "name one of your own",
                         path, (long long) st.st_uid);
    if (st.st_mode & (S_IWGRP | S_IWOTH))
        return error_set(err, -EPERM,
                         "other users may write in the directory %s: `chmod "
                         "go-w %s`, or name another",
                         path, path);
    return 0;
}

static void empty_dir(const char *path)
{
    DIR *d = opendir(path);

    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.')
            (void) unlinkat(dirfd(d), e->d_name, 0);
    (void) closedir(d);
}

static int make_key_dir(const struct paths *p, struct error *err)
{
    char dir[PATHS_BYTES];
    char *slash;

    snprintf(dir, sizeof(dir), "%s", p->key);
    slash = strrchr(dir, '/');
    if (!slash || slash == dir)
        return 0;
    *slash = '\0';
    return make_dirs(dir, 0700, err);
}

int paths_create(const struct paths *p, const struct config *c,
                 struct error *err)
{
    int rc;

    if ((rc = make_dirs(p->state, 0700, err)) < 0 ||
        (rc = check_own(p->state, err)) < 0 ||
        (rc = make_key_dir(p, err)) < 0 ||
        (rc = make_dirs(p->checkpoints, 0700, err)) < 0 ||
        (rc = make_dirs(p->models, 0700, err)) < 0 ||
        (rc = make_dirs(p->tmp, 0700, err)) < 0)
        return rc;
    empty_dir(p->tmp);
    if ((rc = make_dirs(p->runtime, paths_is_system(c) ? 0755 : 0700, err)) < 0)
        return rc;
    // That of the system service is made for it, and its owner's too.
    return paths_is_system(c) ? 0 : check_own(p->runtime, err);
}
