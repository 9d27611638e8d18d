// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * The device of a worker
 *
 * Opened as pockd names it. A GPU that fails is opened again with shorter
 * slices, and after WORKER_LOSSES_MAX losses the CPU takes over: what a GPU
 * does costs time, and nothing else.
 */

#include "daemon/worker/worker_control.h"

struct engine;

enum {
    WORKER_LOSSES_MAX = 3,
    WORKER_DEVICE_TEXT = 512,
};

struct worker_device {
    struct worker_control *control;
    const struct worker_hello *hello; // threads, device, cache_fd
    struct engine *engine;            // NULL: closed
    unsigned losses;
    uint32_t slice_us; // longest submission; 0: as the device chooses
    bool is_cpu_only;
    // What its owner should know: one sentence; "" when there is nothing.
    char notice[WORKER_DEVICE_TEXT];
};

void worker_device_init(struct worker_device *d, struct worker_control *c,
                        const struct worker_hello *hello);
// Falls back to the CPU, and says so in `notice`.
int worker_device_open(struct worker_device *d, struct error *err);
void worker_device_close(struct worker_device *d);
// Did `rc` come of a device without which it would go on? Then it says in
// `notice` what happened and what follows; close it and open it again. `what`
// was interrupted, for the sentence; `why` is the error's.
bool worker_device_can_recover(struct worker_device *d, int rc,
                               const char *what, const char *why);
