// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Job
 *
 * The life of one training job as a table (job_states.def), and what a run's
 * end means for it: how long it waits before it is tried again, and when it is
 * given up. Pure; storing and running are training's.
 */

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
    JOB_OUTCOME_TRANSIENT,   // may pass: a worker died, the disk is full
    JOB_OUTCOME_PERMANENT,   // the data or the model is at fault
    JOB_OUTCOME_POISON,      // the worker died at the same place again
};

enum {
    JOB_DEATHS_MAX = 3, // at the same place
};

struct job {
    int64_t id;
    enum job_state state;
    bool is_manual;
    int64_t created_ms;    // unix
    int64_t not_before_ms; // monotonic
    int failures;          // in a row, without progress between them
    int deaths;            // of workers, at death_step
    int64_t death_step;
    int64_t step; // last step known
    enum stop_reason stop_reason;
};

const char *job_state_name(enum job_state s);
// -EINVAL for an unknown name.
int job_state_parse(enum job_state *out, const char *name);
bool job_state_is_final(enum job_state s);
bool job_can_become(enum job_state from, enum job_state to);
// -EINVAL, and a sentence, for a step that the table does not allow.
int job_become(struct job *j, enum job_state to, struct error *err);

// A worker died at `step`. JOB_OUTCOME_POISON the third time at one place.
enum job_outcome job_on_death(struct job *j, int64_t step);
// How long to wait after the failure number `failures` (1, 2, ...), with
// +-20 % by `random` in [0, 1); at most a day.
int64_t job_backoff_ms(const struct policy *p, int failures, double random);
// Account for a run's end, and say which state follows.
enum job_state job_on_outcome(struct job *j, enum job_outcome outcome,
                              const struct policy *p, int64_t now_ms,
                              double random);
