// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * What the files of the tool worker share. A handler sends the answer, or
 * returns a negative errno with t->failure filled in.
 */

#include "daemon/worker/worker_control.h"
#include "daemon/worker/worker_model.h"
#include "daemon/worker/worker_reply.h"
#include "ipc/worker_proto.h"

struct adapter;
struct engine;
struct engine_model;

struct tool {
    struct worker_control *control;
    struct engine *engine;
    uint32_t threads; // of a training worker
    const struct worker_hello *hello;
    struct worker_failure failure;
    struct worker_model_files files;
};

int tool_open_model(struct engine_model **out, struct tool *t, int fd);

int tool_open_adapter(struct adapter **out, struct tool *t,
                      const struct engine_model *m, int fd, int config_fd);

int tool_devices(struct tool *t, const struct worker_look *q);
int tool_merge(struct tool *t, const struct worker_merge *q);
int tool_diff(struct tool *t, const struct worker_diff *q);
// The journal of an adapter as lines of JSON. -ENOTSUP: it has none.
struct error;
int tool_write_journal(const struct adapter *a, int fd, struct error *err);
int tool_mask(struct tool *t, const struct worker_mask *q);
