// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Windows
 *
 * The hours in which training may run, as the owner writes them: windows with a
 * comma between, each "22:00-06:00" on every day or "sat+sun/10:00-18:00" and
 * "mon-fri/22:00-06:00" on some. A window whose end comes before its start goes
 * over midnight and belongs to the day on which it began. Pure.
 */

#include "engine/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WINDOW_MAX = 16,
    WINDOW_DAY_MIN = 24 * 60,
};

struct window {
    uint8_t days;  // bit 0: Sunday
    int start_min; // after local midnight, 0 .. 1439
    int end_min;   // 1 .. 1440; not after start_min: on the next day
};

struct windows {
    struct window list[WINDOW_MAX];
    int count;
};

// -EINVAL, and a sentence, for anything else than the above; a window that is
// never open is refused.
int windows_parse(struct windows *out, const char *text, struct error *err);
// One that is open each day: for the two numbers of the policy. A window that
// is empty never opens.
void windows_daily(struct windows *out, int64_t start_min, int64_t end_min);

// `weekday` 0: Sunday; both local.
bool windows_is_open(const struct windows *w, int weekday, int minute);
// In how many minutes the next one opens; 0: one is open; -1: never.
int windows_opens_in(const struct windows *w, int weekday, int minute);
