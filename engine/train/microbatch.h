// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Micro-batch
 *
 * How a training step fits into the recipe's memory: rows in a program, their
 * length, and what its planner makes again instead of keeping. Found by
 * compiling, before anything is allocated: of the ways that fit, the one with
 * the least work for a step; if none does, rows are shortened. The answer is
 * part of what a run's bytes depend on, so it must not depend on the number of
 * threads: it is asked for a device of one.
 */

#include "engine/exec/program.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct base_model;
struct error;
struct recipe;

struct microbatch {
    uint32_t rows;
    uint32_t n_micro;   // programs in a step, at most
    uint32_t length;    // places in a row: the recipe's, or what fits
    uint32_t copies;    // of the adapter at once; 0: by gradient
    uint32_t n_moments; // that a step without gradients keeps
    size_t arena_bytes;
    size_t n_floats; // of the adapter
    uint64_t budget; // of the arena, for all programs of the run
    // Updates come last (program_params): where gradients take less than half
    // of the memory. It saves the copies that undo a step.
    bool is_deferred;
    struct kept kept;           // the recipe's
    struct program_costs costs; // of the largest program
    char why[256];              // sentences for people
};

// What "auto" is on this model: by gradient, unless that says -ENOMEM.
int microbatch_method(struct recipe *r, const struct base_model *base,
                      struct error *err);
// -ENOMEM with a sentence when not even one short row fits.
int microbatch_plan(struct microbatch *out, const struct base_model *base,
                    const struct recipe *r, struct error *err);
