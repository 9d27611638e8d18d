// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Search for a scheme
 *
 * Which linears should learn, and with what rank, within some memory and time?
 * Every linear has a gain, from the gradient of its weight (contribution.h),
 * and a cost, which the compiler tells; an exact knapsack over both gives the
 * scheme (plan/knapsack.h). One saved input serves q, k and v, and another gate
 * and up, so these are chosen together; and what is learned deep in the model
 * needs gradients all the way down to it, which is paid once.
 *
 * The gain of a linear is the length of its gradient, times the root of how
 * many numbers its factors have for each rank: the first-order fall of the loss
 * for an optimizer that moves each number alike (AdamW). What a higher rank can
 * hold in the end is R / (R + 1) of it, as rank 16 gained 4.5 % over rank 8 on
 * the demo data. Adding gains up is an assumption (Lin et al., arXiv
 * 2206.15472, section 2.2).
 */

#include "engine/ir/op.h"
#include "engine/models/scheme.h"

#include <stddef.h>
#include <stdint.h>

struct base_model;
struct contribution;
struct error;

struct scheme_search_params {
    const struct contribution *contribution;
    float alpha;           // of the adapter
    uint32_t rows, length; // of a micro-batch
    enum precision precision;
    uint64_t tokens; // of the whole training, for its time
    // Arena, and state of the adapter. UINT64_MAX: no limit.
    uint64_t memory_bytes;
    double seconds; // of the whole training; 0: no limit
};

struct scheme_found {
    struct scheme scheme;
    double gain; // of what all linears would gain with high ranks
    size_t arena_bytes;
    size_t state_bytes;
    uint64_t arena_budget; // for program_params
    uint64_t flops;        // of a micro-batch
    double seconds;        // predicted, of the whole training
    uint32_t n_recomputed; // instructions that run twice
};

// -ENOSPC with a sentence that says the smallest memory and time that would do.
// The same contributions give the same scheme, but for the time that they say
// a step takes.
int scheme_search(struct scheme_found *out, const struct base_model *base,
                  const struct scheme_search_params *params, struct error *err);
