// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Training run (loop thread)
 *
 * One worker for one job, from the records in a sealed memfd to an adapter
 * version or a checkpoint. Gathering and storing happen on the database
 * thread; what the worker says is checked by worker_link before it comes here.
 */

#include "daemon/job.h"
#include "ipc/worker_proto.h"
#include "storage/store_job.h"

struct pockd;
struct snapshot;
struct train_run;

// How a run ended.
struct train_end {
    enum job_outcome outcome;
    bool is_death;      // the worker went without a word
    bool is_trial;      // it learned from suspects only, for no version
    bool is_certain;    // no other day will make it better
    int64_t place;      // of a death: the step, or JOB_PLACE_NONE
    const int64_t *ids; // the records of that step, or those that are at fault
    size_t n_ids;
    uint32_t version; // made by it; 0: none
    bool is_active;   // and it passed the gate
    bool is_lost;     // records were erased meanwhile: start over
    int64_t step;
    int64_t heldout_records; // 0: not known
    enum stop_reason reason; // STOP_REASON_ERROR, DISK, ..., or NONE
    char message[STORE_TEXT_SIZE];
};

struct train_run_callbacks {
    // The records are gathered and the worker computes. job->records is set.
    void (*on_started)(int64_t records, void *user);
    void (*on_progress)(const struct worker_progress *g, void *user);
    void (*on_checkpoint)(int64_t step, bool is_saved, const char *message,
                          void *user);
    // One sentence that the owner should know; the run goes on.
    void (*on_notice)(const char *text, void *user);
    // Exactly once, and last.
    void (*on_end)(const struct train_end *end, void *user);
};

// `job` is copied, and so are the suspects: where there are some, the run is a
// trial of the first of them.
int train_run_create(struct train_run **out, struct pockd *p,
                     const struct store_job *job, const struct bisect *suspects,
                     const struct train_run_callbacks *callbacks, void *user,
                     struct error *err);
// The abort ladder. on_end comes when the worker is gone and what it gave is
// on disk.
void train_run_stop(struct train_run *r, enum stop_reason reason);
// The machine has changed: the worker hears how considerate it is to be.
void train_run_see(struct train_run *r, const struct snapshot *s);
bool train_run_is_stopping(const struct train_run *r);
int train_run_pid(const struct train_run *r);
// Ends it at once, without on_end. NULL is fine. Tasks on the database thread
// must have come back (dbthread_destroy()).
void train_run_destroy(struct train_run *r);
