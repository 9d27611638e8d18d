// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Training worker: one train.start, from records to an adapter
 */

#include "daemon/worker/worker_control.h"

// Returns the exit status of the process.
int worker_train_run(struct worker_control *c,
                     const struct worker_hello *hello);
