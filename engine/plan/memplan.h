// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Memory planner
 *
 * Gives each interval of a schedule an offset in one arena, so that intervals
 * alive at the same time do not overlap. Sizes are known before anything is
 * allocated. Nothing here touches a device.
 */

#include "engine/plan/liveness.h"

struct memplan {
    const struct liveness *liveness;
    size_t *offsets; // by interval, multiples of LIVENESS_ALIGN
    size_t peak;     // bytes of the arena
};

// Lives in `a` and borrows `l`.
int memplan_assign(struct memplan **out, const struct liveness *l,
                   struct arena *a);

// True when no two intervals overlap in time and space, and all end below
// the peak.
bool memplan_check(const struct memplan *p);
