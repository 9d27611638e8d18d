// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/night.h"

enum {
    DAY_S = 24 * 3600,
    // Clocks run apart by less in the longest time between two looks, and
    // whoever sets a clock by less moves noon by less.
    JUMP_MS = 10 * 60 * 1000,
};

int64_t night_day(int64_t unix_ms, int64_t offset_s)
{
    int64_t s = unix_ms / 1000 + offset_s - DAY_S / 2;

    return s >= 0 ? s / DAY_S : (s - DAY_S + 1) / DAY_S;
}

bool night_see(struct night *n, int64_t unix_ms, int64_t offset_s,
               int64_t boot_ms)
{
    int64_t day = night_day(unix_ms, offset_s);
    bool was_set = false;

    if (n->seen_ms != 0) {
        int64_t apart = (unix_ms - n->seen_ms) - (boot_ms - n->seen_boot_ms);
        was_set = apart > JUMP_MS || apart < -JUMP_MS;
    }
    // By how much the clock ran by itself decides whether noon has passed.
    int64_t ran = n->seen_ms + (boot_ms - n->seen_boot_ms);
    if (was_set ? night_day(ran, offset_s) > n->day : day > n->day) {
        n->used_ms = 0;
        n->used_j = 0;
    }
    // A clock that is set back a little over noon passes it twice.
    const bool is_new = was_set || day > n->day;
    if (is_new)
        n->day = day;
    n->seen_ms = unix_ms;
    n->seen_boot_ms = boot_ms;
    return is_new;
}
