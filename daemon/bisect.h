// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Bisect
 *
 * Which of the records that a worker died over is the one. Trials learn from
 * one half of the suspects each; the half that kills the worker holds the
 * culprit, and one that does not, does not. A single suspect is guilty only
 * when trials of it alone died several times, so that a worker that was killed
 * for another reason makes no record a culprit. Pure.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    BISECT_MAX = 256,
    BISECT_SURE = 3, // deaths of a single suspect
    BISECT_TEXT_BYTES = 8192,
};

enum bisect_step {
    BISECT_GOES_ON,
    BISECT_FOUND,   // the only suspect left
    BISECT_NOTHING, // no record alone kills the worker
};

struct bisect {
    int64_t ids[BISECT_MAX]; // the next trial's first
    int count;               // 0: nothing is sought
    int tried;               // so many of them are in the next trial
    int deaths;              // in trials of the only suspect
};

// Each id counts once. Nothing is sought when there are none, or too many.
void bisect_begin(struct bisect *b, const int64_t *ids, size_t n);
void bisect_end(struct bisect *b);

// How the trial of the first `tried` went.
enum bisect_step bisect_died(struct bisect *b);
enum bisect_step bisect_survived(struct bisect *b);

// "tried deaths id id ..." for the store; "" when nothing is sought.
void bisect_print(char *out, size_t size, const struct bisect *b);
// Anything that bisect_print() does not write is as nothing: false.
bool bisect_parse(struct bisect *b, const char *text);
