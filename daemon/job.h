// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Job
 *
 * The life of one training job as a table (job_states.def), and what a run's
 * end means for it: how long it waits before it is tried again, when it is
 * given up, and which records are suspected when workers die over them. Pure;
 * storing and running are training's, and the simulator's.
 */

#include "daemon/bisect.h"
#include "daemon/policy.h"
#include "engine/base/error.h"
#include "ipc/rpc_error.h"

#include <stdbool.h>
#include <stdint.h>

enum job_state {
#define JOB_STATE(name, text, final, next) JOB_STATE_##name,
#include "daemon/job_states.def"
#undef JOB_STATE
    JOB_STATE_COUNT
};

// How a run of a job ended.
enum job_outcome {
    JOB_OUTCOME_DONE,
    JOB_OUTCOME_INTERRUPTED, // a gate closed; nobody's fault, no back-off
    JOB_OUTCOME_TRANSIENT,   // may pass: a worker died, memory was short
    JOB_OUTCOME_NO_SPACE,    // the disk is full: tried again, however often
    JOB_OUTCOME_PERMANENT,   // the data or the model is at fault
    JOB_OUTCOME_POISON,      // a record is
};

enum {
    JOB_DEATHS_MAX = 3,    // at the same place
    JOB_FRUITLESS_MAX = 5, // runs in a row without a checkpoint
};

// Where a worker died that had not begun a step.
#define JOB_PLACE_NONE INT64_C(-1)

struct job {
    int64_t id;
    enum job_state state;
    bool is_manual;
    bool wants_pause;
    bool wants_cancel;
    int64_t created_ms;    // unix
    int64_t not_before_ms; // monotonic
    int failures;          // that may pass, in a row without progress
    int permanents;        // that may not, likewise
    int fruitless;         // runs that were stopped before a checkpoint
    int deaths;            // of workers, at death_place
    int64_t death_place;
    int64_t step;            // last step known
    int64_t checkpoint_step; // of the newest durable one; 0: none
    int64_t start_step;      // where the run began
    enum stop_reason stop_reason;
    struct bisect bisect;
};

// A run's end, as the worker, its death or the daemon tell it.
struct job_end {
    enum job_outcome outcome;
    enum stop_reason reason;
    bool is_death;      // the worker went without a word
    bool is_lost;       // records were erased meanwhile: start over
    bool is_certain;    // no other day will make it better
    int64_t place;      // of a death: the step; JOB_PLACE_NONE
    const int64_t *ids; // the records of that step, or of POISON
    size_t n_ids;
};

// What follows from it besides job's own fields.
struct job_verdict {
    int64_t culprit;     // record that no job may learn from any more; 0: none
    bool restarts;       // its checkpoint is of no use any more
    bool is_quarantined; // given up, and nothing like it is made by itself
    bool is_trial;       // the run was a trial of suspects
    bool is_fruitless;   // the owner should know that it never gets anywhere
    bool began_bisect;   // the next runs are trials
};

const char *job_state_name(enum job_state s);
// -EINVAL for an unknown name.
int job_state_parse(enum job_state *out, const char *name);
bool job_state_is_final(enum job_state s);
bool job_can_become(enum job_state from, enum job_state to);
// -EINVAL, and a sentence, for a step that the table does not allow.
int job_become(struct job *j, enum job_state to, struct error *err);

// Is the next run a trial of suspected records?
bool job_is_trial(const struct job *j);
// A worker is on its way: the state is the caller's to change.
void job_on_start(struct job *j);
// A checkpoint is on disk. Progress forgives what failed before it.
void job_on_checkpoint(struct job *j, int64_t step);
// How long to wait after the failure number `failures` (1, 2, ...), with
// +-20 % by `random` in [0, 1); at most a day and a fifth.
int64_t job_backoff_ms(const struct policy *p, int failures, double random);
// Account for a run's end, and say which state follows.
enum job_state job_on_end(struct job *j, const struct job_end *e,
                          const struct policy *p, int64_t now_ms, double random,
                          struct job_verdict *v);
