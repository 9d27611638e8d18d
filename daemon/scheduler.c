// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/scheduler.h"

/*
 * Invariants
 * 1. At most one job runs; START is decided only when none does.
 * 2. STOP is decided as soon as a gate that the running job needs is closed.
 * 3. The same input gives the same decision.
 */

static const struct scheduler_job *running(const struct scheduler_input *in)
{
    for (size_t i = 0; i < in->job_count; i++)
        if (in->jobs[i].is_running)
            return &in->jobs[i];
    return NULL;
}

static bool goes_first(const struct scheduler_job *a,
                       const struct scheduler_job *b)
{
    if (a->is_manual != b->is_manual)
        return a->is_manual;
    if (a->created_ms != b->created_ms)
        return a->created_ms < b->created_ms;
    return a->id < b->id;
}

// The job to start next, and the shortest wait of those that back off.
static const struct scheduler_job *next(const struct scheduler_input *in,
                                        const struct scheduler_job **waiting,
                                        int64_t *wait_ms)
{
    const struct scheduler_job *best = NULL;

    *wait_ms = -1;
    for (size_t i = 0; i < in->job_count; i++) {
        const struct scheduler_job *j = &in->jobs[i];
        if (j->is_running || j->is_user_paused)
            continue;
        int64_t wait = j->not_before_ms - in->now_ms;
        if (wait > 0) {
            if (*wait_ms < 0 || wait < *wait_ms) {
                *wait_ms = wait;
                *waiting = j;
            }
            continue;
        }
        if (!best || goes_first(j, best))
            best = j;
    }
    return best;
}

static void evaluate(struct gate gates[CONDITION_COUNT],
                     const struct scheduler_input *in,
                     const struct scheduler_job *job,
                     const struct scheduler_job *waiting)
{
    struct condition_input c = {
        .snapshot = in->snapshot,
        .policy = in->policy,
        .is_running = job && job->is_running,
        .is_manual = job && job->is_manual,
        .is_paused = in->is_paused,
        .is_off = in->is_off,
        .inhibit_count = in->inhibit_count,
        .has_job = job != NULL,
        .has_model = in->has_model,
        .quarantine = in->quarantine,
        .note = in->note,
        .new_records = in->new_records,
        .job_memory_bytes = job ? job->memory_bytes : 0,
        .job_disk_bytes = job ? job->disk_bytes : 0,
        .budget_used_s = in->budget_used_s,
        .budget_used_wh = in->budget_used_wh,
        .now_ms = in->now_ms,
        .unix_ms = in->unix_ms,
        .minute_of_day = in->minute_of_day,
        .turn = in->turn,
        .weekday = in->weekday,
        .is_silent = in->is_silent,
    };
    // Another owner gets the machine after a slice, not in the midst of one.
    if (c.is_running && c.turn == TURN_WANTED &&
        in->now_ms - in->slice_started_ms < in->policy->slice_s * 1000)
        c.turn = TURN_MINE;

    if (waiting) {
        c.wait_ms = waiting->not_before_ms - in->now_ms;
        c.wait_text = waiting->message;
    }
    condition_evaluate(gates, &c);
}

static int64_t sooner(int64_t a, int64_t b)
{
    if (a < 0 || b < 0)
        return a < 0 ? b : a;
    return a < b ? a : b;
}

// Budget and slice end by time alone. After a slice everything is read again;
// the job goes on when the gates for going on are open.
static int64_t until_end(const struct scheduler_input *in,
                         const struct scheduler_job *job, int64_t ran_ms)
{
    const int64_t slice_ms = in->policy->slice_s * 1000;
    const int64_t left = slice_ms - ran_ms % slice_ms;
    const int64_t budget =
        (in->policy->budget_s - in->budget_used_s) * 1000 + 1000;

    return job->is_manual ? left : sooner(left, budget > 0 ? budget : -1);
}

static enum stop_reason reason_of(enum condition closed,
                                  const struct snapshot *s)
{
    return closed == CONDITION_sleep && s->is_shutting_down
               ? STOP_REASON_SHUTDOWN
               : condition_reason(closed);
}

static void decide_running(struct decision *out,
                           const struct gate gates[CONDITION_COUNT],
                           const struct scheduler_input *in,
                           const struct scheduler_job *job)
{
    enum condition closed = condition_blocking(gates);
    int64_t ran_ms = in->now_ms - in->slice_started_ms;

    out->job = job->id;
    out->wants_polling = true;
    if (closed < CONDITION_COUNT) {
        out->action = SCHEDULER_STOP;
        out->reason = reason_of(closed, in->snapshot);
    } else if (job->is_user_paused) {
        out->action = SCHEDULER_STOP;
        out->reason = STOP_REASON_USER;
    } else if (in->is_preempted) {
        out->action = SCHEDULER_STOP;
        out->reason = STOP_REASON_PREEMPT;
    } else {
        out->recheck_ms = until_end(in, job, ran_ms);
    }
}

void scheduler_decide(struct decision *out, struct gate gates[CONDITION_COUNT],
                      const struct scheduler_input *in)
{
    const struct scheduler_job *job = running(in);
    const struct scheduler_job *waiting = NULL;
    int64_t wait_ms;

    *out = (struct decision){.recheck_ms = -1};
    if (job) {
        evaluate(gates, in, job, NULL);
        decide_running(out, gates, in, job);
        return;
    }

    // After one failed or was cancelled, no automatic job follows at once.
    const struct scheduler_job held = {
        .not_before_ms = in->create_after_ms,
        .message = "the last job failed or was cancelled",
    };
    job = next(in, &waiting, &wait_ms);
    if (in->job_count == 0 && in->create_after_ms > in->now_ms &&
        in->new_records >= in->policy->min_records) {
        waiting = &held;
        wait_ms = in->create_after_ms - in->now_ms;
    }
    evaluate(gates, in, job, job ? NULL : waiting);
    out->recheck_ms = wait_ms;
    enum condition closed = condition_blocking(gates);
    if (closed < CONDITION_COUNT) {
        out->reason = reason_of(closed, in->snapshot);
        out->recheck_ms = sooner(wait_ms, condition_opens_in(gates));
        // On battery no timer runs: the charger announces itself.
        if (!gates[CONDITION_power].is_open)
            out->recheck_ms = -1;
        // Without work, and on battery, nothing is worth a look.
        out->wants_polling = gates[CONDITION_data].is_ok &&
                             gates[CONDITION_owner].is_ok &&
                             gates[CONDITION_power].is_open;
        return;
    }
    if (in->is_preempted) {
        out->reason = STOP_REASON_PREEMPT;
        return;
    }
    if (!job && in->job_count > 0)
        return; // All of them back off or are paused by their owner.
    out->action = job ? SCHEDULER_START : SCHEDULER_CREATE;
    out->job = job ? job->id : 0;
    if (job)
        out->recheck_ms = until_end(in, job, 0);
}

enum scheduler_pace scheduler_pace(const struct decision *d,
                                   const struct gate gates[CONDITION_COUNT],
                                   bool is_running)
{
    if (is_running)
        return SCHEDULER_PACE_RUNNING;
    if (d->wants_polling)
        return SCHEDULER_PACE_WAITING;
    return gates[CONDITION_data].is_ok && gates[CONDITION_owner].is_ok
               ? SCHEDULER_PACE_SLOW
               : SCHEDULER_PACE_EVENTS;
}
