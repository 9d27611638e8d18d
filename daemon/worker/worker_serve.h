// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Serving worker: generates and scores with the model and the adapters that it
 * keeps loaded
 */

#include "daemon/worker/worker_control.h"

// Returns the exit status of the process: 0 after `stop` or when nothing was
// asked for idle_exit_s (0: never).
int worker_serve_run(struct worker_control *c,
                     const struct worker_hello *hello);
