// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Lowering
 *
 * Turns scheduled nodes into instructions, in two steps around the memory
 * plan: first everything but places, so that the backend can say what scratch
 * it needs, then the offsets. Also the inside of struct program, for the files
 * of exec/.
 */

#include "engine/exec/program.h"
#include "engine/passes/pass.h"
#include "engine/plan/memplan.h"
#include "engine/plan/remat.h"

struct arena;

struct program_io {
    const char *name;
    bool is_output;
    struct operand operand;
};

// Everything lives in `arena`.
struct program {
    struct arena *arena;
    struct instr *instrs;
    uint32_t n_instrs;
    uint64_t *work;               // of each, as in engine/plan/flops.h
    struct program_place *places; // of each; NULL: nothing was chosen
    struct program_slot *weights;
    uint32_t n_weights;
    struct program_slot *states;
    uint32_t n_states;
    struct program_io *ios;
    uint32_t n_ios;
    struct program_piece *pieces;
    uint32_t n_pieces;
    uint32_t first_backward; // instruction; n_instrs: there is none
    uint32_t first_update;   // of a program that is deferred; n_instrs else
    size_t arena_bytes;
    size_t live_bytes; // the largest sum of live bytes: what no plan can beat
    struct program_costs costs;
    struct pass_stats passes[PASS_COUNT];
};

// What the backend asks for beside a node's inputs and outputs: a
// remat_scratch_fn.
struct lower_target {
    const struct backend *backend;
    const struct device *dev;
};
// Has it a kernel of its own for `op`, on the device itself?
bool lower_has(const struct lower_target *target, enum op op);
size_t lower_scratch(void *target, const struct graph *g, const struct node *n);

// Instructions without places. -ENOTSUP and a sentence when the backend cannot
// run one.
// `is_deferred`: all updates stand at the end.
int lower_schedule(struct program *p, const struct schedule *s,
                   bool is_deferred, const struct lower_target *target,
                   struct error *err);
// Their places, the inputs and outputs, and the map of the arena.
int lower_places(struct program *p, const struct memplan *plan);
