// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Simulation
 *
 * One device's story with pockd in it: the real conditions, scheduler, job
 * table, outcomes, bisection and nights, a worker that is only a model, and a
 * judge that knows the truth and the promises but none of the code.
 */

#include "tests/sim/device.h"

#include <stdio.h>

struct sim_params {
    uint64_t seed;
    int nights;
    unsigned mask; // processes that take part
    FILE *trace;   // NULL: none
};

// What happened, over all stories: a simulation in which nothing happens
// proves nothing.
struct sim_totals {
    uint64_t nights, decisions, runs, steps;
    uint64_t stops[32]; // by enum stop_reason
    uint64_t done, failed, cancelled, quarantined;
    uint64_t transient, permanent, no_space, deaths, trials, convicted;
    uint64_t half_duty, resumed, flap_holds;
    double hours;
};

// True: every promise was kept. Else `why` says which was not.
bool sim_run(const struct sim_params *params, struct sim_totals *totals,
             char why[256]);
