// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Control thread of a worker
 *
 * Reads the socket while the main thread computes. What cannot wait it does at
 * once: `stop` and `cancel` raise the engine's stop flag, a closed socket ends
 * the process, a stop that the main thread does not follow within the ladder
 * ends it too. Requests it puts in a queue for the main thread, which is the
 * only caller of everything below.
 */

#include "ipc/worker_proto.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct error;
struct worker_control;

// Takes `fd`. The thread keeps the resource class that the caller has now.
int worker_control_start(struct worker_control **out, int fd,
                         struct error *err);
// Ends the thread and closes the socket.
void worker_control_destroy(struct worker_control *c);

int worker_control_fd(const struct worker_control *c);
// For engine_create().
const atomic_bool *worker_control_stop_flag(const struct worker_control *c);

const atomic_int *worker_control_manners(const struct worker_control *c);
// Part of the time that may be computed in, 1 to 100.
int worker_control_duty(const struct worker_control *c);

// Wait for the next request. 0 and *out (finish it); -ECANCELED after `stop`;
// -ETIMEDOUT after timeout_ms (0: never). The request counts as running until
// the next call.
int worker_control_next(struct worker_control *c, struct worker_msg *out,
                        uint32_t timeout_ms);
// Was the running request cancelled, or the worker stopped?
bool worker_control_is_cancelled(struct worker_control *c);
bool worker_control_is_stopping(struct worker_control *c);
// Since `stop` arrived, in microseconds.
uint32_t worker_control_stop_us(struct worker_control *c);

// The newest step for which a checkpoint was acknowledged; -1: none.
int64_t worker_control_acked(struct worker_control *c);

// Blocks while the socket is full. Ends the process when pockd is gone, since
// no one wants the result then.
int worker_control_send(struct worker_control *c, const struct worker_msg *m);
