// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#define LOG_MODULE "training"

#include "daemon/training.h"
#include "daemon/prefix_file.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/events.h"
#include "daemon/inhibits.h"
#include "daemon/pockd.h"
#include "daemon/reload.h"
#include "daemon/train_job.h"
#include "daemon/train_store.h"
#include "daemon/training_inside.h"
#include "daemon/watchers.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/rng.h"
#include "storage/store_file.h"
#include "storage/store_policy.h"

/*
 * Invariants
 * 1. At most one job is starting, running or stopping; `run` is its run.
 * 2. What is told about a job was handed to the database thread before.
 * 3. A job in the list is not final; one that becomes final leaves the list.
 */

enum {
    POINT_PERIOD_MS = 1000,
    CREATE_PAUSE_MS = 24 * 3600 * 1000, // after a failed or cancelled job
};

_Static_assert((int) STORE_JOB_QUEUED == (int) JOB_STATE_QUEUED &&
                   (int) STORE_JOB_STARTING == (int) JOB_STATE_STARTING &&
                   (int) STORE_JOB_RUNNING == (int) JOB_STATE_RUNNING &&
                   (int) STORE_JOB_STOPPING == (int) JOB_STATE_STOPPING &&
                   (int) STORE_JOB_PAUSED == (int) JOB_STATE_PAUSED &&
                   (int) STORE_JOB_DONE == (int) JOB_STATE_DONE &&
                   (int) STORE_JOB_FAILED == (int) JOB_STATE_FAILED &&
                   (int) STORE_JOB_CANCELLED == (int) JOB_STATE_CANCELLED,
               "the states of the store and of the table are the same");

static double random_unit(void)
{
    struct rng r;

    rng_init_from_system(&r);
    return rng_uniform(&r);
}

struct tjob *training_find(const struct training *t, int64_t id)
{
    for (struct tjob *j = t->jobs; j; j = j->next)
        if (j->row.id == id)
            return j;
    return NULL;
}

// Storing a job: a copy of its row goes to the database thread.
struct saving {
    struct store_job row;
    struct store_point point;
    bool has_point;
};

static int run_save(struct store *s, void *arg, struct error *err)
{
    struct saving *v = arg;
    int rc = store_job_update(s, &v->row, err);

    if (rc == 0 && v->has_point)
        rc = store_metric_put(s, v->row.id, &v->point, err);
    return rc;
}

static void done_save(void *arg, int rc, const struct error *err)
{
    struct saving *v = arg;

    if (rc < 0)
        log_error("event=job_not_stored job=%lld text=%s",
                  (long long) v->row.id, err->text);
    free(v);
}

static void save_with(struct training *t, struct tjob *j,
                      const struct store_point *point)
{
    struct saving *v = calloc(1, sizeof(*v));

    j->row.state = (enum store_job_state) j->life.state;
    j->row.failures = (uint32_t) j->life.failures;
    j->row.permanents = (uint32_t) j->life.permanents;
    j->row.fruitless = (uint32_t) j->life.fruitless;
    j->row.deaths = (uint32_t) j->life.deaths;
    j->row.death_place = j->life.death_place;
    bisect_print(j->row.suspects, sizeof(j->row.suspects), &j->life.bisect);
    j->row.not_before_ms =
        j->life.not_before_ms
            ? clock_unix_ms() + j->life.not_before_ms - pockd_now_ms()
            : 0;
    if (!v)
        return;
    v->row = j->row;
    if (point) {
        v->point = *point;
        v->has_point = true;
    }
    if (dbthread_submit_own(t->p->dbthread, DBTHREAD_WRITE, run_save, done_save,
                            v) < 0)
        free(v);
}

void training_save(struct training *t, struct tjob *j)
{
    save_with(t, j, NULL);
}

void training_become(struct tjob *j, enum job_state to)
{
    struct error err = {0};

    if (job_become(&j->life, to, &err) < 0) {
        log_error("event=illegal_state text=%s", err.text);
        assert(!"a job took a step that the table does not allow");
    }
    j->row.state = (enum store_job_state) j->life.state;
}

void training_emit(struct training *t, const struct tjob *j, const char *kind,
                   const char *text)
{
    events_emit(t->p, &(struct event_params){.kind = kind,
                                             .job = j->row.id,
                                             .adapter = j->row.adapter,
                                             .version = j->row.version,
                                             .reason = j->row.stop_reason,
                                             .text = text});
}

// A small value under a key that is no policy.
struct keeping {
    char key[32];
    char value[STORE_TEXT_SIZE];
};

static int run_keep(struct store *s, void *arg, struct error *err)
{
    struct keeping *k = arg;

    return store_policy_set(s, k->key, k->value, clock_unix_ms(), err);
}

static void done_keep(void *arg, int rc, const struct error *err)
{
    free(arg);
}

void training_keep(struct pockd *p, const char *key, const char *value)
{
    struct keeping *k = calloc(1, sizeof(*k));

    if (!k)
        return;
    snprintf(k->key, sizeof(k->key), "%s", key);
    snprintf(k->value, sizeof(k->value), "%s", value);
    if (dbthread_submit_own(p->dbthread, DBTHREAD_WRITE, run_keep, done_keep,
                            k) < 0)
        free(k);
}

void training_set_reason(struct tjob *j, enum stop_reason reason)
{
    snprintf(j->row.stop_reason, sizeof(j->row.stop_reason), "%s",
             stop_reason_name(reason));
}

static void on_run_started(int64_t records, void *user)
{
    struct training *t = user;
    struct tjob *j = t->current;

    // A stop may have come while the records were gathered.
    if (j->life.state == JOB_STATE_STARTING)
        training_become(j, JOB_STATE_RUNNING);
    if (!job_is_trial(&j->life))
        j->row.records = records;
    if (j->row.started_ms == 0)
        j->row.started_ms = clock_unix_ms();
    training_emit(t, j, "job_started",
                  j->row.attempts > 1 ? "the job goes on" : "the job started");
    training_save(t, j);
    watchers_status_changed(t->p);
}

static void see_heldout(struct tjob *j, const struct worker_progress *g,
                        bool *is_new)
{
    *is_new = isfinite(g->heldout) && !(g->heldout == j->heldout);
    if (!*is_new)
        return;
    j->heldout = g->heldout;
    if (!isfinite(j->row.heldout_start))
        j->row.heldout_start = g->heldout;
    if (!isfinite(j->row.heldout_best) || g->heldout < j->row.heldout_best) {
        j->row.heldout_best = g->heldout;
        j->row.heldout_step = g->step;
    }
}

static const char *phase_name(const char *phase)
{
    if (strcmp(phase, "load") == 0)
        return "prepare";
    return strcmp(phase, "train") == 0 ? "train" : "evaluate";
}

static void on_run_progress(const struct worker_progress *g, void *user)
{
    struct training *t = user;
    struct tjob *j = t->current;
    uint64_t now = uv_now(&t->p->loop);
    bool is_new;

    snprintf(j->row.phase, sizeof(j->row.phase), "%s", phase_name(g->phase));
    j->row.step = g->step;
    j->row.steps = g->steps;
    if (isfinite(g->epoch))
        j->row.epoch = g->epoch;
    j->row.tokens = (int64_t) g->tokens;
    if (isfinite(g->loss))
        j->row.loss = g->loss;
    j->speed.tokens_s = g->tokens_per_s;
    j->speed.eta_s = g->eta_s == UINT32_MAX ? -1 : (int64_t) g->eta_s;
    see_heldout(j, g, &is_new);
    if (g->step > 0 || is_new) {
        j->point = (struct store_point){.step = g->step,
                                        .time_ms = clock_unix_ms(),
                                        .tokens = (int64_t) g->tokens,
                                        .loss = g->loss,
                                        .heldout = is_new ? g->heldout : NAN,
                                        .rate = NAN};
        j->has_point = true;
    }
    if (j->has_point && (is_new || now >= j->point_at_ms + POINT_PERIOD_MS)) {
        j->point_at_ms = now;
        save_with(t, j, &j->point);
    }
    watchers_status_changed(t->p);
}

static void on_run_checkpoint(int64_t step, bool is_saved, const char *message,
                              void *user)
{
    struct training *t = user;
    struct tjob *j = t->current;
    char name[64];

    if (!is_saved)
        return;
    train_checkpoint_name(name, j->row.id);
    snprintf(j->row.checkpoint, sizeof(j->row.checkpoint), "%s", name);
    j->row.checkpoint_step = step;
    job_on_checkpoint(&j->life, step);
    training_save(t, j);
    // A daemon that is killed forgets no more of the night than of the job.
    training_night_account(t);
    training_night_save(t);
}

static void on_run_notice(const char *text, void *user)
{
    struct training *t = user;

    training_emit(t, t->current, "job_notice", text);
}

struct unlinking {
    char name[64];
};

static int run_unlink(struct store *s, void *arg, struct error *err)
{
    struct unlinking *u = arg;

    return store_file_remove(s, u->name, err);
}

static void done_unlink(void *arg, int rc, const struct error *err)
{
    free(arg);
}

static void drop_checkpoint(struct training *t, struct tjob *j)
{
    struct unlinking *u = calloc(1, sizeof(*u));

    j->row.checkpoint[0] = '\0';
    j->row.checkpoint_step = 0;
    j->life.checkpoint_step = 0;
    if (!u)
        return;
    train_checkpoint_name(u->name, j->row.id);
    if (dbthread_submit_own(t->p->dbthread, DBTHREAD_ALONE, run_unlink,
                            done_unlink, u) < 0)
        free(u);
}

static int run_drop_prefix(struct store *s, void *arg, struct error *err)
{
    const struct pockd *p = arg;

    return prefix_file_drop(s, &p->paths);
}

void training_drop_prefix(struct pockd *p)
{
    (void) dbthread_submit_own(p->dbthread, DBTHREAD_ALONE, run_drop_prefix,
                               NULL, p);
}

static void remove_job(struct training *t, struct tjob *j)
{
    struct tjob **at = &t->jobs;

    while (*at != j)
        at = &(*at)->next;
    *at = j->next;
    free(j);
}

static void tell_end(struct training *t, struct tjob *j,
                     const struct train_end *end)
{
    const char *text = j->row.message[0] ? j->row.message : "the job ended";

    switch (j->life.state) {
    case JOB_STATE_DONE:
        training_emit(t, j, "version_made", text);
        training_emit(t, j,
                      end->is_active ? "version_activated" : "version_rejected",
                      text);
        if (end->is_active)
            reload_run(t->p->reload, j->row.adapter, (uint32_t) j->row.version);
        training_emit(t, j, "job_done", text);
        return;
    case JOB_STATE_FAILED:
        training_emit(t, j, "job_failed", text);
        return;
    case JOB_STATE_CANCELLED:
        training_emit(t, j, "job_cancelled", "the owner cancelled the job");
        return;
    case JOB_STATE_PAUSED:
        training_emit(t, j, "job_paused", "the owner paused the job");
        return;
    case JOB_STATE_QUEUED:
    case JOB_STATE_STARTING:
    case JOB_STATE_RUNNING:
    case JOB_STATE_STOPPING:
    case JOB_STATE_COUNT:
        if (!j->row.message[0] && end->reason != STOP_REASON_NONE)
            text = stop_reason_doc(end->reason);
        training_emit(t, j, "job_interrupted", text);
        return;
    }
}

// What a run's end means, in a sentence where the worker gave none.
static void explain(struct training *t, struct tjob *j,
                    const struct train_end *end, const struct job_verdict *v)
{
    char text[STORE_TEXT_SIZE];

    if (v->culprit) {
        snprintf(text, sizeof(text),
                 "record %lld ends the worker and is left out from now on; the "
                 "job starts over without it",
                 (long long) v->culprit);
        training_skip(t, j, v->culprit);
        training_emit(t, j, "job_notice", text);
    } else if (v->began_bisect || v->is_trial) {
        snprintf(text, sizeof(text),
                 "the worker died %d times at step %lld: looking for the "
                 "record, %d may be it",
                 JOB_DEATHS_MAX, (long long) j->life.death_place + 1,
                 j->life.bisect.count);
    } else if (end->is_death && j->life.state == JOB_STATE_FAILED) {
        snprintf(text, sizeof(text), "the worker died %d times: %.300s",
                 j->life.deaths ? j->life.deaths : JOB_DEATHS_MAX,
                 end->message);
    } else if (v->is_fruitless) {
        snprintf(text, sizeof(text),
                 "%d runs in a row were stopped before a checkpoint: the last "
                 "by %s; `pockctl policy set checkpoint_s=SECONDS` makes them "
                 "more frequent",
                 j->life.fruitless, stop_reason_name(end->reason));
        training_emit(t, j, "job_notice", text);
    } else {
        return;
    }
    memcpy(j->row.message, text, sizeof(text));
}

// Where a run's end leads: the table, the back-off and the bisection decide.
static void conclude(struct training *t, struct tjob *j,
                     const struct train_end *end)
{
    struct job_verdict v;
    const struct job_end e = {
        .outcome = end->outcome,
        .reason = end->reason,
        .is_death = end->is_death,
        .is_lost = end->is_lost,
        .is_certain = end->is_certain,
        .place = end->place,
        .ids = end->ids,
        .n_ids = end->n_ids,
    };
    enum job_state next = job_on_end(&j->life, &e, &t->p->policy,
                                     pockd_now_ms(), random_unit(), &v);

    training_become(j, next);
    explain(t, j, end, &v);
    if (v.restarts) {
        drop_checkpoint(t, j);
        j->row.step = 0;
    }
    if (v.is_quarantined)
        training_set_quarantine(t, j->row.message);
    else if (next == JOB_STATE_DONE)
        training_set_quarantine(t, "");
}

static void run_erasings(struct training *t)
{
    while (t->erasings) {
        struct erasing *e = t->erasings;
        t->erasings = e->next;
        for (struct tjob *j = t->jobs; j; j = j->next) {
            drop_checkpoint(t, j);
            j->row.step = 0;
            training_save(t, j);
        }
        // Behind what the same client sent before.
        dbthread_set_lane(t->p->dbthread, e->r ? request_session(e->r) : 0);
        e->run(t->p, e->r);
        dbthread_set_lane(t->p->dbthread, 0);
        free(e);
    }
}

static void quieten(struct training *t)
{
    inhibits_on_quiet(t->p->inhibits);
    signals_hold_awake(t->p->signals, false);
    signals_release_sleep(t->p->signals);
    run_erasings(t);
    if (t->on_quiet)
        t->on_quiet(t->p);
}

void training_finish_job(struct training *t, struct tjob *j)
{
    drop_checkpoint(t, j);
    if (j->life.state != JOB_STATE_DONE)
        t->create_after_ms = pockd_now_ms() + CREATE_PAUSE_MS;
    j->row.finished_ms = clock_unix_ms();
    training_save(t, j);
    watchers_job_ended(t->p, j->row.id);
    remove_job(t, j);
    // What waited for it to be merged again.
    if (t->p->facts.remerge_count > 0)
        facts_refresh(t->p);
}

static void on_run_end(const struct train_end *end, void *user)
{
    struct training *t = user;
    struct tjob *j = t->current;
    struct train_run *run = t->run;

    training_night_account(t);
    j->row.run_ms += pockd_now_ms() - t->run_started_ms;
    if (!end->is_trial)
        j->row.step = end->step;
    j->row.phase[0] = '\0';
    j->speed = (struct training_speed){.tokens_s = NAN, .eta_s = -1};
    snprintf(j->row.message, sizeof(j->row.message), "%s", end->message);
    if (end->outcome == JOB_OUTCOME_DONE && !end->is_trial)
        j->row.version = end->version;
    if (end->heldout_records > 0)
        j->row.heldout_records = end->heldout_records;
    if (end->outcome != JOB_OUTCOME_DONE)
        training_set_reason(j, end->reason != STOP_REASON_NONE
                                   ? end->reason
                                   : STOP_REASON_ERROR);
    training_night_run_ended(t, j, end);
    conclude(t, j, end);
    t->current = NULL;
    t->run = NULL;
    if (end->reason == STOP_REASON_DISK)
        training_drop_prefix(t->p);
    tell_end(t, j, end);
    if (job_state_is_final(j->life.state))
        training_finish_job(t, j);
    else
        training_save(t, j);
    train_run_destroy(run);
    // Counted anew by the refresh: what was new may be learned now.
    t->p->facts.new_records = 0;
    facts_refresh(t->p);
    watchers_status_changed(t->p);
    quieten(t);
    pockd_reconsider(t->p);
}

static void start_run(struct training *t, struct tjob *j)
{
    static const struct train_run_callbacks callbacks = {
        .on_started = on_run_started,
        .on_progress = on_run_progress,
        .on_checkpoint = on_run_checkpoint,
        .on_notice = on_run_notice,
        .on_end = on_run_end,
    };
    struct error err = {0};

    if (t->current || t->held > 0)
        return;
    training_become(j, JOB_STATE_STARTING);
    job_on_start(&j->life);
    j->row.attempts++;
    j->row.message[0] = '\0';
    training_set_reason(j, STOP_REASON_NONE);
    snprintf(j->row.phase, sizeof(j->row.phase), "prepare");
    training_night_run_started(t, j);
    if (train_run_create(&t->run, t->p, &j->row, &j->life.bisect, &callbacks, t,
                         &err) < 0) {
        log_error("event=run_failed text=%s", err.text);
        training_become(j, JOB_STATE_QUEUED);
        return;
    }
    t->current = j;
    training_save(t, j);
    signals_hold_awake(t->p->signals, true);
    watchers_status_changed(t->p);
}

void training_stop_run(struct training *t, enum stop_reason reason)
{
    if (!t->run || train_run_is_stopping(t->run))
        return;
    log_info("event=job_stopping job=%lld reason=%s",
             (long long) t->current->row.id, stop_reason_name(reason));
    training_become(t->current, JOB_STATE_STOPPING);
    training_set_reason(t->current, reason);
    train_run_stop(t->run, reason);
    training_save(t, t->current);
    watchers_status_changed(t->p);
}

// A job that was added to the store joins the list.
struct tjob *training_adopt(struct training *t, const struct store_job *row)
{
    struct tjob *j = calloc(1, sizeof(*j));
    struct tjob **at = &t->jobs;

    if (!j)
        return NULL;
    j->row = *row;
    j->life = (struct job){.id = row->id,
                           .state = (enum job_state) row->state,
                           .is_manual = row->is_forced,
                           .created_ms = row->created_ms,
                           .failures = (int) row->failures,
                           .permanents = (int) row->permanents,
                           .fruitless = (int) row->fruitless,
                           .deaths = (int) row->deaths,
                           .death_place = row->death_place,
                           .checkpoint_step = row->checkpoint_step};
    (void) bisect_parse(&j->life.bisect, row->suspects);
    j->heldout = NAN;
    j->speed = (struct training_speed){.tokens_s = NAN, .eta_s = -1};
    while (*at)
        at = &(*at)->next;
    *at = j;
    return j;
}

// An automatic job: what the owner would have asked for.
struct creating {
    struct training *t;
    struct train_job job;
};

static int see_job(const struct store_job *j, void *user)
{
    return 1;
}

static int run_create(struct store *s, void *arg, struct error *err)
{
    struct creating *c = arg;

    // The owner may have asked for a job since this one was decided.
    if (store_job_each_alive(s, see_job, NULL, NULL) != 0)
        return error_set(err, -EEXIST, "there is a job already");
    return train_job_add(&c->job, s, err);
}

static void done_create(void *arg, int rc, const struct error *err)
{
    struct creating *c = arg;
    struct training *t = c->t;

    t->is_creating = false;
    if (rc == -EEXIST) {
        log_debug("event=job_not_made text=%s", err->text);
    } else if (rc < 0) {
        log_warn("event=job_not_made text=%s", err->text);
    } else {
        struct tjob *j = training_adopt(t, &c->job.row);
        if (j)
            training_emit(t, j, "job_queued", "there are enough new records");
    }
    free(c);
    if (rc == 0)
        pockd_reconsider(t->p);
}

static void create_job(struct training *t)
{
    struct creating *c = calloc(1, sizeof(*c));
    struct error err = {0};

    if (!c || t->is_creating || t->held > 0 ||
        train_job_init(&c->job, NULL, &t->p->policy, &err) < 0) {
        free(c);
        return;
    }
    c->t = t;
    t->is_creating = true;
    if (dbthread_submit_own(t->p->dbthread, DBTHREAD_WRITE, run_create,
                            done_create, c) < 0) {
        t->is_creating = false;
        free(c);
    }
}

void training_apply(struct training *t, const struct decision *d)
{
    struct tjob *j;

    if (t->run)
        train_run_see(t->run, signals_snapshot(t->p->signals));

    switch (d->action) {
    case SCHEDULER_NONE:
        return;
    case SCHEDULER_CREATE:
        create_job(t);
        return;
    case SCHEDULER_START:
        j = training_find(t, d->job);
        if (j)
            start_run(t, j);
        return;
    case SCHEDULER_STOP:
        training_stop_run(t, d->reason);
        return;
    }
}

size_t training_list(const struct training *t,
                     struct scheduler_job jobs[TRAINING_JOBS_MAX])
{
    size_t n = 0;

    for (const struct tjob *j = t->jobs; j && n < TRAINING_JOBS_MAX;
         j = j->next) {
        jobs[n++] = (struct scheduler_job){
            .id = j->row.id,
            .created_ms = j->row.created_ms,
            .not_before_ms = j->life.not_before_ms,
            .memory_bytes = 2 * t->p->facts.model_bytes,
            .message = j->row.message,
            .is_manual = j->row.is_forced,
            .is_running = j == t->current,
            .is_user_paused = j->life.wants_pause || j->life.wants_cancel ||
                              j->life.state == JOB_STATE_PAUSED,
        };
    }
    return n;
}

int64_t training_slice_started_ms(const struct training *t)
{
    return t->run_started_ms;
}

int64_t training_create_after_ms(const struct training *t)
{
    return t->create_after_ms;
}

bool training_is_held(const struct training *t)
{
    return t->held > 0;
}

bool training_is_quiet(const struct training *t)
{
    return t->current == NULL;
}

void training_before_erase(struct pockd *p, struct request *r,
                           void (*next)(struct pockd *p, struct request *r))
{
    struct training *t = p->training;
    struct erasing *e = calloc(1, sizeof(*e));

    if (!e) {
        if (r)
            request_fail(r, RPC_ERROR_BUSY, "out of memory");
        return;
    }
    t->held++;
    e->r = r;
    e->run = next;
    e->next = t->erasings;
    t->erasings = e;
    if (t->current)
        training_stop_run(t, STOP_REASON_USER);
    else
        run_erasings(t);
}

void training_erase_ended(struct pockd *p)
{
    p->training->held--;
    pockd_reconsider(p);
}

bool training_hold_for_erase(struct pockd *p)
{
    struct training *t = p->training;

    if (t->current || t->held > 0)
        return false;
    t->held++;
    for (struct tjob *j = t->jobs; j; j = j->next) {
        drop_checkpoint(t, j);
        j->row.step = 0;
    }
    return true;
}

void training_take_in(struct pockd *p, const struct store_job *jobs,
                      size_t count)
{
    struct training *t = p->training;

    for (size_t i = 0; i < count; i++) {
        struct tjob *j =
            training_find(t, jobs[i].id) ? NULL : training_adopt(t, &jobs[i]);
        if (j)
            training_emit(t, j, "job_queued",
                          "it learns again what remains after an erase");
    }
    if (count > 0)
        pockd_reconsider(p);
}

// Start and stop

static int load_job(const struct store_job *row, void *user)
{
    struct training *t = user;
    struct tjob *j = training_adopt(t, row);

    if (!j)
        return -ENOMEM;
    if (row->not_before_ms > 0) {
        int64_t wait = row->not_before_ms - clock_unix_ms();
        // The clock may have been set back: no job waits longer than a day.
        if (wait > 86400000)
            wait = 86400000;
        j->life.not_before_ms = wait > 0 ? pockd_now_ms() + wait : 0;
    }
    return 0;
}

// Checkpoints of jobs that are no more, and halves of files.
static void sweep_checkpoints(const struct training *t)
{
    DIR *d = opendir(t->p->paths.checkpoints);

    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        char name[64 + sizeof(e->d_name)];
        char its[64];
        long long id = 0;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        (void) sscanf(e->d_name, "job-%lld.ckpt", &id);
        train_checkpoint_name(its, id);
        snprintf(name, sizeof(name), "ckpt/%s", e->d_name);
        if (strcmp(name, its) != 0 || !training_find(t, id))
            (void) store_file_remove(t->p->store, name, NULL);
    }
    (void) closedir(d);
}

int training_create(struct training **out, struct pockd *p, struct error *err)
{
    struct training *t = calloc(1, sizeof(*t));
    char text[64];
    int rc;

    if (!t)
        return error_set(err, -ENOMEM, "out of memory");
    t->p = p;
    if ((rc = store_job_recover(p->store, NULL, err)) < 0 ||
        (rc = store_job_each_alive(p->store, load_job, t, err)) < 0 ||
        (rc = training_night_load(t, err)) < 0) {
        training_destroy(t);
        return rc;
    }
    sweep_checkpoints(t);
    if (p->policy.prefix_cache_mib == 0)
        (void) prefix_file_drop(p->store, &p->paths);
    if (store_policy_get(p->store, TRAINING_PAUSED_KEY, text, sizeof(text),
                         NULL) == 0)
        p->is_paused = text[0] == '1';
    *out = t;
    return 0;
}

void training_stop(struct training *t, void (*on_quiet)(struct pockd *p))
{
    if (!t->current) {
        on_quiet(t->p);
        return;
    }
    t->on_quiet = on_quiet;
    training_stop_run(t, STOP_REASON_SHUTDOWN);
}

void training_destroy(struct training *t)
{
    if (!t)
        return;
    train_run_destroy(t->run);
    while (t->erasings) {
        struct erasing *e = t->erasings;
        t->erasings = e->next;
        if (e->r)
            request_fail(e->r, RPC_ERROR_SHUTTING_DOWN, "pockd is stopping");
        free(e);
    }
    while (t->jobs)
        remove_job(t, t->jobs);
    free(t->skipped);
    free(t);
}
