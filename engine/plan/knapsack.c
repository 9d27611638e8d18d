// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/plan/knapsack.h"

#include "engine/base/fault.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROWS = KNAPSACK_STEPS_0 + 1,
    COLS = KNAPSACK_STEPS_1 + 1,
    CELLS = ROWS * COLS,
    NOT_TAKEN = 255,
};

_Static_assert((int) KNAPSACK_OPTIONS_MAX < (int) NOT_TAKEN,
               "an option fits a byte");

/*
 * best[r * COLS + c]: the largest gain of the groups so far whose options cost
 * at most r and c steps. taken[group][cell]: the option that gave it.
 */
struct table {
    const struct knapsack_group *groups;
    const uint64_t *limits;
    double *best;
    uint8_t *taken;
};

// Steps of the grid that a cost takes, rounded up; more than there are when it
// does not fit.
static uint32_t steps_of(uint64_t cost, uint64_t limit, uint32_t steps)
{
    if (cost == 0 || limit == UINT64_MAX)
        return 0;
    if (cost > limit)
        return steps + 1;
    const double exact = (double) cost / (double) limit * steps;
    uint32_t n = (uint32_t) exact;
    if ((double) n < exact)
        n++;
    return n > 0 ? n : 1;
}

static bool cell_cost(uint32_t out[KNAPSACK_LIMITS], const struct table *t,
                      const uint64_t cost[KNAPSACK_LIMITS])
{
    out[0] = steps_of(cost[0], t->limits[0], KNAPSACK_STEPS_0);
    out[1] = steps_of(cost[1], t->limits[1], KNAPSACK_STEPS_1);
    return out[0] < ROWS && out[1] < COLS;
}

// Cells from the richest down: what they look up is still without the group.
static void add_group(struct table *t, uint32_t g)
{
    const struct knapsack_group *group = &t->groups[g];
    uint8_t *taken = t->taken + (size_t) g * CELLS;
    uint32_t steps[KNAPSACK_OPTIONS_MAX][KNAPSACK_LIMITS];
    bool is_possible[KNAPSACK_OPTIONS_MAX];

    for (uint32_t i = 0; i < group->n_options; i++)
        is_possible[i] = group->options[i].gain > 0 &&
                         cell_cost(steps[i], t, group->options[i].cost);
    for (int32_t r = ROWS - 1; r >= 0; r--)
        for (int32_t c = COLS - 1; c >= 0; c--) {
            const int32_t cell = r * COLS + c;
            double best = t->best[cell];
            taken[cell] = NOT_TAKEN;
            for (uint32_t i = 0; i < group->n_options; i++) {
                const int32_t r1 = r - (int32_t) steps[i][0];
                const int32_t c1 = c - (int32_t) steps[i][1];
                if (!is_possible[i] || r1 < 0 || c1 < 0)
                    continue;
                const double gain =
                    t->best[r1 * COLS + c1] + group->options[i].gain;
                if (gain > best) {
                    best = gain;
                    taken[cell] = (uint8_t) i;
                }
            }
            t->best[cell] = best;
        }
}

// The cell that is left for options when group g is the last one reached.
static int32_t room_of(const struct table *t, uint32_t g)
{
    uint32_t fixed[KNAPSACK_LIMITS];

    if (!cell_cost(fixed, t, t->groups[g].fixed))
        return -1;
    return (int32_t) ((KNAPSACK_STEPS_0 - fixed[0]) * COLS + KNAPSACK_STEPS_1 -
                      fixed[1]);
}

static void read_back(int32_t *choice, const struct table *t, uint32_t last,
                      int32_t cell)
{
    for (uint32_t g = last + 1; g-- > 0;) {
        const uint8_t i = t->taken[(size_t) g * CELLS + (uint32_t) cell];
        uint32_t steps[KNAPSACK_LIMITS];
        if (i == NOT_TAKEN)
            continue;
        choice[g] = i;
        (void) cell_cost(steps, t, t->groups[g].options[i].cost);
        cell -= (int32_t) (steps[0] * COLS + steps[1]);
    }
}

static bool is_well_formed(const struct knapsack_group *groups, uint32_t n)
{
    for (uint32_t g = 0; g < n; g++) {
        if (groups[g].n_options > KNAPSACK_OPTIONS_MAX)
            return false;
        for (int i = 0; i < KNAPSACK_LIMITS && g > 0; i++)
            if (groups[g].fixed[i] < groups[g - 1].fixed[i])
                return false;
    }
    return n <= KNAPSACK_GROUPS_MAX;
}

int knapsack_solve(int32_t *choice, double *gain,
                   const struct knapsack_group *groups, uint32_t n_groups,
                   const uint64_t limits[KNAPSACK_LIMITS])
{
    struct table t = {.groups = groups, .limits = limits};
    uint32_t last = 0;
    int32_t at = -1;
    int rc = -ENOMEM;

    if (!is_well_formed(groups, n_groups))
        return -EINVAL;
    t.best = fault_calloc(CELLS, sizeof(*t.best));
    t.taken = fault_calloc((size_t) n_groups + 1, CELLS);
    if (!t.best || !t.taken)
        goto out;

    *gain = 0;
    for (uint32_t g = 0; g < n_groups; g++) {
        choice[g] = -1;
        add_group(&t, g);
        const int32_t cell = room_of(&t, g);
        if (cell >= 0 && t.best[cell] > *gain) {
            *gain = t.best[cell];
            last = g;
            at = cell;
        }
    }
    if (at >= 0)
        read_back(choice, &t, last, at);
    rc = 0;
out:
    free(t.best);
    free(t.taken);
    return rc;
}
