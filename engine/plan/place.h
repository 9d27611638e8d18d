// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Placement
 *
 * Where each step of a schedule runs: on which target, which is a device, one
 * of its kernels and a number of threads. A step costs what it takes there, and
 * going from one target to another costs something, too: threads are woken, and
 * to another device all goes along that is alive between the two steps. Of all
 * ways through the schedule this finds one whose sum is the least, in time
 * steps x targets^2.
 *
 * What lives on in two places is not modelled: a device that is left gives
 * everything away. Costs may be of any unit.
 */

#include <stdint.h>

enum { PLACE_TARGETS_MAX = 64 };

struct place_problem {
    uint32_t n_steps;
    uint32_t n_targets;
    const double *cost; // (steps, targets), at least 0; INFINITY: cannot
    // (targets, targets) from the first to the second; INFINITY: cannot.
    // NULL: nothing.
    const double *change;      // whatever is alive
    const double *change_byte; // for each byte that is alive
    const uint64_t *alive;     // (steps) bytes in front of each; NULL: 0
};

// choice (steps): the target of each step; of equal ones the first. -ENOTSUP
// when there is no way through, with nothing written.
int place_solve(uint16_t *choice, double *total, const struct place_problem *p);

// What a way through costs.
double place_cost(const struct place_problem *p, const uint16_t *choice);
