// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Limits of a worker
 *
 * What makes it cheap to have around, set in code so that it holds without
 * systemd too: scheduling class, I/O class, first to die when memory runs out,
 * no core dump, nothing to gain by execve().
 */

#include <stdbool.h>

// Before threads are made. A child of pockd's is confined too; what a unit
// starts, the unit confines.
void worker_limits_begin(bool is_child);
// Background also means the idle scheduling and I/O classes, but not for
// threads that exist already. Nothing here is fatal: a container may forbid
// any of it.
void worker_limits_apply(bool is_background);
