// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Scheduler
 *
 * A pure function: (snapshot, queue, policy, now) in, one decision and the
 * gates that led to it out. It does no I/O, reads no clock and keeps nothing
 * but the gates of the last call, which give `since` and belong to the caller.
 *
 * A job that runs is judged by the thresholds for going on. Of the jobs that
 * could start, manual ones go first, then the oldest. With an empty queue and
 * enough new records the decision is to make a job.
 */

#include "daemon/condition.h"

enum scheduler_action {
    SCHEDULER_NONE,   // nothing to do; see recheck_ms
    SCHEDULER_CREATE, // make an automatic job and ask again
    SCHEDULER_START,
    SCHEDULER_STOP,
};

struct scheduler_job {
    int64_t id;
    int64_t created_ms;    // unix
    int64_t not_before_ms; // monotonic; back-off after a failure
    int64_t memory_bytes;  // estimate; 0: unknown
    int64_t disk_bytes;
    const char *message; // why it waits; may be NULL
    bool is_manual;
    bool is_running;
    bool is_user_paused; // waits until its owner resumes it
};

struct scheduler_input {
    const struct snapshot *snapshot;
    const struct policy *policy;
    const struct scheduler_job *jobs; // waiting or running, any order
    size_t job_count;
    bool is_paused;
    bool is_off; // pockctl off
    bool has_model;
    bool is_preempted; // an answer needs the machine first
    int inhibit_count;
    int64_t new_records;
    int64_t create_after_ms; // monotonic; no automatic job before; 0: at once
    const char *quarantine;  // why no automatic job is made; NULL: they are
    const char *note;        // about the job or the data; may be NULL
    int64_t budget_used_s;
    double budget_used_wh;    // NAN: not reported
    int64_t slice_started_ms; // monotonic; of the running job
    int64_t now_ms;           // monotonic
    int64_t unix_ms;
    int minute_of_day; // local
    enum turn_state turn;
    int weekday;    // local; 0: Sunday
    bool is_silent; // decide, and let the gates say nothing
};

struct decision {
    enum scheduler_action action;
    int64_t job;             // START, STOP
    enum stop_reason reason; // STOP: why; NONE: why nothing starts
    int64_t recheck_ms;      // ask again then at the latest; -1: on a change
    bool wants_polling;      // a gate that nothing announces matters now
};

void scheduler_decide(struct decision *out, struct gate gates[CONDITION_COUNT],
                      const struct scheduler_input *in);

// How often what nothing announces is worth a look.
enum scheduler_pace {
    SCHEDULER_PACE_EVENTS,  // never: nothing waits
    SCHEDULER_PACE_SLOW,    // a job waits, on battery
    SCHEDULER_PACE_WAITING, // a job could start soon
    SCHEDULER_PACE_RUNNING,
};

enum scheduler_pace scheduler_pace(const struct decision *d,
                                   const struct gate gates[CONDITION_COUNT],
                                   bool is_running);
