// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/job.h"

#include <errno.h>
#include <string.h>

#define TO(state) (1u << JOB_STATE_##state)

enum {
    BACKOFF_MS_MAX = 24 * 3600 * 1000,
    PERMANENTS_MAX = 2,
};

static const struct {
    const char *name;
    bool is_final;
    unsigned next;
} rows[JOB_STATE_COUNT] = {
#define JOB_STATE(name, text, final, next) {text, final, next},
#include "daemon/job_states.def"
#undef JOB_STATE
};

const char *job_state_name(enum job_state s)
{
    return s < JOB_STATE_COUNT ? rows[s].name : "unknown";
}

int job_state_parse(enum job_state *out, const char *name)
{
    for (int i = 0; i < JOB_STATE_COUNT; i++)
        if (strcmp(rows[i].name, name) == 0) {
            *out = (enum job_state) i;
            return 0;
        }
    return -EINVAL;
}

bool job_state_is_final(enum job_state s)
{
    return s < JOB_STATE_COUNT && rows[s].is_final;
}

bool job_can_become(enum job_state from, enum job_state to)
{
    return from < JOB_STATE_COUNT && to < JOB_STATE_COUNT &&
           (rows[from].next & (1u << to)) != 0;
}

int job_become(struct job *j, enum job_state to, struct error *err)
{
    if (!job_can_become(j->state, to))
        return error_set(err, -EINVAL, "job %lld is %s and cannot become %s",
                         (long long) j->id, job_state_name(j->state),
                         job_state_name(to));
    j->state = to;
    return 0;
}

bool job_is_trial(const struct job *j)
{
    return j->bisect.count > 0;
}

void job_on_start(struct job *j)
{
    j->start_step = job_is_trial(j) ? 0 : j->checkpoint_step;
}

void job_on_checkpoint(struct job *j, int64_t step)
{
    if (step <= j->checkpoint_step)
        return;
    j->checkpoint_step = step;
    j->failures = 0;
    j->permanents = 0;
    j->fruitless = 0;
}

int64_t job_backoff_ms(const struct policy *p, int failures, double random)
{
    double ms = (double) p->retry_s * 1000;

    for (int i = 1; i < failures && ms < BACKOFF_MS_MAX; i++)
        ms *= 2;
    if (ms > BACKOFF_MS_MAX)
        ms = BACKOFF_MS_MAX;
    return (int64_t) (ms * (0.8 + 0.4 * random));
}

static void start_over(struct job *j, struct job_verdict *v)
{
    v->restarts = true;
    j->checkpoint_step = 0;
    j->step = 0;
}

static enum job_state on_transient(struct job *j, const struct policy *p,
                                   int64_t now_ms, double random)
{
    if (++j->failures >= p->retry_max)
        return JOB_STATE_FAILED;
    j->not_before_ms = now_ms + job_backoff_ms(p, j->failures, random);
    return JOB_STATE_QUEUED;
}

// The owner who asked for it hears at once; what pockd began by itself gets one
// more day, and is not begun again after that.
static enum job_state on_permanent(struct job *j, bool is_certain,
                                   const struct policy *p, int64_t now_ms,
                                   struct job_verdict *v)
{
    if (j->is_manual)
        return JOB_STATE_FAILED;
    if (is_certain || ++j->permanents >= PERMANENTS_MAX) {
        v->is_quarantined = true;
        return JOB_STATE_FAILED;
    }
    j->not_before_ms = now_ms + p->retry_hard_s * 1000;
    return JOB_STATE_QUEUED;
}

static enum job_state convict(struct job *j, int64_t id, struct job_verdict *v)
{
    v->culprit = id;
    bisect_end(&j->bisect);
    j->deaths = 0;
    j->failures = 0;
    start_over(j, v);
    return JOB_STATE_QUEUED;
}

// Three times at one place. Whose place it is, the records of the step, are
// suspects; without them nothing can be sought.
static enum job_state on_poison(struct job *j, const struct job_end *e,
                                const struct policy *p, int64_t now_ms,
                                struct job_verdict *v)
{
    if (!e->is_death && e->n_ids == 1)
        return convict(j, e->ids[0], v);
    bisect_begin(&j->bisect, e->ids, e->n_ids);
    j->deaths = 0;
    if (!job_is_trial(j))
        return on_permanent(j, true, p, now_ms, v);
    v->began_bisect = true;
    return JOB_STATE_QUEUED;
}

static enum job_state on_death(struct job *j, const struct job_end *e,
                               const struct policy *p, int64_t now_ms,
                               double random, struct job_verdict *v)
{
    if (j->deaths > 0 && j->death_place == e->place) {
        j->deaths++;
    } else {
        j->deaths = 1;
        j->death_place = e->place;
    }
    if (j->deaths >= JOB_DEATHS_MAX)
        return on_poison(j, e, p, now_ms, v);
    return on_transient(j, p, now_ms, random);
}

// A trial is over; true: and with it the job's run.
static bool on_trial(struct job *j, const struct job_end *e,
                     const struct policy *p, int64_t now_ms, double random,
                     struct job_verdict *v, enum job_state *next)
{
    enum bisect_step step;

    v->is_trial = true;
    if (e->is_death) {
        const int64_t first = j->bisect.ids[0];
        step = bisect_died(&j->bisect);
        *next = step == BISECT_FOUND ? convict(j, first, v) : JOB_STATE_QUEUED;
        return true;
    }
    // Records that cannot even be learned from do not kill anybody.
    if (e->outcome != JOB_OUTCOME_DONE && e->outcome != JOB_OUTCOME_PERMANENT)
        return false;
    step = bisect_survived(&j->bisect);
    *next = step == BISECT_NOTHING ? on_transient(j, p, now_ms, random)
                                   : JOB_STATE_QUEUED;
    return true;
}

static enum job_state judge(struct job *j, const struct job_end *e,
                            const struct policy *p, int64_t now_ms,
                            double random, struct job_verdict *v)
{
    enum job_state next;

    if (job_is_trial(j) && on_trial(j, e, p, now_ms, random, v, &next))
        return next;
    if (e->is_death)
        return on_death(j, e, p, now_ms, random, v);
    switch (e->outcome) {
    case JOB_OUTCOME_DONE:
        return JOB_STATE_DONE;
    case JOB_OUTCOME_INTERRUPTED:
        if (!job_is_trial(j) && j->checkpoint_step <= j->start_step)
            v->is_fruitless = ++j->fruitless % JOB_FRUITLESS_MAX == 0;
        return JOB_STATE_QUEUED;
    case JOB_OUTCOME_TRANSIENT:
        return on_transient(j, p, now_ms, random);
    case JOB_OUTCOME_NO_SPACE:
        j->not_before_ms = now_ms + p->retry_disk_s * 1000;
        return JOB_STATE_QUEUED;
    case JOB_OUTCOME_PERMANENT:
        return on_permanent(j, e->is_certain, p, now_ms, v);
    case JOB_OUTCOME_POISON:
        return on_poison(j, e, p, now_ms, v);
    }
    return JOB_STATE_FAILED;
}

enum job_state job_on_end(struct job *j, const struct job_end *e,
                          const struct policy *p, int64_t now_ms, double random,
                          struct job_verdict *v)
{
    *v = (struct job_verdict){.culprit = 0};
    if (j->wants_cancel && (e->outcome != JOB_OUTCOME_DONE || job_is_trial(j)))
        return JOB_STATE_CANCELLED;
    j->not_before_ms = 0;
    enum job_state next = judge(j, e, p, now_ms, random, v);
    if (e->is_lost)
        start_over(j, v);
    return next == JOB_STATE_QUEUED && j->wants_pause ? JOB_STATE_PAUSED : next;
}
