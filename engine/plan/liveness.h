// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Liveness
 *
 * Which pieces of the arena a schedule needs, how large, and from which step to
 * which. One interval may serve several values: an output takes the storage of
 * an input that dies in the same step where the operator allows it. Inputs and
 * outputs of the host live through the whole program.
 */

#include "engine/plan/schedule.h"

#define INTERVAL_NONE UINT32_MAX

struct interval {
    size_t bytes;   // a multiple of LIVENESS_ALIGN
    uint32_t first; // steps, both included
    uint32_t last;
    value_id value; // the first that it holds; VALUE_NONE: scratch
};

enum { LIVENESS_ALIGN = 64 };

struct liveness {
    const struct schedule *schedule;
    struct interval *intervals;
    uint32_t n;
    uint32_t *of_value;   // by value; INTERVAL_NONE: not in the arena
    uint32_t *of_scratch; // by step
    size_t peak;          // the largest sum of live bytes at any step
};

struct liveness_params {
    const size_t *scratch; // bytes by step; NULL: none
    bool no_inplace;       // for tests
    uint32_t lag;          // steps that everything lives on: those that may run
                           // beside its last reader
};

// Lives in `a` and borrows `s`.
int liveness_find(struct liveness **out, const struct schedule *s,
                  const struct liveness_params *params, struct arena *a);
