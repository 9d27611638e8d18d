// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Learning without gradients
 *
 * The forward graph of a batch that is repeated `copies` times, copy after
 * copy, becomes one in which each copy sees its own values of what learns:
 * value + size * direction. All else, the weights of the base above all, is
 * read once for all copies. Directions are noise (engine/base/noise.h), made
 * from counters next to their reader, and gone behind it. With one copy it is
 * MeZO's pass (Malladi et al., arXiv 2305.17333); with as many as there are
 * queries, or twice that, P-RGE's (Gao et al., arXiv 2409.15520).
 *
 *     %1 f32[8,3] = matmul @h, @b {alpha=1, trans_b=1}
 * becomes
 *     %2 f32[10,4] = perturb @b, @draw, @queries, @sizes
 *     %1 f32[8,3] = matmul_copies @h, %2 {alpha=1, copies=2}
 *
 * The update is another program: each value moves along the same directions,
 * made again.
 */

#include "engine/ir/graph.h"

struct error;

enum perturb_update {
    PERTURB_SGD,      // value += sum of coefs * directions
    PERTURB_MOMENTUM, // states NAME, NAME.m; input hyper (8)
    PERTURB_ADAM,     // states NAME, NAME.m, NAME.v; input hyper (8)
    PERTURB_UPDATES
};

enum { PERTURB_COPIES_MAX = 1024 };

struct perturb {
    uint32_t copies;    // of the forward pass
    uint32_t queries;   // directions of the update
    uint8_t noise;      // enum noise
    uint8_t update;     // enum perturb_update
    uint8_t has_limits; // only values that are not above them move
    uint8_t unused;     // zero
};

struct perturb_values {
    const value_id *values;  // what learns; VALUE_NONE is passed over
    const uint32_t *streams; // number of its noise, and of its limit
    const float *rates;      // learning rate of each, in that of the run
    uint32_t n;
    uint32_t n_limits;
};

// Inputs draw i32 (4), queries i32 (copies), sizes (copies), and limits
// (n_limits) if it has them. -ENOTSUP and a sentence when something learns that
// only one copy at a time can be made of.
int perturb_forward(struct graph *g, const struct perturb *p,
                    const struct perturb_values *v, struct error *err);
// Inputs draw, queries i32 (queries), coefs (queries), limits, hyper.
int perturb_move(struct graph *g, const struct perturb *p,
                 const struct perturb_values *v, struct error *err);
