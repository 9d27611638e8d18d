// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Steady power
 *
 * A loose plug, a charger that is too weak or a driver in doubt changes its
 * mind each second. Power that is lost is lost at once; power that comes is
 * believed at once too, until it changed four times within a minute: from then
 * on it counts as lost, until it holds for a minute. Pure.
 */

#include "daemon/snapshot.h"

enum {
    STEADY_CHANGES = 4,
    STEADY_SPAN_MS = 60 * 1000,
};

struct steady {
    int64_t changed_ms[STEADY_CHANGES]; // the newest of them last
    int count;
    int flaps; // changes since it is held
    bool is_known;
    bool last;
    bool is_held;
};

// Whether it is to be held as lost, with `is_good` as of now.
bool steady_update(struct steady *s, bool is_good, int64_t now_ms);
// While it is held: in how many milliseconds it may be believed again; else -1.
int64_t steady_due_ms(const struct steady *s, int64_t now_ms);
