// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Trace and pace of a training worker
 *
 * Writes which records are next into the memory that pockd gave, and rests
 * between steps where the machine is warm.
 */

#include "engine/train/dataset.h"

struct worker_control;
struct worker_trace;

struct worker_tracer {
    struct worker_trace *map;     // NULL: pockd gave none
    const struct record *records; // for POCK_FAULT=record:BYTES
    struct dataset_watch watch;
};

// `fd` is borrowed, -1: none. Without memory to share nothing is written.
void worker_tracer_open(struct worker_tracer *t, int fd);
void worker_tracer_close(struct worker_tracer *t);

// After a step that took so long: rest until the duty is kept, or a stop.
void worker_rest(struct worker_control *c, uint64_t step_ns);
