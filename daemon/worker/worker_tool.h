// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Tool worker: short questions about files that pockd itself never opens
 */

#include "daemon/worker/worker_control.h"

// Returns the exit status of the process.
int worker_tool_run(struct worker_control *c, const struct worker_hello *hello);
