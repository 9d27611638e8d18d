// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/dbcall.h"
#include "daemon/pockd.h"
#include "daemon/status.h"
#include "daemon/train_job.h"
#include "daemon/training_inside.h"

static void answer_jobs(struct request *r, struct pockd *p, const int64_t *ids,
                        size_t n)
{
    struct encoder *e = request_begin(r);

    encoder_put_array(e, "jobs");
    for (size_t i = 0; i < n; i++)
        training_encode_job(e, p, ids[i]);
    encoder_close(e);
    request_end(r);
}

static void answer_start(struct pockd *p, struct request *r, int64_t id)
{
    struct gate gates[CONDITION_COUNT];
    struct tjob *j = training_find(p->training, id);

    memcpy(gates, p->gates, sizeof(gates));
    pockd_evaluate(p, j && j->row.is_forced, gates);
    struct encoder *e = request_begin(r);
    encoder_key(e, "job");
    training_encode_job(e, p, id);
    status_encode_gates(e, "gates", gates, true);
    request_end(r);
}

static int run_start(struct store *s, struct dbcall *c, struct error *err)
{
    struct train_job *job = c->data;
    int rc = train_job_add(job, s, err);

    c->code = job->code;
    return rc;
}

static void after_start(struct dbcall *c)
{
    struct train_job *job = c->data;
    struct tjob *j = training_adopt(c->p->training, &job->row);
    struct request *r = c->r;

    c->r = NULL;
    if (!j) {
        request_fail(r, RPC_ERROR_BUSY, "out of memory");
        return;
    }
    training_emit(c->p->training, j, "job_queued", "the owner asked for it");
    pockd_reconsider(c->p);
    answer_start(c->p, r, j->row.id);
}

// `train now` must not wait in silence for what it may not override.
static bool refuse_closed(struct pockd *p, struct request *r)
{
    struct gate gates[CONDITION_COUNT];
    char line[400];

    signals_refresh(p->signals);
    memcpy(gates, p->gates, sizeof(gates));
    pockd_evaluate(p, true, gates);
    if (condition_blocking(gates) == CONDITION_COUNT)
        return false;
    // What a missing model means has its own error.
    if (condition_blocking(gates) == CONDITION_model)
        return false;
    status_why(line, sizeof(line), gates);
    struct encoder *e = request_begin_error(r, RPC_ERROR_CONDITIONS, line, 0);
    status_encode_gates(e, "gates", gates, true);
    request_end(r);
    return true;
}

// A job of the same adapter that already waits becomes the forced one.
static bool force_waiting(struct pockd *p, struct request *r,
                          const struct train_job *job)
{
    for (struct tjob *j = p->training->jobs; j; j = j->next) {
        if (!job->is_plain || strcmp(j->row.adapter, job->adapter) != 0 ||
            j->life.state == JOB_STATE_PAUSED)
            continue;
        j->row.is_forced = true;
        j->life.is_manual = true;
        j->life.not_before_ms = 0;
        training_save(p->training, j);
        pockd_reconsider(p);
        answer_start(p, r, j->row.id);
        return true;
    }
    return false;
}

void training_start(struct pockd *p, struct request *r)
{
    const msgpack_object *params = request_params(r);
    struct train_job *job = calloc(1, sizeof(*job));
    struct error err = {0};
    bool is_now = codec_bool(params, "now", false);

    if (!job || training_queue_length(p->training) >= TRAINING_JOBS_MAX) {
        free(job);
        request_fail(r, RPC_ERROR_QUOTA, "there are %d jobs already",
                     TRAINING_JOBS_MAX);
        return;
    }
    if (train_job_init(job, params, &p->policy, &err) < 0) {
        free(job);
        request_fail(r, RPC_ERROR_BAD_PARAMS, "%s", err.text);
        return;
    }
    if (is_now && (refuse_closed(p, r) || force_waiting(p, r, job))) {
        free(job);
        return;
    }
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_WRITE,
                                         .run = run_start,
                                         .after = after_start,
                                         .data = job});
}

static struct tjob *wanted_job(struct pockd *p, struct request *r)
{
    int64_t id = codec_int(request_params(r), "job", 0);
    struct tjob *j =
        training_find(p->training, id ? id : training_current(p->training));

    if (!j)
        request_fail(r, RPC_ERROR_NOT_FOUND,
                     id ? "job %lld does not exist or has ended"
                        : "there is no job",
                     (long long) id);
    return j;
}

void training_cancel(struct pockd *p, struct request *r)
{
    struct training *t = p->training;
    struct tjob *j = wanted_job(p, r);

    if (!j)
        return;
    j->life.wants_cancel = true;
    training_set_reason(j, STOP_REASON_USER);
    if (j == t->current)
        training_stop_run(t, STOP_REASON_USER);
    else
        training_become(j, JOB_STATE_CANCELLED);
    struct encoder *e = request_begin(r);
    encoder_key(e, "job");
    training_encode_job(e, p, j->row.id);
    request_end(r);
    if (j->life.state == JOB_STATE_CANCELLED) {
        training_emit(t, j, "job_cancelled", "the owner cancelled the job");
        training_finish_job(t, j);
    }
    pockd_reconsider(p);
}

static void pause_job(struct training *t, struct tjob *j)
{
    j->life.wants_pause = true;
    training_set_reason(j, STOP_REASON_USER);
    if (j == t->current) {
        training_stop_run(t, STOP_REASON_USER);
    } else if (j->life.state == JOB_STATE_QUEUED) {
        training_become(j, JOB_STATE_PAUSED);
        training_emit(t, j, "job_paused", "the owner paused the job");
        training_save(t, j);
    }
}

void training_pause(struct pockd *p, struct request *r)
{
    struct training *t = p->training;
    int64_t ids[1] = {0};
    size_t n = 0;

    if (codec_find(request_params(r), "job")) {
        struct tjob *j = wanted_job(p, r);
        if (!j)
            return;
        pause_job(t, j);
        ids[n++] = j->row.id;
    } else {
        p->is_paused = true;
        training_keep(p, TRAINING_PAUSED_KEY, "1");
        if (t->current) {
            ids[n++] = t->current->row.id;
            training_stop_run(t, STOP_REASON_USER);
        }
    }
    pockd_reconsider(p);
    answer_jobs(r, p, ids, n);
}

static bool resume_job(struct training *t, struct tjob *j)
{
    if (!j->life.wants_pause && j->life.state != JOB_STATE_PAUSED)
        return false;
    j->life.wants_pause = false;
    if (j->life.state == JOB_STATE_PAUSED) {
        training_become(j, JOB_STATE_QUEUED);
        training_emit(t, j, "job_resumed", "the owner let the job go on");
        training_save(t, j);
    }
    return true;
}

void training_resume(struct pockd *p, struct request *r)
{
    struct training *t = p->training;
    int64_t ids[TRAINING_JOBS_MAX];
    size_t n = 0;

    if (codec_find(request_params(r), "job")) {
        struct tjob *j = wanted_job(p, r);
        if (!j)
            return;
        if (resume_job(t, j))
            ids[n++] = j->row.id;
    } else {
        t->create_after_ms = 0;
        training_set_quarantine(t, "");
        p->is_paused = false;
        training_keep(p, TRAINING_PAUSED_KEY, "0");
        for (struct tjob *j = t->jobs; j && n < TRAINING_JOBS_MAX; j = j->next)
            if (resume_job(t, j))
                ids[n++] = j->row.id;
    }
    pockd_reconsider(p);
    answer_jobs(r, p, ids, n);
}
