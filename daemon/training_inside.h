// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * The inside of training (loop thread)
 *
 * Shared by training.c, which runs jobs, training_api.c, which answers their
 * owner, and training_view.c, which shows them. Nobody else's.
 */

#include "daemon/energy.h"
#include "daemon/job.h"
#include "daemon/night.h"
#include "daemon/train_run.h"
#include "daemon/training.h"
#include "storage/store_metric.h"

#define TRAINING_PAUSED_KEY "state.paused"

// A job that is alive.
struct tjob {
    struct tjob *next;
    struct store_job row;
    struct job life;
    struct training_speed speed;
    struct store_point point; // the newest
    bool has_point;
    double heldout; // the last one that was seen
    uint64_t point_at_ms;
};

struct erasing {
    struct erasing *next;
    struct request *r;
    void (*run)(struct pockd *p, struct request *r);
};

struct training {
    struct pockd *p;
    struct tjob *jobs; // oldest first
    struct tjob *current;
    struct train_run *run;
    int64_t run_started_ms; // monotonic
    struct night night;
    char boot_id[40];
    int64_t accounted_ms; // monotonic; of the run, up to here
    struct energy energy;
    double run_j;    // of the run; NAN: nothing reported it
    bool has_energy; // some run since the start did report it
    int64_t run_first_step;
    double run_heldout; // where it began; NAN
    int64_t run_unix_ms;
    int64_t *skipped; // records that no run learns from, sorted
    size_t skipped_count;
    char quarantine[STORE_TEXT_SIZE]; // why no job is made by itself; ""
    char note[200];
    bool is_creating;
    int64_t create_after_ms;  // monotonic: no automatic job before
    int held;                 // erases that are under way
    struct erasing *erasings; // that wait for quiet
    void (*on_quiet)(struct pockd *p);
};

struct tjob *training_find(const struct training *t, int64_t id);
// A job that was added to the store joins the list. NULL: out of memory.
struct tjob *training_adopt(struct training *t, const struct store_job *row);
void training_save(struct training *t, struct tjob *j);
// A step of the table; a step that it does not allow is a bug.
void training_become(struct tjob *j, enum job_state to);
void training_set_reason(struct tjob *j, enum stop_reason reason);
void training_emit(struct training *t, const struct tjob *j, const char *kind,
                   const char *text);
void training_stop_run(struct training *t, enum stop_reason reason);
// A final job is stored, told and leaves the list.
void training_finish_job(struct training *t, struct tjob *j);
// training_night.c: what a run used and what the owner should know.
int training_night_load(struct training *t, struct error *err);
void training_night_run_started(struct training *t, const struct tjob *j);
// Up to now; called whenever somebody looks.
void training_night_account(struct training *t);
void training_night_save(struct training *t);
void training_night_run_ended(struct training *t, const struct tjob *j,
                              const struct train_end *end);
// No job learns from this record any more.
void training_skip(struct training *t, const struct tjob *j, int64_t record);
// "" ends it.
void training_set_quarantine(struct training *t, const char *text);
// Store a small value under a key that is no policy.
void training_keep(struct pockd *p, const char *key, const char *value);
