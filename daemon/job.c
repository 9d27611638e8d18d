// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/job.h"

#include <errno.h>
#include <string.h>

#define TO(state) (1u << JOB_STATE_##state)

enum {
    BACKOFF_MS_MAX = 24 * 3600 * 1000,
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

enum job_outcome job_on_death(struct job *j, int64_t step)
{
    if (j->deaths > 0 && j->death_step == step) {
        j->deaths++;
    } else {
        j->deaths = 1;
        j->death_step = step;
    }
    return j->deaths >= JOB_DEATHS_MAX ? JOB_OUTCOME_POISON
                                       : JOB_OUTCOME_TRANSIENT;
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

enum job_state job_on_outcome(struct job *j, enum job_outcome outcome,
                              const struct policy *p, int64_t now_ms,
                              double random)
{
    switch (outcome) {
    case JOB_OUTCOME_DONE:
        return JOB_STATE_DONE;
    case JOB_OUTCOME_INTERRUPTED:
        j->not_before_ms = 0;
        return JOB_STATE_QUEUED;
    case JOB_OUTCOME_TRANSIENT:
        if (++j->failures >= p->retry_max)
            return JOB_STATE_FAILED;
        j->not_before_ms = now_ms + job_backoff_ms(p, j->failures, random);
        return JOB_STATE_QUEUED;
    case JOB_OUTCOME_PERMANENT:
    case JOB_OUTCOME_POISON:
        return JOB_STATE_FAILED;
    }
    return JOB_STATE_FAILED;
}
