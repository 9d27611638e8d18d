// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "daemon/consent.h"
#include "daemon/pockd.h"
#include "daemon/status.h"
#include "daemon/training_inside.h"

bool training_has_job(const struct training *t, int64_t job)
{
    return training_find(t, job) != NULL;
}

int64_t training_current(const struct training *t)
{
    if (t->current)
        return t->current->row.id;
    for (const struct tjob *j = t->jobs; j; j = j->next)
        if (j->row.is_forced)
            return j->row.id;
    return t->jobs ? t->jobs->row.id : 0;
}

int64_t training_queue_length(const struct training *t)
{
    int64_t n = 0;

    for (const struct tjob *j = t->jobs; j; j = j->next)
        n++;
    return n;
}

void training_encode_job(struct encoder *e, const struct pockd *p, int64_t job)
{
    const struct tjob *j = training_find(p->training, job);

    if (!j) {
        encoder_nil(e);
        return;
    }
    struct store_job row = j->row;
    row.state = (enum store_job_state) j->life.state;
    if (j == p->training->current)
        row.run_ms += pockd_now_ms() - p->training->run_started_ms;
    training_encode_row(e, &row, &j->speed);
}

void training_encode_all(struct encoder *e, const struct pockd *p)
{
    encoder_put_array(e, "jobs");
    for (const struct tjob *j = p->training->jobs; j; j = j->next)
        training_encode_job(e, p, j->row.id);
    encoder_close(e);
}

void training_encode_point(struct encoder *e, const struct pockd *p,
                           int64_t job, int64_t *step)
{
    const struct tjob *j = training_find(p->training, job);

    if (!j || !j->has_point || j->point.step <= *step)
        return;
    *step = j->point.step;
    encoder_put_map(e, "point");
    encoder_put_int(e, "step", j->point.step);
    encoder_put_int(e, "time", j->point.time_ms);
    encoder_put_int(e, "tokens", j->point.tokens);
    if (isfinite(j->point.loss))
        encoder_put_float(e, "loss", j->point.loss);
    if (isfinite(j->heldout))
        encoder_put_float(e, "heldout", j->heldout);
    encoder_close(e);
}

const char *training_state_line(const struct pockd *p, char *line, size_t size)
{
    const struct tjob *j = p->training->current;
    enum condition c = condition_blocking(p->gates);

    if (j && j->life.state == JOB_STATE_RUNNING) {
        bool is_eval = strcmp(j->row.phase, "evaluate") == 0;
        snprintf(line, size, "%s %s: step %lld of %lld",
                 is_eval ? "evaluating" : "training", j->row.adapter,
                 (long long) j->row.step, (long long) j->row.steps);
        return is_eval ? "evaluating" : "training";
    }
    if (j) {
        snprintf(line, size, "%s: job %lld", job_state_name(j->life.state),
                 (long long) j->row.id);
        return "training";
    }
    if (consent_is_off(p->consent)) {
        snprintf(line, size, "switched off: `pockctl on` ends that");
        return "paused";
    }
    if (p->is_paused) {
        snprintf(line, size, "paused by the owner");
        return "paused";
    }
    status_why(line, size, p->gates);
    return p->training->jobs || c != CONDITION_data ? "waiting" : "idle";
}
