// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Training (loop thread)
 *
 * The jobs that are alive, and the one that runs: what the scheduler decides
 * is carried out here, every step of a job is stored, and what became of it is
 * told.
 */

#include "daemon/request.h"
#include "daemon/scheduler.h"
#include "storage/store_job.h"

struct dbcall;
struct pockd;
struct training;

enum { TRAINING_JOBS_MAX = 32 };

// Loads the jobs; the database thread must not run yet.
int training_create(struct training **out, struct pockd *p, struct error *err);
// NULL is fine; after dbthread_destroy().
void training_destroy(struct training *t);
// The daemon stops: end the run; on_quiet comes when it is gone, at once when
// there is none.
void training_stop(struct training *t, void (*on_quiet)(struct pockd *p));

// For the scheduler.
size_t training_list(const struct training *t,
                     struct scheduler_job jobs[TRAINING_JOBS_MAX]);
void training_apply(struct training *t, const struct decision *d);
int64_t training_slice_started_ms(const struct training *t);
int64_t training_budget_used_s(struct training *t);
double training_budget_used_wh(const struct training *t);  // NAN: not reported
const char *training_quarantine(const struct training *t); // or NULL
// One line about the job or the data for its owner, or NULL.
const char *training_note(struct training *t);
// For gathering: records that are left out, sorted.
const int64_t *training_skipped(const struct training *t, size_t *count);
int64_t training_create_after_ms(const struct training *t);
bool training_is_held(const struct training *t);

// No worker trains.
bool training_is_quiet(const struct training *t);
// The file of kept states goes, soon.
void training_drop_prefix(struct pockd *p);

// Runs `next` when nothing trains and no checkpoint is left; training waits
// until training_erase_ended(). `r` may be NULL.
void training_before_erase(struct pockd *p, struct request *r,
                           void (*next)(struct pockd *p, struct request *r));
void training_erase_ended(struct pockd *p);
// The same for an erase that waits for nobody: false while a worker trains.
bool training_hold_for_erase(struct pockd *p);
// Jobs that an erase queued join the others.
void training_take_in(struct pockd *p, const struct store_job *jobs,
                      size_t count);

// Handlers; each takes the request.
void training_start(struct pockd *p, struct request *r);
void training_cancel(struct pockd *p, struct request *r);
void training_pause(struct pockd *p, struct request *r);
void training_resume(struct pockd *p, struct request *r);

// For status and watchers.
bool training_has_job(const struct training *t, int64_t job);
int64_t training_current(const struct training *t); // runs or is next; 0
int64_t training_queue_length(const struct training *t);
void training_encode_job(struct encoder *e, const struct pockd *p, int64_t job);
void training_encode_all(struct encoder *e, const struct pockd *p);
// Key "point", when there is one after *step.
void training_encode_point(struct encoder *e, const struct pockd *p,
                           int64_t job, int64_t *step);
// "idle", "waiting", "training", "evaluating" or "paused"; one sentence.
const char *training_state_line(const struct pockd *p, char *line, size_t size);

// A job as the API shows it; speed and time left when they are known.
struct training_speed {
    double tokens_s; // NAN: unknown
    int64_t eta_s;   // -1: unknown
};
void training_encode_row(struct encoder *e, const struct store_job *j,
                         const struct training_speed *speed);
