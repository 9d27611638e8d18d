// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Watchdog (loop thread)
 *
 * Tells the service manager that pockd lives, and only after a look at itself:
 * the loop turned, and the database thread read a row of the store. While
 * nothing is being done, or on battery, the manager is asked to wait far
 * longer, so that no timer wakes the machine for this.
 */

#include <stdbool.h>

struct pockd;

// Does nothing without a service manager that asked for it.
void watchdog_start(struct pockd *p);
// What is going on now; a change is told with the next answer of the store.
void watchdog_set_busy(struct pockd *p, bool is_busy);
