// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Thread pool
 *
 * Splits one piece of work into numbered tasks, which the caller and its
 * helpers take one by one. Who runs a task, and when, is open; so a result is
 * the same for any number of threads when each task's is. Helpers sleep when
 * there is nothing to do and are not bound to a CPU: other programs have the
 * machine as well. One that finds itself on the CPU of another thread of its
 * pool asks for a different one, and keeps the affinity mask that it had. A
 * pool is used by one thread at a time. Helpers take subnormal numbers for
 * zero, as their caller should (fpmode.h).
 *
 * NULL is a pool too: one thread, the caller's.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct pool;

enum { POOL_THREADS_MAX = 256 };

// `worker` is below pool_threads(); no two tasks run with one at a time.
typedef void (*pool_fn)(void *ctx, uint32_t task, uint32_t worker);

// The caller counts as a thread: one makes no helpers.
int pool_create(struct pool **out, uint32_t threads);
void pool_destroy(struct pool *p);
uint32_t pool_threads(const struct pool *p);

// Returns when all tasks are done; or earlier, when the flag of pool_watch()
// went up: then false, some tasks were left out, and so are all later ones.
bool pool_run(struct pool *p, uint32_t tasks, pool_fn fn, void *ctx);

// From now on no more threads than that take tasks; 0: all. The others sleep.
// Not while tasks run.
void pool_limit(struct pool *p, uint32_t threads);

// From now on give up when `stop` is raised; NULL: never. Forgets that it was.
void pool_watch(struct pool *p, const atomic_bool *stop);
// True when tasks were left out since pool_watch().
bool pool_gave_up(const struct pool *p);
