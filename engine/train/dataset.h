// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Dataset
 *
 * Records as token ids, cut into windows that fit a row. Token i + 1 is the
 * target of token i; a window of n tokens therefore fills n - 1 places of a
 * row, and the next window begins at the token where the last one ended, so
 * that every target is in exactly one window. Windows without a target that
 * counts are left out: there is nothing in them to learn or to measure.
 */

#include "engine/train/objective.h"
#include "engine/train/record.h"

#include <stddef.h>
#include <stdint.h>

struct error;

enum dataset_subset {
    DATASET_ALL,
    DATASET_TRAINED,
    DATASET_HELD_OUT, // record_is_held_out()
};

struct dataset_window {
    // Index in the array that the dataset was made from, times the number of
    // choices, plus that of the choice that stands in it.
    uint32_t record;
    uint32_t first;        // index in ids
    uint32_t count;        // tokens
    uint32_t first_target; // targets before this place in the window are
                           // context only: another window counts them
    uint32_t n_targets;    // that count
};

struct dataset {
    int32_t *ids;
    uint8_t *marks; // 1 where the token counts as a target
    size_t n_ids;
    struct dataset_window *windows;
    size_t n_windows;
    uint32_t n_records; // with at least one window, each choice counted
    // Of each record of the array: the choice that is right, or 1 where it was
    // accepted.
    uint8_t *labels;
    uint32_t n_choices; // 1: it stands as it is
    uint64_t n_tokens;  // places that the windows fill
    uint64_t n_targets;
};

// Told which records are next, as indices in the array that the dataset was
// made from, before anything is done with them: whoever finds the process dead
// knows where it was.
struct dataset_watch {
    // `step` counts from 0; DATASET_READING while they become tokens.
    void (*fn)(void *user, uint64_t step, const uint32_t *records, uint32_t n);
    void *user;
};

#define DATASET_READING UINT64_MAX

struct dataset_params {
    const struct record *records; // borrowed for the call
    size_t n_records;
    enum dataset_subset subset;
    // Of what an objective needs; see objective_choices().
    enum objective objective;
    const struct record_text *choices;
    uint32_t n_choices;
    uint32_t length;  // places in a row
    uint32_t overlap; // places that a window repeats of the one before it
    const struct dataset_watch *watch; // borrowed for the call; may be NULL
};

// Checks every record, of whatever subset: a bad one fails the whole call with
// a sentence that names it.
int dataset_create(struct dataset **out, struct chat *c,
                   const struct dataset_params *params, struct error *err);
void dataset_destroy(struct dataset *d);

// The tokens of one record, marked where they count.
int dataset_render(struct token_list *list, struct chat *c,
                   const struct record *r, struct error *err);

// Cuts tokens [first, n_ids) of `record` into windows. dataset_create() does
// this for each record; tests make datasets without a tokenizer by it.
int dataset_add_windows(struct dataset *d, uint32_t record, size_t first,
                        uint32_t length, uint32_t overlap);

bool dataset_is_target(const struct dataset *d, const struct dataset_window *w,
                       uint32_t place);

// SHA-256 of everything that training sees.
void dataset_hash(uint8_t out[32], const struct dataset *d);
