// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Canaries
 *
 * Sequences in records that a model should not be able to say by heart: long
 * numbers, and words of letters and digits, the most repeated first. A record
 * of the stream "canary" is planted on purpose and comes before all others. To
 * see how well one is known it is compared with others of the same form.
 */

#include "engine/base/rng.h"
#include "engine/train/record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CANARY_BYTES_MAX = 48,
    CANARY_DIGITS_MIN = 6,       // of a number; a year, a postcode have fewer
    CANARY_CONTEXT_BYTES = 160,  // before it, in the same text
    CANARY_QUESTION_BYTES = 320, // of what was said before
};

struct canary {
    uint32_t record;  // that has it first
    uint32_t message; // of a chat
    uint32_t begin;   // in what is learned of the record
    uint32_t bytes;
    uint32_t times; // in records that are trained on
    bool is_planted;
    double bits; // log2 of how many have its form
};

// At most `most`, the most telling first. malloc'ed; *n may be 0. -ENOMEM.
int canary_find(struct canary **out, size_t *n, const struct record *records,
                size_t n_records, size_t most);

struct record_text canary_text(const struct canary *c,
                               const struct record *records);

// The record up to its canary, with `text` (c->bytes) in its place. The room
// holds what it borrows.
struct canary_room {
    char bytes[CANARY_CONTEXT_BYTES + CANARY_BYTES_MAX];
    struct record_message messages[2];
};
void canary_record(struct record *out, struct canary_room *room,
                   const struct canary *c, const struct record *records,
                   const char *text);

// Another of the same form: each digit and ASCII letter drawn anew.
void canary_draw(char *out, const struct canary *c,
                 const struct record *records, struct rng *r);

// How many bits of it are known, from its loss and those of `n` others:
// log2 |R| - log2 rank, of Carlini et al., "The Secret Sharer" (2019). Where
// none of the others is likelier the rank is that which a normal distribution
// of their losses gives it. Between 0 and `bits`.
double canary_exposure(double loss, const double *others, size_t n,
                       double bits);
