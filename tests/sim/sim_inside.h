// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * The inside of a simulation: shared by sim.c, where pockd and its worker are,
 * and judge.c, which knows the truth.
 */

#include "daemon/job.h"
#include "daemon/manners.h"
#include "daemon/night.h"
#include "daemon/scheduler.h"
#include "tests/sim/sim.h"

enum {
    JOBS = 4,
    BATCH = 8, // records in a step
    EVALUATE_MS = 30000,
    LADDER_MS = 10000,
    CREATE_PAUSE_MS = 24 * 3600 * 1000,
    // A signal that nothing announces is read each second while a job runs; the
    // ladder has ten; the rest is what a process needs to go.
    CLOSED_MS_MAX = 13000,
    // Polls of 30 s, what flapped is held for 60 s, and making a job.
    OPEN_MS_MAX = 240000,
    // The look that ends it, rounding, and the ladder.
    BUDGET_SLACK_MS = 13500,
    // A worker that is started and stopped all the time costs what it is to
    // save. Three flaps are forgiven, queries are short, and trials are apart.
    STARTS_MS = 600000,
    STARTS_MAX = 10,
};

// What pockd's worker does, without a worker.
enum phase {
    PHASE_NONE,
    PHASE_LOAD,
    PHASE_STEPS,
    PHASE_EVALUATE,
    PHASE_TRIAL,
    PHASE_STOPPING,
};

struct simjob {
    struct job life;
    bool is_used;
    int64_t steps;
    int64_t poison_step; // -1: none
    int64_t culprit;
    // The judge's own account.
    int failed_in_row;
    int64_t may_start_at; // monotonic, at the earliest
};

struct sim {
    const struct sim_params *params;
    struct device d;
    struct rng rng; // of the worker and of pockd
    struct sim_totals *totals;
    char *why;
    bool is_broken;

    // pockd
    struct snapshot seen;
    struct gate gates[CONDITION_COUNT];
    struct decision decision;
    struct simjob jobs[JOBS];
    struct simjob *current;
    struct night night;
    struct night saved_night; // of the store
    bool is_paused;
    bool is_quarantined;
    bool is_preempted;
    bool is_model_there;
    int64_t new_records;
    int64_t create_after;
    int64_t recheck_at; // monotonic; SIM_NEVER
    int64_t poll_at;    // monotonic; SIM_NEVER: nothing changed unseen
    int64_t pace;       // between two looks; 0: none
    int64_t create_at;  // monotonic; a job is being made
    int64_t query_ends_at;
    int64_t next_id;
    int64_t accounted_at;
    bool has_energy;

    // The worker
    enum phase phase;
    int64_t phase_at; // monotonic; when the phase ends by itself
    int64_t run_started;
    int64_t checkpoint_at;
    int64_t moved_at;
    double progress; // steps, with their fractions
    double rate;     // steps a second
    bool hangs;
    enum stop_reason stopping;

    // The judge
    int64_t closed_since; // monotonic; -1: nothing that stops is closed
    const char *closed;
    int64_t open_since; // monotonic; -1: something keeps work from starting
    int64_t starts[STARTS_MAX]; // the newest, round about
    uint64_t start_count;
    int64_t oracle_day;
    int64_t oracle_error;
    int64_t oracle_used_ms;
    double oracle_used_j;
};

static inline int64_t sim_mono(const struct sim *s)
{
    return device_mono_ms(&s->d);
}

static inline bool sim_is_computing(const struct sim *s)
{
    return s->phase != PHASE_NONE;
}

void sim_say(const struct sim *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
// The first promise that was not kept ends the story.
void sim_broken(struct sim *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

// What of the truth stops a job that runs; NULL: nothing does.
const char *judge_stopper(const struct sim *s, bool is_manual);
// May a job start, beyond any doubt? Only what every reading would agree to.
bool judge_is_wide_open(const struct sim *s);
bool judge_has_work(const struct sim *s);
// After anything happened.
void judge(struct sim *s);
void judge_start(struct sim *s, const struct simjob *j);
// A run has ended: when may the job start again, at the earliest?
void judge_end(struct sim *s, struct simjob *j, const struct job_end *e,
               const struct job_verdict *v);
