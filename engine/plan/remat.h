// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Choice of what to recompute
 *
 * Gradients read values of the forward pass, which lie in the arena until then.
 * Under a budget some of them are not kept but made again: those that save the
 * most bytes for the least work first, from normalised inputs and products of
 * a SwiGLU through what attention reads to whole blocks, of which only the
 * input stays (Chen et al., "Training Deep Nets with Sublinear Memory Cost",
 * arXiv 1604.06174). As few as meet the budget; none when there is none. The
 * choice is a function of graph, budget and scratch, and results do not hang on
 * it.
 */

#include "engine/ir/graph.h"

// Bytes that a node needs in the arena while it runs.
typedef size_t remat_scratch_fn(void *user, const struct graph *g,
                                const struct node *n);

struct remat_params {
    size_t budget;             // bytes live at once; 0: no limit
    remat_scratch_fn *scratch; // NULL: none
    void *user;
    bool is_deferred; // as in struct schedule_params
};

struct remat_choice {
    uint32_t n_marked;    // nodes whose results are not kept
    uint32_t n_probes;    // plans that were looked at
    size_t peak_kept;     // live bytes when everything is kept
    size_t peak;          // as chosen; above the budget when nothing meets it
    uint64_t flops;       // of the graph as it is
    uint64_t flops_extra; // of what is made again
};

// Marks nodes of `g` for pass_remat(), which has not run yet.
int remat_choose(struct remat_choice *out, struct graph *g,
                 const struct remat_params *params);
