// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Database thread
 *
 * The one thread that touches the store and the disk. The loop hands it tasks
 * through one queue, and gets them back through one uv_async_t: those of one
 * client in order, those of many in turns.
 * Tasks that write are gathered into one transaction until the queue is empty,
 * 64 of them are in it, or 5 ms have passed, or as long as the last commit
 * took; `done` of all of them is called after the commit, so an answer means:
 * on disk. With an empty queue the commit waits, for a quarter of what the last
 * one took and 1 ms at most, for as many as were told or waiting when the last
 * one ended: who sends the next when the last is on disk shares a sync with the
 * others. When one of them or the commit fails, all is undone and each runs
 * again by itself.
 */

#include "engine/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

struct dbthread;
struct store;

enum dbthread_kind {
    DBTHREAD_READ,
    DBTHREAD_WRITE, // inside a transaction; undone if it fails; may run twice
    DBTHREAD_ALONE, // outside of any transaction: files, erase, checks
};

// Database thread. `arg` is the task's alone until done().
typedef int (*dbthread_run_fn)(struct store *store, void *arg,
                               struct error *err);
// Loop thread. rc and err are those of run(), or of the commit.
typedef void (*dbthread_done_fn)(void *arg, int rc, const struct error *err);

// Borrows `store` until destroy.
int dbthread_create(struct dbthread **out, uv_loop_t *loop, struct store *store,
                    size_t queue_max, struct error *err);
// Runs what is queued, then ends the thread; done() is called for all of it.
// NULL is fine.
void dbthread_destroy(struct dbthread *t);

// -EAGAIN when queue_max tasks wait: the caller answers BUSY. -ESHUTDOWN while
// it is destroyed, and for NULL. `run` may be
// NULL for a task that only waits its turn. done() may be NULL.
int dbthread_submit(struct dbthread *t, enum dbthread_kind kind,
                    dbthread_run_fn run, dbthread_done_fn done, void *arg);
// For pockd's own work, which is bounded and must not be refused.
int dbthread_submit_own(struct dbthread *t, enum dbthread_kind kind,
                        dbthread_run_fn run, dbthread_done_fn done, void *arg);
// Tasks that are handed over from now on belong to this client (0: to pockd
// itself); each client's take turns with those of others. NULL is fine.
void dbthread_set_lane(struct dbthread *t, uint64_t lane);
// Tasks handed over and not given back.
size_t dbthread_pending(const struct dbthread *t);
