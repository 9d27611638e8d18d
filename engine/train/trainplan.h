// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Plan of a training job
 *
 * What a recipe would take on a model, before anything is allocated: tensors
 * that learn, work, memory and where it goes, what is made again and why.
 */

#include "engine/train/microbatch.h"

#include <stddef.h>
#include <stdint.h>

struct base_model;
struct error;
struct recipe;

enum { TRAINPLAN_GROUPS = 10, TRAINPLAN_STEPS = 12, TRAINPLAN_NAME = 64 };

// Instructions of one shape that differ by their block only: where they run,
// and where they would run next best.
struct trainplan_step {
    char what[TRAINPLAN_NAME]; // "matmul blk.*.ffn_up.weight"
    uint32_t count;
    struct program_target chosen; // ns of all of them
    struct program_target other;  // threads 0: there is none
    bool is_measured;             // else told from a shape that was
    uint64_t shape;
};

// Pieces of the arena that differ by their block only.
struct trainplan_group {
    char what[TRAINPLAN_NAME]; // "matmul blk.*.ffn_up.weight"
    enum program_piece_kind kind;
    uint32_t count;
    size_t bytes; // of all of them
};

struct trainplan {
    struct microbatch micro;
    uint32_t n_tensors; // that learn
    uint64_t n_floats;
    uint32_t first_block; // lowest in which anything learns
    uint32_t n_blocks;
    size_t state_bytes;
    double flops_token;  // of a step, for each place of a row
    uint32_t n_instrs;   // of the largest program
    uint64_t compile_us; // that it took
    uint32_t peak_instr; // where most is live
    struct trainplan_group largest[TRAINPLAN_GROUPS]; // live there
    uint32_t n_largest;
    struct trainplan_group again[TRAINPLAN_GROUPS]; // made again, in all
    uint32_t n_again;
    // By the times of kernels; without any the rest is zero.
    double step_ms;      // of a whole step, predicted
    uint32_t n_measured; // instructions whose shape was timed
    struct trainplan_step steps[TRAINPLAN_STEPS]; // longest first
    uint32_t n_steps;
};

// `drawing` may be NULL, else gets the arena as SVG; free() it.
int trainplan_make(struct trainplan *out, char **drawing,
                   const struct base_model *base, const struct recipe *r,
                   struct error *err);
