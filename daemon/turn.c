// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Invariants
 *
 * 1. is_mine and is_next say which locks this daemon holds; it never holds
 *    train.next while its training runs.
 * 2. train.lock is taken only by one who holds train.next, so that nobody
 *    overtakes the one who waits.
 */

#define LOG_MODULE "turn"

#include "daemon/turn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "engine/base/fault.h"
#include "engine/base/log.h"

struct turn {
    int lock; // -1: alone
    int next;
    bool is_mine;
    bool is_next;
};

static int open_lock(const char *dir, const char *name)
{
    char path[512];

    (void) snprintf(path, sizeof(path), "%s/%s", dir, name);
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        log_info("event=no_turns file=%s reason=%s", path, strerror(errno));
    return fd;
}

static bool try_lock(int fd, int how)
{
    return flock(fd, how | LOCK_NB) == 0;
}

// Could this descriptor be locked? Shared, so that two who look do not see
// each other.
static bool is_free(int fd)
{
    const bool is = try_lock(fd, LOCK_SH);

    if (is)
        (void) flock(fd, LOCK_UN);
    return is;
}

int turn_create(struct turn **out, const char *dir)
{
    struct turn *t = fault_calloc(1, sizeof(*t));

    if (!t)
        return -ENOMEM;
    t->lock = dir ? open_lock(dir, "train.lock") : -1;
    t->next = t->lock >= 0 ? open_lock(dir, "train.next") : -1;
    if (t->lock >= 0 && t->next < 0) {
        (void) close(t->lock);
        t->lock = -1;
    }
    *out = t;
    return 0;
}

void turn_destroy(struct turn *t)
{
    if (!t)
        return;
    if (t->lock >= 0)
        (void) close(t->lock);
    if (t->next >= 0)
        (void) close(t->next);
    free(t);
}

enum turn_state turn_look(struct turn *t)
{
    if (t->lock < 0)
        return TURN_ALONE;
    if (t->is_mine)
        return is_free(t->next) ? TURN_MINE : TURN_WANTED;
    if (!t->is_next && !is_free(t->next))
        return TURN_TAKEN;
    return is_free(t->lock) ? TURN_FREE : TURN_TAKEN;
}

enum turn_state turn_take(struct turn *t)
{
    if (t->lock < 0)
        return TURN_ALONE;
    if (t->is_mine)
        return TURN_MINE;
    turn_wait(t);
    t->is_mine = t->is_next && try_lock(t->lock, LOCK_EX);
    if (!t->is_mine)
        return TURN_TAKEN;
    (void) flock(t->next, LOCK_UN);
    t->is_next = false;
    return TURN_MINE;
}

void turn_wait(struct turn *t)
{
    if (t->lock >= 0 && !t->is_next)
        t->is_next = try_lock(t->next, LOCK_EX);
}

void turn_release(struct turn *t)
{
    if (t->is_mine)
        (void) flock(t->lock, LOCK_UN);
    if (t->is_next)
        (void) flock(t->next, LOCK_UN);
    t->is_mine = t->is_next = false;
}
