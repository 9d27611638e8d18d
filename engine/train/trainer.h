// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Trainer
 *
 * Records and a recipe to a better adapter. An optimizer step is one program,
 * or several micro-batches of as many rows as the memory allows; all that
 * happens is a function of the model, recipe, records and start adapter, so
 * that a run which is stopped and resumed at any point ends with the same
 * bytes. Held-out loss is measured at regular steps; the best adapter is kept,
 * and the run ends when it was not improved on for a while.
 */

#include "engine/train/checkpoint.h"
#include "engine/train/prefix.h"
#include "engine/train/recipe.h"
#include "engine/train/record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct adapter;
struct base_model;
struct microbatch;
struct error;
struct timetable;
struct trainer;

enum trainer_end {
    TRAINER_GOING,
    TRAINER_COMPLETE,  // all epochs
    TRAINER_CONVERGED, // held-out loss no longer improves
    TRAINER_DIVERGED,  // loss is not a number
    TRAINER_ENDS
};

struct trainer_params {
    const struct recipe *recipe;  // copied
    const struct record *records; // borrowed for the call
    size_t n_records;
    const struct adapter *start; // NULL: a new adapter; borrowed for the call
    // Where states of blocks that do not learn are kept. The descriptor is
    // borrowed until destroy. NULL: nowhere; the result is the same.
    const struct prefix_file *prefix;
    // A checkpoint may have been made with micro-batches of other rows: on
    // another device, whose sums have other bytes anyway.
    bool is_moved;
    const struct dataset_watch *watch; // copied; NULL: nobody looks
};

int trainer_create(struct trainer **out, struct base_model *base,
                   const struct trainer_params *params, struct error *err);
void trainer_destroy(struct trainer *t);

// The kernel times in a checkpoint, for base_model_swap_times() before
// trainer_create(); NULL when it has none, or those of another device. The run
// goes on with them, and so with the same bytes, whatever was measured since.
int trainer_times(struct timetable **out, const struct base_model *base,
                  const void *data, size_t bytes, struct error *err);

// What the adapter takes while it learns: its optimizer, sums of gradients over
// micro-batches, the best so far, and what undoes a step, as far as such a run
// has them.
size_t trainer_micro_bytes(const struct microbatch *m);
// The same for so many floats, in micro-batches with late updates.
size_t trainer_state_bytes(size_t n_floats);

struct trainer_info {
    uint32_t n_trained, n_held_out; // records
    uint64_t targets_trained, targets_held_out;
    uint64_t steps_total, steps_epoch;
    uint32_t micro_rows, length;
    size_t arena_bytes, state_bytes;
};
// A sentence for the owner, once; then NULL.
const char *trainer_notice(struct trainer *t);
// What the prefix cache did so far; zeros without one.
void trainer_prefix_stats(struct prefix_cache_stats *out,
                          const struct trainer *t);
void trainer_describe(struct trainer_info *out, const struct trainer *t);
// What a run would need; the counts are zero.
int trainer_plan(struct trainer_info *out, const struct base_model *base,
                 const struct recipe *r, struct error *err);

struct trainer_progress {
    uint64_t step, steps_total;
    double epoch;
    float rate;
    double loss;
    double tokens_per_s;
    bool has_held_out;
    double held_out_loss, best_loss, start_loss; // NAN: not known
    uint64_t best_step;
    enum trainer_end end;
};
void trainer_progress(struct trainer_progress *out, const struct trainer *t);

typedef void trainer_news_fn(void *user, const struct trainer_progress *p);

// 1 when there is more to do, 0 at the end, -EINTR when the device was stopped.
int trainer_run(struct trainer *t, uint64_t steps_max, trainer_news_fn *on_news,
                void *user, struct error *err);

// malloc'ed bytes; restore wants a trainer made of the same things.
int trainer_save(void **out, size_t *bytes, const struct trainer *t,
                 struct error *err);
int trainer_restore(struct trainer *t, const void *data, size_t bytes,
                    struct error *err);

// What a run without gradients can be rebuilt from, up to its best adapter;
// malloc'ed. *bytes is 0 where there were gradients.
int trainer_journal(void **out, size_t *bytes, const struct trainer *t,
                    struct error *err);
int trainer_best(struct adapter **out, const struct trainer *t,
                 struct error *err);
