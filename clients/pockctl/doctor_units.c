// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * What systemd has of pockd: units, how they differ from those that came with
 * this program, and how it rates their sandbox.
 */

#include "clients/pockctl/doctor.h"
#include "engine/base/error.h"
#include "engine/base/hash.h"
#include "engine/base/str.h"

#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

// Of each unit as it was built; made by units.py.
static const struct {
    const char *name;
    const char *sha256;
} shipped[] = {
#include "clients/pockctl/doctor_units.inc"
};

enum {
    SHIPPED_COUNT = sizeof(shipped) / sizeof(shipped[0]),
    ANSWER_BYTES = 64 << 10,
};

// What the tests of the units allow too.
static const double DAEMON_SCORE_MAX = 1.0;
static const double WORKER_SCORE_MAX = 1.2;

int doctor_capture(char *out, size_t bytes, const char *const argv[])
{
    posix_spawn_file_actions_t actions;
    int pipe_fds[2];
    size_t n = 0;
    pid_t pid;
    int status;

    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return -1;
    (void) posix_spawn_file_actions_init(&actions);
    (void) posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], 1);
    (void) posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY,
                                            0);
    int rc = posix_spawnp(&pid, argv[0], &actions, NULL,
                          (char **) (uintptr_t) argv, environ);
    (void) posix_spawn_file_actions_destroy(&actions);
    (void) close(pipe_fds[1]);
    if (rc == 0) {
        char piece[512];
        for (ssize_t got; (got = read(pipe_fds[0], piece, sizeof(piece))) > 0;)
            for (ssize_t i = 0; i < got && n + 1 < bytes; i++)
                out[n++] = piece[i];
        rc = waitpid(pid, &status, 0) == pid && WIFEXITED(status)
                 ? WEXITSTATUS(status)
                 : -1;
    } else {
        rc = -1;
    }
    (void) close(pipe_fds[0]);
    if (bytes > 0)
        out[n > 0 && out[n - 1] == '\n' ? n - 1 : n] = '\0';
    return rc;
}

static int64_t owner_of(const struct patient *p)
{
    return pock_get_int(p->info, "owner", (int64_t) geteuid());
}

static bool is_system(const struct patient *p)
{
    return strcmp(pock_get_str(p->info, "mode", ""), "system") == 0;
}

// A property of a unit, as systemctl says it; "" when it cannot.
static void property(char *out, size_t bytes, const char *unit,
                     const char *name)
{
    const char *argv[] = {"systemctl", "show", "-P", name, unit, NULL};

    if (doctor_capture(out, bytes, argv) != 0)
        out[0] = '\0';
}

static bool is(const char *unit, const char *name, const char *value)
{
    char text[64];

    property(text, sizeof(text), unit, name);
    return strcmp(text, value) == 0;
}

void check_units(const struct patient *p, struct finding *f)
{
    static const char *const workers[] = {"pock-worker-train.socket",
                                          "pock-worker-serve.socket",
                                          "pock-worker-tool.socket"};
    const int64_t owner = owner_of(p);
    char unit[64];
    char state[64];

    snprintf(unit, sizeof(unit), "pockd@%" PRId64 ".socket", owner);
    property(state, sizeof(state), unit, "UnitFileState");
    if (p->info && !is_system(p)) {
        f->level = LEVEL_NOTE;
        SEEN(f, "a person's own daemon, whose store every program of that "
                "person can read");
        if (state[0])
            FIX(f,
                "`sudo systemctl enable --now %s` has a daemon of another "
                "user, with a store of its own",
                unit);
        return;
    }
    if (p->info &&
        strcmp(pock_get_str(p->info, "workers", ""), "children") == 0) {
        f->level = LEVEL_NOTE;
        SEEN(f, "the system's daemon without systemd: workers are its children "
                "and can read what it can");
        return;
    }
    if (!state[0]) {
        f->level = p->info ? LEVEL_NOTE : LEVEL_WARN;
        SEEN(f, "systemctl knows no %s", unit);
        if (!p->info)
            FIX(f, "install the package, or start `pockd --user`");
        return;
    }
    SEEN(f, "%s is %s", unit, state);
    if (strcmp(state, "enabled") != 0 &&
        strcmp(state, "enabled-runtime") != 0) {
        f->level = LEVEL_WARN;
        FIX(f, "`sudo systemctl enable --now %s`", unit);
        return;
    }
    for (size_t i = 0; i < sizeof(workers) / sizeof(workers[0]); i++) {
        if (!p->info || is(workers[i], "ActiveState", "active"))
            continue;
        f->level = LEVEL_FAIL;
        SEEN(f, "%s is not active: what it is for cannot be done", workers[i]);
        FIX(f, "`sudo systemctl restart %s`, and `journalctl -u %s`",
            workers[i], workers[i]);
    }
}

// Is this file the one that came with us? -1: it cannot be read.
static int is_shipped(const char *path, const char *sha256)
{
    uint8_t digest[HASH_BYTES];
    char hex[HASH_HEX];
    const int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -1;
    const int rc = hash_fd(digest, fd);
    (void) close(fd);
    if (rc < 0)
        return -1;
    hash_to_hex(hex, digest);
    return strcmp(hex, sha256) == 0;
}

// "pockd@.service" of an owner: "pockd@1000.service".
static void instance_of(char out[96], const char *name, int64_t owner)
{
    const char *at = strchr(name, '@');
    const int n = at ? (int) (at - name) + 1 : (int) strlen(name);

    if (at)
        snprintf(out, 96, "%.*s%" PRId64 "%s", n, name, owner, name + n);
    else
        snprintf(out, 96, "%s", name);
}

struct drift {
    struct str changed; // files that differ
    struct str drops;   // what people added beside them
    bool needs_reload;
    size_t found;
};

static void look_at_unit(struct drift *d, size_t i, int64_t owner)
{
    char unit[96];
    char path[512];
    char drops[1024];

    instance_of(unit, shipped[i].name, owner);
    property(path, sizeof(path), unit, "FragmentPath");
    if (!path[0])
        snprintf(path, sizeof(path), POCK_UNITDIR "/%s", shipped[i].name);
    const int same = is_shipped(path, shipped[i].sha256);
    d->found += same >= 0;
    if (same == 0)
        str_printf(&d->changed, "%s%s", d->changed.bytes ? " " : "", path);
    property(drops, sizeof(drops), unit, "DropInPaths");
    if (drops[0])
        str_printf(&d->drops, "%s%s", d->drops.bytes ? " " : "", drops);
    d->needs_reload |= is(unit, "NeedDaemonReload", "yes");
}

void check_drift(const struct patient *p, struct finding *f)
{
    struct drift d = {.changed.limit = 400, .drops.limit = 200};

    for (size_t i = 0; i < SHIPPED_COUNT; i++)
        look_at_unit(&d, i, owner_of(p));
    if (d.found == 0) {
        f->level = LEVEL_NOTE;
        SEEN(f, "none are installed in " POCK_UNITDIR);
    } else if (d.changed.bytes > 0) {
        f->level = LEVEL_WARN;
        SEEN(f, "not as they came with pockctl " POCK_VERSION ": %s",
             d.changed.data ? d.changed.data : "many");
        FIX(f, "install the package again, or `systemctl revert` what was "
               "changed; `systemctl edit` is for changes that stay");
    } else if (d.found < SHIPPED_COUNT) {
        f->level = LEVEL_WARN;
        SEEN(f, "%zu of %d are installed", d.found, (int) SHIPPED_COUNT);
        FIX(f, "install the package again");
    } else {
        SEEN(f, "%zu, as they came", d.found);
    }
    if (d.drops.bytes > 0) {
        const size_t n = strlen(f->seen);
        snprintf(f->seen + n, sizeof(f->seen) - n, "; changed by %s",
                 d.drops.data ? d.drops.data : "many files");
        if (f->level == LEVEL_OK)
            f->level = LEVEL_NOTE;
    }
    if (d.needs_reload) {
        f->level = LEVEL_WARN;
        FIX(f, "systemd has old ones: `sudo systemctl daemon-reload`, then "
               "restart pockd");
    }
    str_free(&d.changed);
    str_free(&d.drops);
}

// The number that systemd-analyze ends with, or -1.
static double score(const char *unit)
{
    const char *argv[] = {"systemd-analyze", "security", "--no-pager", unit,
                          NULL};
    char *text = malloc(ANSWER_BYTES);
    double value = -1;

    if (text && doctor_capture(text, ANSWER_BYTES, argv) == 0) {
        const char *at = strstr(text, "exposure level for ");
        const char *number = at ? strstr(at, ": ") : NULL;
        value = number ? strtod(number + 2, NULL) : -1;
    }
    free(text);
    return value;
}

void check_score(const struct patient *p, struct finding *f)
{
    char unit[64];

    if (p->info && !is_system(p)) {
        f->level = LEVEL_NOTE;
        SEEN(f, "none: a person's own daemon has no sandbox of systemd's");
        return;
    }
    snprintf(unit, sizeof(unit), "pockd@%" PRId64 ".service", owner_of(p));
    const double daemon = score(unit);
    // An instance's name does not matter: nothing of it is in the sandbox.
    const double worker = score("pock-worker-train@0.service");
    if (daemon < 0 || worker < 0) {
        f->level = LEVEL_NOTE;
        SEEN(f, "unknown: `systemd-analyze security` said nothing");
        return;
    }
    SEEN(f,
         "exposure %.1f of 10 (daemon), %.1f (worker); shipped with at most "
         "%.1f and %.1f",
         daemon, worker, DAEMON_SCORE_MAX, WORKER_SCORE_MAX);
    if (daemon <= DAEMON_SCORE_MAX && worker <= WORKER_SCORE_MAX)
        return;
    f->level = LEVEL_WARN;
    FIX(f,
        "`systemd-analyze security %s` says what is open; see the unit files "
        "above",
        unit);
}
