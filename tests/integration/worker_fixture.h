// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * A real worker behind a real link, driven step by step by a test
 */

#include "daemon/worker_link.h"
#include "ipc/worker_records.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

enum { FIXTURE_QUEUE_MAX = 4096 };

struct worker_fixture {
    uv_loop_t loop;
    uv_timer_t timer;
    struct worker_link *link;
    struct worker_msg *queue[FIXTURE_QUEUE_MAX]; // received, not yet taken
    uint32_t n_queue;
    bool is_over;
    bool is_late;
    struct worker_exit exit;
};

// The path of pock-worker, from the command line of the test.
void fixture_args(int argc, char **argv);
const char *fixture_program(void);

// Training workers of tests are urgent, so that a busy machine does not starve
// them; set this for one as it is in real life.
extern bool fixture_is_background;
// Where they compute, and the file of compiled shaders; NULL: on the CPU.
extern const char *fixture_device;
extern const char *fixture_cache_path;

void fixture_start(struct worker_fixture *f, enum worker_kind kind);
// To the socket of a worker's unit instead.
void fixture_connect(struct worker_fixture *f, enum worker_kind kind,
                     const char *path);
// Everything is released, whatever state it is in.
void fixture_finish(struct worker_fixture *f);
void fixture_send(struct worker_fixture *f, const struct worker_msg *m);
// The first message of this type; earlier ones of other types are dropped. An
// error message that is not waited for fails the test. Finish *out.
void fixture_wait(struct worker_fixture *f, struct worker_msg *out,
                  enum worker_msg_type type);
// The next message, whatever it is.
void fixture_wait_any(struct worker_fixture *f, struct worker_msg *out);
void fixture_wait_exit(struct worker_fixture *f);

// A tiny model, always the same.
int fixture_open_model(void);
// Sealed records file of `n` texts about bees, numbered from `first`.
int fixture_records(uint32_t first, uint32_t n);
// Sealed file with one record.
int fixture_record(enum worker_record_kind kind, const char *a, const char *b);
// Whole file in memory; caller frees.
void *fixture_read(int fd, size_t *bytes);
