// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Tools (loop thread)
 *
 * Short work that opens models or adapters, and so is done by a worker of its
 * own: inspect, check, convert. One request, one worker, one answer.
 */

#include "engine/base/error.h"
#include "ipc/worker_proto.h"

struct fileset;
struct pockd;
struct request;
struct tools;

// rc 0 and the answer, whose descriptors may be taken; or a negative errno and
// a sentence, and m is NULL.
typedef void (*tools_done_fn)(void *arg, int rc, struct worker_msg *m,
                              const struct error *err);

int tools_create(struct tools **out, struct pockd *p);
// Ends the workers; their done() is called with -ESHUTDOWN. NULL is fine.
void tools_destroy(struct tools *t);

// `m` is a tool.* message with req 1; its descriptors stay the caller's, who
// may close them after the call. -EBUSY when too many run.
int tools_run(struct tools *t, const struct worker_msg *m, tools_done_fn done,
              void *arg, struct error *err);

// The same for a request, which is failed when no worker runs; free_arg(arg) is
// called then. Returns what tools_run() did.
int tools_call(struct tools *t, struct request *r, const struct worker_msg *m,
               tools_done_fn done, void *arg, void (*free_arg)(void *arg));

// Files that go to the worker before the request, and who hears how far it is.
struct tools_extra {
    const struct fileset *files; // borrowed for the call; NULL: none
    void (*on_progress)(void *arg, uint64_t done, uint64_t total);
};
// The same as tools_run() with them.
int tools_run_with(struct tools *t, const struct worker_msg *m,
                   const struct tools_extra *extra, tools_done_fn done,
                   void *arg, struct error *err);
// Ends the worker whose done() would get `arg`; it is called with -ECANCELED.
void tools_cancel(struct tools *t, const void *arg);

// What a request ends with when done() got an error, or (rc 0) an answer of
// another kind than was asked for.
void tools_fail(struct request *r, int rc, const struct error *err);
