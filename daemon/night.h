// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Night
 *
 * What training has used since the last noon. Days begin at noon, so that a
 * night is one day. A clock that is set, by hours or by years, gives nobody a
 * new night: the budget begins anew only when the wall clock came past a noon
 * by itself, as a clock that cannot be set says. Pure.
 */

#include <stdbool.h>
#include <stdint.h>

struct night {
    int64_t day; // days since 1970, from noon to noon, local
    int64_t used_ms;
    double used_j;        // where the machine reports it
    int64_t seen_ms;      // unix time of the last look; 0: none yet
    int64_t seen_boot_ms; // CLOCK_BOOTTIME then
};

// The day to which a time belongs; `offset_s` is local time's from UTC.
int64_t night_day(int64_t unix_ms, int64_t offset_s);
// Look at the clocks: must be called before anything is read or added. True:
// the day is another than before, which is worth being stored.
bool night_see(struct night *n, int64_t unix_ms, int64_t offset_s,
               int64_t boot_ms);
