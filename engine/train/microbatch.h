// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Micro-batch
 *
 * How many rows a training program may have within the recipe's memory. Found
 * by compiling, before anything is allocated. The answer is part of what a
 * run's bytes depend on, so it must not depend on the number of threads: it is
 * asked for a device of one.
 */

#include <stddef.h>
#include <stdint.h>

struct base_model;
struct error;
struct recipe;

struct microbatch {
    uint32_t rows;
    uint32_t length; // places in a row: the recipe's, or the model's context
    size_t arena_bytes;
    size_t n_floats; // of the adapter
};

// -ENOMEM with a sentence when not even one row fits.
int microbatch_plan(struct microbatch *out, const struct base_model *base,
                    const struct recipe *r, struct error *err);
