// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Energy (loop thread)
 *
 * What the whole machine takes while training runs, where it says so: counters
 * of the processor (powercap, as RAPL), else what the charger gives less what
 * the battery keeps of it. Most laptops let only root read the first and most
 * phones have the second; where there is neither, nothing is made up.
 */

#include <stdbool.h>
#include <stdint.h>

enum { ENERGY_ZONES_MAX = 8 };

struct energy {
    bool is_started;
    int64_t at_ms; // monotonic, of the last reading
    int count;     // of counters; 0: power is read
    struct {
        char dir[32];
        uint64_t uj;
        uint64_t range_uj; // where it wraps; 0: not known
    } zones[ENERGY_ZONES_MAX];
    const char *source; // "powercap", "charger" or "none"
};

// Forget what was read: the time until the next energy_take() counts.
void energy_start(struct energy *e, const char *root, int64_t now_ms);
// Joules since the last call, or NAN: not reported, or not to be believed.
double energy_take(struct energy *e, const char *root, int64_t now_ms);

// From one reading of a counter to the next, over its wrap.
uint64_t energy_counted(uint64_t before, uint64_t after, uint64_t range);
