// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Multiple-choice knapsack with two limits
 *
 * Groups in an order, each with options of which at most one is taken. An
 * option has a gain and two costs. Whoever takes an option of group i also
 * pays fixed[i], once: what it costs to reach that far. The gain is the
 * largest there is; costs are rounded up to a grid of KNAPSACK_STEPS steps for
 * each limit, so a choice never costs more than allowed, and may miss one that
 * would have fitted by less than a step for each group.
 *
 * Dynamic programming over the grid; Kellerer, Pferschy & Pisinger, Knapsack
 * Problems, 2004, chapter 11. The same input gives the same choice: of equal
 * gains the one with fewer, then earlier options.
 */

#include <stdint.h>

enum {
    KNAPSACK_LIMITS = 2,
    KNAPSACK_STEPS_0 = 512, // of the first limit
    KNAPSACK_STEPS_1 = 32,  // of the second
    KNAPSACK_GROUPS_MAX = 4096,
    KNAPSACK_OPTIONS_MAX = 64,
};

struct knapsack_option {
    double gain; // above 0; others are never taken
    uint64_t cost[KNAPSACK_LIMITS];
};

struct knapsack_group {
    const struct knapsack_option *options;
    uint32_t n_options;
    uint64_t fixed[KNAPSACK_LIMITS]; // must not shrink from group to group
};

// choice[i] becomes the option of group i, or -1; the gain is returned in
// *gain. UINT64_MAX as a limit: none. -EINVAL when a count is out of range or
// fixed costs shrink, -ENOMEM.
int knapsack_solve(int32_t *choice, double *gain,
                   const struct knapsack_group *groups, uint32_t n_groups,
                   const uint64_t limits[KNAPSACK_LIMITS]);
