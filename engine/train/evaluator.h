// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Evaluator
 *
 * Loss of a dataset, record by record, forward only.
 */

#include "engine/models/model.h"
#include "engine/train/dataset.h"

struct error;
struct executor;
struct packing_rows;
struct prefix;
struct program_cache;

struct evaluator_params {
    struct program_cache *cache; // bound to the adapter, if any
    const struct scheme *scheme; // NULL: the base model alone
    uint32_t length;             // places in the longest row
    uint32_t rows;               // rows of that length in a program
    struct prefix *prefix;       // of as many rows of that length, or NULL
};

// Sums of one record of the array that the dataset was made from.
struct evaluator_sum {
    double nats;
    uint64_t n_targets;
};

// Adds to sums[record]. -EINTR when the device was stopped: sums are then of
// no use.
int evaluator_run(struct evaluator_sum *sums, const struct dataset *d,
                  const struct evaluator_params *params, struct error *err);

// Gives a program of phase LOSS its inputs: the states that `prefix` was filled
// with (NULL: there is none), or the tokens.
int evaluator_inputs(struct executor *x, const struct packing_rows *r,
                     size_t places, const struct prefix *prefix);
