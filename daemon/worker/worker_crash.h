// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Crash report of a worker
 *
 * A mapped model can shrink under our feet, and the read that misses it is a
 * SIGBUS. The handler sends an error that was prepared before and ends the
 * process; everything else keeps the system's way of dying, which pockd sees.
 */

#include <stdint.h>

// For SIGBUS from now on: answer request `req` over `sock` with BAD_MODEL.
void worker_crash_arm(int sock, uint64_t req);
