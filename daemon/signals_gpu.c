// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/signals_gpu.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/sysfs_file.h"
#include "engine/base/clock.h"

/*
 * Invariants
 * 1. A client counts once, however many descriptors it has, and only with what
 *    it used between two rounds that both saw it.
 * 2. A look that takes too long is ended and goes on at the next call.
 */

enum {
    ROUND_MS = 5000,
    CLIENTS_MAX = 256,
    FDS_MAX = 4096, // of one process
    FILE_BYTES = 4096,
    PATH_BYTES = 640,
};

static void see(int *busy, double pct)
{
    if (pct >= 0 && pct <= 100 && (int) pct > *busy)
        *busy = (int) pct;
}

static void read_card(void *to, const char *dir, const char *name)
{
    double pct;

    // card0-eDP-1 is a connector.
    if (!strchr(name, '-') &&
        sysfs_read_number(&pct, dir, "device/gpu_busy_percent"))
        see(to, pct);
}

// devfreq also clocks memory and buses.
static bool is_gpu(const char *name)
{
    return strcasestr(name, "gpu") || strcasestr(name, "mali");
}

static void read_devfreq(void *to, const char *dir, const char *name)
{
    double now;
    double least;
    double most;
    double load;

    if (!is_gpu(name))
        return;
    if (sysfs_read_number(&load, dir, "load")) // "23@200000000Hz"
        see(to, load);
    else if (sysfs_read_number(&now, dir, "cur_freq") &&
             sysfs_read_number(&least, dir, "min_freq") &&
             sysfs_read_number(&most, dir, "max_freq") && most > least)
        see(to, 100 * (now - least) / (most - least));
}

int signals_gpu_read_busy(const char *root)
{
    int busy = -1;

    sysfs_each(root, "sys/class/drm", "card", read_card, &busy);
    sysfs_each(root, "sys/class/devfreq", "", read_devfreq, &busy);
    return busy;
}

struct client {
    uint64_t id;
    uint64_t ns;
    uint64_t used_ns; // between its last two rounds
    uint32_t round;
    bool is_new;
};

struct gpu_users {
    struct client clients[CLIENTS_MAX];
    size_t count;
    DIR *proc; // NULL: between two rounds
    uint32_t round;
    bool could_look; // at any process, in this round
    int64_t started_ms;
    int64_t last_started_ms; // 0: none
    int pct;
};

struct gpu_users *gpu_users_create(void)
{
    struct gpu_users *g = calloc(1, sizeof(*g));

    if (g)
        g->pct = -1;
    return g;
}

void gpu_users_destroy(struct gpu_users *g)
{
    if (g && g->proc)
        (void) closedir(g->proc);
    free(g);
}

int gpu_users_pct(const struct gpu_users *g)
{
    return g->pct;
}

static uint64_t hash(uint64_t h, const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ (unsigned char) text[i]) * UINT64_C(0x100000001b3);
    return h;
}

int gpu_users_parse(uint64_t *client, uint64_t *ns, const char *text)
{
    uint64_t id = UINT64_C(0xcbf29ce484222325);
    uint64_t most = 0;
    bool has_id = false;

    for (const char *line = text; *line;) {
        size_t bytes = strcspn(line, "\n");
        const char *colon = memchr(line, ':', bytes);
        bool is_id = strncmp(line, "drm-client-id:", 14) == 0;
        if (is_id || strncmp(line, "drm-pdev:", 9) == 0) {
            id = hash(id, line, bytes);
            has_id |= is_id;
        } else if (colon && strncmp(line, "drm-engine-", 11) == 0 &&
                   strncmp(line, "drm-engine-capacity-", 20) != 0) {
            // Engines work side by side: the busiest one counts.
            const char *at = colon + 1 + strspn(colon + 1, " \t");
            uint64_t v =
                isdigit((unsigned char) *at) ? strtoull(at, NULL, 10) : 0;
            most = v > most ? v : most;
        }
        line += bytes;
        line += *line == '\n';
    }
    if (!has_id)
        return -1;
    *client = id;
    *ns = most;
    return 0;
}

static void count(struct gpu_users *g, uint64_t id, uint64_t ns)
{
    struct client *c = NULL;

    for (size_t i = 0; i < g->count && !c; i++)
        if (g->clients[i].id == id)
            c = &g->clients[i];
    if (!c && g->count == CLIENTS_MAX)
        return;
    if (!c) {
        c = &g->clients[g->count++];
        *c = (struct client){.id = id,
                             .ns = ns,
                             .round = g->round - 1,
                             .is_new = true};
    }
    if (c->round == g->round)
        return; // Another descriptor of the same client.
    c->used_ns = c->is_new || ns < c->ns ? 0 : ns - c->ns;
    c->is_new = false;
    c->ns = ns;
    c->round = g->round;
}

static void look_at(struct gpu_users *g, int dir, const char *fd)
{
    char text[FILE_BYTES];
    char path[64];
    uint64_t id;
    uint64_t ns;

    snprintf(path, sizeof(path), "fdinfo/%.20s", fd);
    int file = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return;
    ssize_t n = read(file, text, sizeof(text) - 1);
    (void) close(file);
    if (n <= 0)
        return;
    text[n] = '\0';
    if (gpu_users_parse(&id, &ns, text) == 0)
        count(g, id, ns);
}

static bool is_ours(int dir)
{
    char comm[32] = "";
    int file = openat(dir, "comm", O_RDONLY | O_CLOEXEC);

    if (file < 0)
        return false;
    ssize_t n = read(file, comm, sizeof(comm) - 1);
    (void) close(file);
    return n > 0 && strncmp(comm, "pock-worker", 11) == 0;
}

static void look_into(struct gpu_users *g, const char *path)
{
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fds =
        dir < 0 ? -1 : openat(dir, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fds < 0 ? NULL : fdopendir(fds);
    int left = FDS_MAX;

    if (d && !is_ours(dir)) {
        g->could_look = true;
        for (struct dirent *e; left-- > 0 && (e = readdir(d));) {
            char to[32];
            if (!isdigit((unsigned char) e->d_name[0]))
                continue;
            ssize_t n = readlinkat(fds, e->d_name, to, sizeof(to));
            if (n > 9 && strncmp(to, "/dev/dri/", 9) == 0)
                look_at(g, dir, e->d_name);
        }
    }
    if (d)
        (void) closedir(d);
    else if (fds >= 0)
        (void) close(fds);
    if (dir >= 0)
        (void) close(dir);
}

static void end_round(struct gpu_users *g)
{
    int64_t elapsed_ms = g->started_ms - g->last_started_ms;
    uint64_t used_ns = 0;
    size_t kept = 0;

    (void) closedir(g->proc);
    g->proc = NULL;
    for (size_t i = 0; i < g->count; i++)
        if (g->clients[i].round == g->round) {
            used_ns += g->clients[i].used_ns;
            g->clients[kept++] = g->clients[i];
        }
    g->count = kept;
    if (!g->could_look)
        g->pct = -1;
    else if (g->last_started_ms > 0 && elapsed_ms > 0) {
        double pct = (double) used_ns / 1e4 / (double) elapsed_ms;
        g->pct = pct > 100 ? 100 : (int) pct;
    }
    g->last_started_ms = g->started_ms;
}

void gpu_users_scan(struct gpu_users *g, const char *root, int64_t now_ms,
                    int64_t budget_us)
{
    uint64_t end_ns = clock_monotonic_ns() + (uint64_t) budget_us * 1000;
    char path[PATH_BYTES];
    struct dirent *e;

    if (!g->proc) {
        if (g->started_ms > 0 && now_ms - g->started_ms < ROUND_MS)
            return;
        snprintf(path, sizeof(path), "%.500s/sys/class/drm", root);
        if (access(path, F_OK) != 0)
            return;
        snprintf(path, sizeof(path), "%.500s/proc", root);
        if (!(g->proc = opendir(path)))
            return;
        g->round++;
        g->could_look = false;
        g->started_ms = now_ms;
    }
    while ((e = readdir(g->proc))) {
        if (!isdigit((unsigned char) e->d_name[0]) ||
            strtol(e->d_name, NULL, 10) == getpid())
            continue;
        snprintf(path, sizeof(path), "%.500s/proc/%.20s", root, e->d_name);
        look_into(g, path);
        if (clock_monotonic_ns() >= end_ns)
            return;
    }
    end_round(g);
}
