// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/plan/place.h"

#include "engine/base/fault.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static double cost_of(const struct place_problem *p, uint32_t step, uint32_t at)
{
    return p->cost[(size_t) step * p->n_targets + at];
}

// To be at `to` in front of a step when the one before ran at `from`.
static double change_of(const struct place_problem *p, uint32_t step,
                        uint32_t from, uint32_t to)
{
    const size_t i = (size_t) from * p->n_targets + to;
    double sum = 0;

    if (from == to)
        return 0;
    if (p->change)
        sum += p->change[i];
    if (p->change_byte && p->alive && p->alive[step] > 0)
        sum += p->change_byte[i] * (double) p->alive[step];
    return sum;
}

double place_cost(const struct place_problem *p, const uint16_t *choice)
{
    double sum = 0;

    for (uint32_t i = 0; i < p->n_steps; i++) {
        if (i > 0)
            sum += change_of(p, i, choice[i - 1], choice[i]);
        sum += cost_of(p, i, choice[i]);
    }
    return sum;
}

// best[t]: the least sum of all steps so far that ends at t, by way of from[t].
static void advance(double *best, uint16_t *from, const struct place_problem *p,
                    uint32_t step)
{
    double before[PLACE_TARGETS_MAX];

    memcpy(before, best, p->n_targets * sizeof(*best));
    for (uint32_t to = 0; to < p->n_targets; to++) {
        double least = INFINITY;
        from[to] = 0;
        for (uint32_t f = 0; f < p->n_targets; f++) {
            const double sum = before[f] + change_of(p, step, f, to);
            if (sum < least) {
                least = sum;
                from[to] = (uint16_t) f;
            }
        }
        best[to] = least + cost_of(p, step, to);
    }
}

int place_solve(uint16_t *choice, double *total, const struct place_problem *p)
{
    double best[PLACE_TARGETS_MAX];
    uint16_t last = 0;

    assert(p->n_targets >= 1 && p->n_targets <= PLACE_TARGETS_MAX);
    if (p->n_steps == 0) {
        *total = 0;
        return 0;
    }
    // Where each step came from, for the way back.
    uint16_t *from =
        fault_calloc((size_t) p->n_steps * p->n_targets, sizeof(*from));
    if (!from)
        return -ENOMEM;
    memcpy(best, p->cost, p->n_targets * sizeof(*best));
    for (uint32_t i = 1; i < p->n_steps; i++)
        advance(best, from + (size_t) i * p->n_targets, p, i);
    for (uint16_t t = 1; t < p->n_targets; t++)
        if (best[t] < best[last])
            last = t;
    const bool is_there = isfinite(best[last]);
    if (is_there)
        *total = best[last];
    for (uint32_t i = p->n_steps; is_there && i-- > 0;) {
        choice[i] = last;
        last = from[(size_t) i * p->n_targets + last];
    }
    free(from);
    return is_there ? 0 : -ENOTSUP;
}
