// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Programs
 *
 * What the compiler makes: a flat list of instructions, one arena of known
 * size, and the names of the weights and states it wants bound. Nothing is
 * allocated, looked up or decided while it runs.
 */

#include "engine/autodiff/perturb.h"
#include "engine/backend.h"
#include "engine/models/kept.h"
#include "engine/models/model.h"
#include "engine/models/scheme.h"

#include <stddef.h>
#include <stdint.h>

struct error;
struct graph;
struct program;
struct timetable;

enum program_kind {
    PROGRAM_TRAIN,      // loss, gradients, update at once. input hyper (8)
    PROGRAM_ACCUMULATE, // loss, gradients added to states NAME.g
    PROGRAM_UPDATE,     // as TRAIN, on NAME.g + gradients; leaves NAME.g zero
    PROGRAM_GRADIENT,   // outputs grad.NAME, for tests and tools
    PROGRAM_EVAL,       // loss and nll only
    PROGRAM_CACHED,     // generation: logits from key-value caches
    PROGRAM_PREFIX,     // hidden states at the entry of first_block
    PROGRAM_GAINS,      // MODEL_PHASE_GAINS: what CACHED wants of DoRA
    PROGRAM_PERTURBED,  // as EVAL, of perturbed copies: autodiff/perturb.h
    PROGRAM_MOVE,       // the update that follows, without a model; whole,
                        // or not at all when stopped
};
// Kinds that have gradients and choose tokens for them (models/kept.h): inputs
// token_norms (T), draw (4); output token_squares (T). A program in which
// nobody is left to choose has none of the three. Kinds that learn also bind
// states NAME.m and NAME.v (not ACCUMULATE).

struct program_params {
    enum program_kind kind;
    uint32_t batch; // of PERTURBED: of one copy
    uint32_t length;
    uint32_t cache_length;
    uint32_t n_rows;
    const struct scheme *scheme; // borrowed for the call; NULL: base alone
    // 0, or where to begin: with inputs hidden and state instead of tokens.
    uint32_t first_block;
    // Bytes of the arena that the planner tries to keep to by making values of
    // the forward pass again for the gradients; 0: no limit. Where nothing
    // meets it, program_arena_bytes() is larger. Results do not hang on it.
    uint64_t arena_budget;
    struct model_drop drop;   // of the kinds that learn
    struct kept kept;         // of the kinds that learn
    struct perturb perturb;   // of PERTURBED and MOVE
    enum precision precision; // of all products
    uint32_t passes_off;      // bits 1 << PASS_name, for tests and tools
    // The optimizer runs last, behind executor_run_gradients(). Costs the bytes
    // of all gradients, spares a copy of the state for a step that is undone.
    bool is_deferred;
    // Times measured on the device, by which kernel and threads of each
    // instruction are chosen; borrowed for the call. NULL: the best kernel and
    // all threads. Of PREFIX, whose states outlive tables, only threads.
    const struct timetable *times;
    uint32_t threads; // for how many that is; 0: those of the device
};

// That of generation: a few tokens may be rounded to eight bits, as llama.cpp
// does, and many to bf16.
enum precision program_cached_precision(uint32_t length);

int program_compile(struct program **out, const struct model_config *m,
                    const struct program_params *params,
                    const struct backend *backend, const struct device *dev,
                    struct error *err);
// The back half of it, for graphs from elsewhere (tests): passes, schedule,
// memory plan, lowering. The graph is rewritten, and not used after the call.
int program_compile_graph(struct program **out, struct graph *g,
                          const struct backend *backend,
                          const struct device *dev, struct error *err);
// The same without the passes whose bit 1 << PASS_name is in `off`.
int program_compile_graph_without(struct program **out, struct graph *g,
                                  uint32_t off, const struct backend *backend,
                                  const struct device *dev, struct error *err);
void program_destroy(struct program *p);

size_t program_arena_bytes(const struct program *p);

// What it costs, counted as in engine/plan/flops.h.
struct program_costs {
    uint64_t flops;        // of one run, recomputation included
    uint64_t flops_extra;  // of that, recomputation
    size_t kept_bytes;     // largest sum of live bytes if nothing were made
                           // again; 0: nobody looked
    size_t live_bytes;     // as it is: no plan of the arena can do with less
    uint32_t n_recomputed; // instructions that run twice
    double ns;             // predicted from `times`; 0: there was no table
};
void program_costs(struct program_costs *out, const struct program *p);
uint32_t program_instr_count(const struct program *p);
const struct instr *program_instr(const struct program *p, uint32_t i);
// "matmul blk.3.ffn_up.weight": an instruction and what it reads.
enum { PROGRAM_NAME = 128 };
const char *program_instr_name(char out[PROGRAM_NAME], const struct program *p,
                               uint32_t i);

// Where an instruction runs, and why.
struct program_target {
    char kernel[16];
    uint32_t threads; // 0: there is none
    double ns;
};
struct program_place {
    uint64_t shape;   // equal for instructions that take equally long
    bool is_known;    // something like it was timed; else nothing was chosen
    bool is_measured; // at this very shape
    struct program_target chosen;
    struct program_target other; // the fastest of those that were not
};
// NULL where nothing was chosen, for want of times.
const struct program_place *program_place(const struct program *p, uint32_t i);

// What must be bound, by index.
struct program_slot {
    const char *name;
    uint8_t dtype;
    uint8_t rank;
    int64_t ne[4];
    size_t bytes;
};
uint32_t program_weight_count(const struct program *p);
const struct program_slot *program_weight(const struct program *p, uint32_t i);
uint32_t program_state_count(const struct program *p);
const struct program_slot *program_state(const struct program *p, uint32_t i);

// Inputs and outputs of the host live in the arena. NULL when there is none.
const struct operand *program_io(const struct program *p, const char *name);

// Pieces of the arena, each for a span of instructions.
enum program_piece_kind {
    PROGRAM_PIECE_IO,       // inputs and outputs of the host
    PROGRAM_PIECE_FORWARD,  // of the forward pass, dead before the gradients
    PROGRAM_PIECE_KEPT,     // of the forward pass, read by gradients
    PROGRAM_PIECE_AGAIN,    // made again for gradients
    PROGRAM_PIECE_GRADIENT, // of the backward pass
    PROGRAM_PIECE_SCRATCH,  // room for one instruction
    PROGRAM_PIECE_KINDS
};
struct program_piece {
    const char *name; // of its first value
    const char *what; // "matmul blk.3.ffn_up.weight": what made it
    enum program_piece_kind kind;
    size_t offset;
    size_t bytes;
    uint32_t first; // instructions, both included
    uint32_t last;
};
uint32_t program_piece_count(const struct program *p);
const struct program_piece *program_piece(const struct program *p, uint32_t i);
const char *program_piece_kind_name(enum program_piece_kind kind); // "kept"

// Offset against instruction, a rectangle for each piece, as SVG; free() it.
int program_draw(char **out, const struct program *p);

// Passes, instructions and arena map as text for people; free() it.
int program_print(char **out, const struct program *p);

/*
 * Executor: one program bound to memory on one device.
 */
struct executor;

struct executor_params {
    const struct backend *backend;
    struct device *dev;
    // Programs that run one after another may share one arena of the largest
    // size. NULL: the executor makes its own.
    struct buffer *arena;
    // Called once for each slot; fills *out or fails with a sentence.
    int (*bind_weight)(struct binding *out, const struct program_slot *slot,
                       void *user, struct error *err);
    int (*bind_state)(struct binding *out, const struct program_slot *slot,
                      void *user, struct error *err);
    void *user;
};

// Borrows `p`.
int executor_create(struct executor **out, const struct program *p,
                    const struct executor_params *params, struct error *err);
void executor_destroy(struct executor *e);

// Name and size must be those of program_io(); -EINVAL otherwise.
int executor_write(struct executor *e, const char *input, const void *data,
                   size_t bytes);
int executor_read(struct executor *e, const char *output, void *data,
                  size_t bytes);
bool executor_has(const struct executor *e, const char *input_or_output);
// Runs from the start to the end. 0, -EINTR when the device's stop flag was
// raised (call again to go on at the same instruction; executor_reset() starts
// over), or a negative errno of the device.
int executor_run(struct executor *e);
// The same up to the updates of a program that is deferred, all of any other:
// values and moments of the adapter have not changed. executor_run() goes on
// from there, and is not stopped once the first update has begun.
int executor_run_gradients(struct executor *e);
void executor_reset(struct executor *e);
// As executor_run() from the start, one instruction at a time; adds the
// nanoseconds of instruction i to ns[i].
int executor_profile(struct executor *e, uint64_t *ns);
