// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * The inside of struct trainer, for the files of it
 *
 * Invariants, whenever a caller can look:
 * 1. The device's VALUE, MEAN and VARIANCE are those after `step` steps; a step
 *    that was cut off has been undone.
 * 2. GRADIENT is zero, or is_dirty.
 * 3. Steps, rates, order of data and evaluations follow from `step` alone.
 */

#include "engine/base/rng.h"
#include "engine/train/journal.h"
#include "engine/train/microbatch.h"
#include "engine/train/packing.h"
#include "engine/train/privacy.h"
#include "engine/train/trainer.h"

struct answers;
struct dataset;
struct kept_state;
struct prober;
struct program_cache;
struct token_norms;

// What undoing a step, and a checkpoint, need: VALUE, MEAN, VARIANCE.
enum { SAVED_PARTS = 3 };

struct trainer {
    struct base_model *base;
    struct recipe recipe;
    bool is_moved; // see trainer_params
    struct scheme scheme;
    struct checkpoint_key key;
    struct dataset *trained;
    struct dataset *held_out;
    struct adapter_state *state;
    struct kept_state *kept;
    struct token_norms *norms; // NULL: nobody chooses tokens
    struct program_cache *cache;
    struct prefix *prefix;  // NULL: the whole model runs
    struct prober *prober;  // NULL: there are gradients
    struct journal journal; // of its steps
    struct adapter *start;  // of a run that is not a new adapter's; or NULL
    // Of a run that keeps its records private, else all zero.
    struct privacy_release privacy;
    struct privacy spent_before; // by the adapter that it starts from
    struct rng noise;            // of the system, not of the seed
    struct packing packing;
    struct packing next; // of the step that follows, where `prefix` reads it
    struct packing_rows rows;
    // What a step chooses among: examples, of which each is some windows.
    uint32_t n_examples;
    uint32_t *first_window;  // (n_examples + 1)
    uint32_t *chosen;        // (windows) of a step
    uint32_t *order;         // examples of `order_epoch`
    struct answers *answers; // objective f1, of held-out pairs
    struct dataset_watch watch;
    uint32_t *watched; // records of a step, where somebody looks
    uint64_t order_epoch;
    uint32_t length; // places in the longest row
    uint32_t micro_rows;
    struct microbatch micro;
    uint64_t steps_epoch, steps_total, eval_every;

    size_t n_floats;
    // (SAVED_PARTS, n_floats): the state before this step; NULL where updates
    // come last, and a step that is cut off has changed nothing.
    float *saved;
    float *best; // (n_floats)
    bool is_dirty;

    uint64_t step;
    uint64_t best_step;
    double best_loss; // NAN without held-out records
    double step_loss;
    uint32_t evals_since_best;
    enum trainer_end end;
    struct checkpoint_eval *evals;
    uint32_t n_evals;

    double tokens_per_s; // of this process
    bool has_news_of_eval;
};

// Records, and the examples in them: trained, held_out, first_window.
int trainer_load(struct trainer *t, const struct trainer_params *params,
                 struct error *err);
// Of an example, to be in a step that chooses by chance.
double trainer_rate(const struct trainer *t);
// The packing of this step.
int trainer_choose(struct trainer *t);
// The packing of the next one goes to `next`; empty where only chance knows it,
// or there is no next one.
int trainer_choose_next(struct trainer *t);

// What a run keeps beside its adapter, in floats.
size_t trainer_kept_floats(const struct trainer *t);
