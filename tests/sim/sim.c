// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/sim/sim_inside.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static double uniform(struct sim *s)
{
    return rng_uniform(&s->rng);
}

void sim_say(const struct sim *s, const char *fmt, ...)
{
    va_list ap;

    if (!s->params->trace)
        return;
    int64_t sec = s->d.now / 1000;
    fprintf(s->params->trace,
            "%3" PRId64 "d %02" PRId64 ":%02" PRId64 ":%02" PRId64 " ",
            sec / 86400, sec / 3600 % 24, sec / 60 % 60, sec % 60);
    va_start(ap, fmt);
    (void) vfprintf(s->params->trace, fmt, ap);
    va_end(ap);
    fputc('\n', s->params->trace);
}

// The first promise that was not kept.
void sim_broken(struct sim *s, const char *fmt, ...)
{
    va_list ap;

    if (s->is_broken)
        return;
    s->is_broken = true;
    va_start(ap, fmt);
    (void) vsnprintf(s->why, 256, fmt, ap);
    va_end(ap);
    sim_say(s,
            "pockd has %" PRId64 " s, %.2f Wh; the judge %" PRId64 " s, %.2f",
            s->night.used_ms / 1000, s->night.used_j / 3600,
            s->oracle_used_ms / 1000, s->oracle_used_j / 3600);
    for (int i = 0; i < JOBS; i++)
        if (s->jobs[i].is_used)
            sim_say(s,
                    "job %" PRId64 " is %s, waits %" PRId64
                    " s, records %" PRId64,
                    s->jobs[i].life.id, job_state_name(s->jobs[i].life.state),
                    (s->jobs[i].life.not_before_ms - sim_mono(s)) / 1000,
                    s->new_records);
    sim_say(s,
            "looks again in %" PRId64 " s, polls in %" PRId64 " s of %" PRId64,
            (s->recheck_at - sim_mono(s)) / 1000,
            (s->poll_at - sim_mono(s)) / 1000, s->pace / 1000);
    sim_say(s, "BROKEN: %s", s->why);
}

static int duty(const struct sim *s)
{
    return manners_duty_pct(&s->seen, &s->d.policy);
}

static double load(const struct sim *s)
{
    return s->phase == PHASE_NONE || s->phase == PHASE_LOAD ? 0
                                                            : duty(s) / 100.0;
}

/*
 * pockd: what training.c does, without its files and threads
 */

static void become(struct sim *s, struct simjob *j, enum job_state to)
{
    struct error err = {0};

    if (job_become(&j->life, to, &err) < 0)
        sim_broken(s, "%s", err.text);
}

static void account(struct sim *s)
{
    int64_t ran = sim_mono(s) - s->accounted_at;
    double joules = (double) ran / 1000 * (5 + 25 * load(s));

    s->accounted_at = sim_mono(s);
    if (sim_is_computing(s)) {
        s->night.used_ms += ran;
        s->night.used_j += joules;
        s->oracle_used_ms += ran;
        s->oracle_used_j += joules;
    }
    if (night_see(&s->night, device_unix_ms(&s->d), 0, s->d.now))
        s->saved_night = s->night;
}

static struct simjob *add_job(struct sim *s, bool is_manual)
{
    for (int i = 0; i < JOBS; i++) {
        struct simjob *j = &s->jobs[i];
        if (j->is_used)
            continue;
        memset(j, 0, sizeof(*j));
        j->is_used = true;
        j->life.id = ++s->next_id;
        j->life.is_manual = is_manual;
        j->life.created_ms = device_unix_ms(&s->d);
        j->steps = 200 + rng_below(&s->rng, 20000);
        j->poison_step = -1;
        if (uniform(s) < 0.15) {
            j->poison_step = 1 + rng_below(&s->rng, (uint32_t) j->steps - 1);
            j->culprit = j->poison_step * BATCH + 3;
        }
        sim_say(s, "job %" PRId64 " of %" PRId64 " steps%s", j->life.id,
                j->steps, j->poison_step >= 0 ? ", poisoned" : "");
        return j;
    }
    return NULL;
}

static void finish_job(struct sim *s, struct simjob *j)
{
    if (j->life.state == JOB_STATE_DONE)
        s->totals->done++;
    else if (j->life.state == JOB_STATE_FAILED)
        s->totals->failed++;
    else
        s->totals->cancelled++;
    if (j->life.state != JOB_STATE_DONE)
        s->create_after = sim_mono(s) + CREATE_PAUSE_MS;
    else
        s->is_quarantined = false;
    j->is_used = false;
}

static void move(struct sim *s)
{
    int64_t ran = sim_mono(s) - s->moved_at;

    if (s->phase == PHASE_STEPS)
        s->progress += s->rate * duty(s) / 100 * (double) ran / 1000;
    if (s->phase != PHASE_NONE && duty(s) < 100)
        s->totals->half_duty++;
    s->moved_at = sim_mono(s);
}

static void count_end(struct sim *s, const struct job_end *e,
                      const struct job_verdict *v)
{
    struct sim_totals *t = s->totals;

    t->deaths += e->is_death;
    t->transient += e->outcome == JOB_OUTCOME_TRANSIENT;
    t->permanent += e->outcome == JOB_OUTCOME_PERMANENT;
    t->no_space += e->outcome == JOB_OUTCOME_NO_SPACE;
    t->trials += v->is_trial;
    t->convicted += v->culprit != 0;
    t->quarantined += v->is_quarantined;
    if (e->reason < 32)
        t->stops[e->reason]++;
}

static void end_run(struct sim *s, const struct job_end *e)
{
    struct simjob *j = s->current;
    struct job_verdict v;

    account(s);
    s->phase = PHASE_NONE;
    s->current = NULL;
    enum job_state next =
        job_on_end(&j->life, e, &s->d.policy, sim_mono(s), uniform(s), &v);
    judge_end(s, j, e, &v);
    count_end(s, e, &v);
    sim_say(s,
            "job %" PRId64 " ends its run: %s%s%s, failures %d, waits %" PRId64
            " s, suspects %d",
            j->life.id, job_state_name(next),
            e->is_death ? ", the worker died" : "",
            v.culprit ? ", a record is guilty" : "", j->life.failures,
            j->life.not_before_ms ? (j->life.not_before_ms - sim_mono(s)) / 1000
                                  : 0,
            j->life.bisect.count);
    become(s, j, next);
    if (v.culprit && v.culprit != j->culprit)
        sim_broken(s,
                   "record %" PRId64 " is skipped, but %" PRId64 " is guilty",
                   v.culprit, j->culprit);
    if (v.culprit) {
        j->poison_step = -1;
        j->failed_in_row = 0;
    }
    s->saved_night = s->night;
    if (v.is_quarantined)
        s->is_quarantined = true;
    if (e->outcome == JOB_OUTCOME_DONE && next == JOB_STATE_DONE)
        s->new_records = 0;
    if (job_state_is_final(j->life.state))
        finish_job(s, j);
}

static void save_checkpoint(struct sim *s)
{
    struct simjob *j = s->current;

    if (s->d.is_disk_full || job_is_trial(&j->life))
        return;
    if ((int64_t) s->progress > j->life.checkpoint_step)
        j->failed_in_row = 0;
    job_on_checkpoint(&j->life, (int64_t) s->progress);
    s->saved_night = s->night;
}

static void start_run(struct sim *s, struct simjob *j)
{
    judge_start(s, j);
    if (s->current)
        sim_broken(s, "a second job starts");
    if (sim_mono(s) < j->may_start_at)
        sim_broken(s, "job %" PRId64 " starts %" PRId64 " s too early",
                   j->life.id, (j->may_start_at - sim_mono(s)) / 1000);
    become(s, j, JOB_STATE_STARTING);
    job_on_start(&j->life);
    account(s);
    s->current = j;
    s->run_started = s->moved_at = s->accounted_at = sim_mono(s);
    s->phase = PHASE_LOAD;
    s->phase_at = sim_mono(s) + 500 + (int64_t) (uniform(s) * 20000);
    s->progress = (double) j->life.checkpoint_step;
    s->rate = 0.2 + uniform(s) * 8;
    s->hangs = uniform(s) < 0.03;
    s->totals->runs++;
    s->totals->resumed += j->life.checkpoint_step > 0;
    sim_say(s, "job %" PRId64 " starts at step %" PRId64 "%s", j->life.id,
            j->life.checkpoint_step, job_is_trial(&j->life) ? " (trial)" : "");
}

static void stop_run(struct sim *s, enum stop_reason reason)
{
    if (!s->current || s->phase == PHASE_STOPPING)
        return;
    sim_say(s, "job %" PRId64 " stops: %s", s->current->life.id,
            stop_reason_name(reason));
    become(s, s->current, JOB_STATE_STOPPING);
    move(s);
    s->phase = PHASE_STOPPING;
    s->stopping = reason;
    s->phase_at = sim_mono(s) +
                  (s->hangs ? LADDER_MS : 50 + (int64_t) (uniform(s) * 2500));
}

static int64_t pace_ms(const struct sim *s)
{
    switch (scheduler_pace(&s->decision, s->gates, s->current != NULL)) {
    case SCHEDULER_PACE_EVENTS:
        return 0;
    case SCHEDULER_PACE_SLOW:
        return 15 * SIM_MINUTE;
    case SCHEDULER_PACE_WAITING:
        return 30 * SIM_SECOND;
    case SCHEDULER_PACE_RUNNING:
        break;
    }
    return SIM_SECOND;
}

// Signals' timer begins anew when its pace changes.
static void set_pace(struct sim *s)
{
    int64_t pace = pace_ms(s);

    if (pace == s->pace)
        return;
    s->pace = pace;
    s->poll_at = pace > 0 ? sim_mono(s) + pace : SIM_NEVER;
}

static void decide(struct sim *s)
{
    struct scheduler_job list[JOBS];
    struct simjob *of[JOBS];
    size_t n = 0;

    account(s);
    for (int i = 0; i < JOBS; i++) {
        struct simjob *j = &s->jobs[i];
        if (!j->is_used)
            continue;
        of[n] = j;
        list[n++] = (struct scheduler_job){
            .id = j->life.id,
            .created_ms = j->life.created_ms,
            .not_before_ms = j->life.not_before_ms,
            .memory_bytes = 1 << 28,
            .is_manual = j->life.is_manual,
            .is_running = j == s->current,
            .is_user_paused = j->life.wants_pause || j->life.wants_cancel ||
                              j->life.state == JOB_STATE_PAUSED,
        };
    }
    const struct scheduler_input in = {
        .snapshot = &s->seen,
        .policy = &s->d.policy,
        .jobs = list,
        .job_count = n,
        .is_paused = s->is_paused,
        .has_model = true,
        .is_preempted = s->is_preempted,
        .new_records = s->new_records,
        .create_after_ms = s->create_after,
        .quarantine = s->is_quarantined ? "the model is broken" : NULL,
        .budget_used_s = s->night.used_ms / 1000,
        .budget_used_wh = s->has_energy ? s->night.used_j / 3600 : (double) NAN,
        .slice_started_ms = s->run_started,
        .now_ms = sim_mono(s),
        .unix_ms = device_unix_ms(&s->d),
        .minute_of_day = device_minute(&s->d),
        .weekday = device_weekday(&s->d),
        .is_silent = !s->params->trace,
    };
    scheduler_decide(&s->decision, s->gates, &in);
    s->totals->decisions++;
    for (int i = 0; i < CONDITION_COUNT; i++)
        s->totals->flap_holds += s->gates[i].is_open && !s->gates[i].is_ok;
    s->recheck_at =
        s->decision.recheck_ms < 0
            ? SIM_NEVER
            : sim_mono(s) +
                  (s->decision.recheck_ms < 10 ? 10 : s->decision.recheck_ms);
    if (s->decision.action == SCHEDULER_STOP) {
        stop_run(s, s->decision.reason);
    } else if (s->decision.action == SCHEDULER_CREATE &&
               s->create_at == SIM_NEVER) {
        s->create_at = sim_mono(s) + 50;
    } else if (s->decision.action == SCHEDULER_START) {
        for (size_t i = 0; i < n; i++)
            if (of[i]->life.id == s->decision.job)
                start_run(s, of[i]);
    }
    set_pace(s);
}

static void look(struct sim *s)
{
    // What the worker did so far, it did at the duty of before.
    move(s);
    device_read(&s->d, &s->seen);
    s->poll_at = SIM_NEVER;
    decide(s);
}

/*
 * The worker
 */

static void die(struct sim *s)
{
    struct simjob *j = s->current;
    int64_t ids[BATCH];
    const bool is_stepping = s->phase == PHASE_STEPS;
    const int64_t step = (int64_t) s->progress;

    for (int i = 0; i < BATCH; i++)
        ids[i] = step * BATCH + i;
    // Whoever is told to stop and dies of it was interrupted.
    if (s->phase == PHASE_STOPPING) {
        end_run(s, &(struct job_end){.outcome = JOB_OUTCOME_INTERRUPTED,
                                     .reason = STOP_REASON_WATCHDOG});
        return;
    }
    if (j->life.state == JOB_STATE_STARTING)
        become(s, j, JOB_STATE_RUNNING);
    end_run(s, &(struct job_end){
                   .outcome = JOB_OUTCOME_TRANSIENT,
                   .reason = STOP_REASON_ERROR,
                   .is_death = true,
                   .place = is_stepping ? step : JOB_PLACE_NONE,
                   .ids = ids,
                   .n_ids = is_stepping ? BATCH : 0,
               });
}

static bool is_guilty(const struct simjob *j)
{
    for (int i = 0; i < j->life.bisect.tried; i++)
        if (j->poison_step >= 0 && j->life.bisect.ids[i] == j->culprit)
            return true;
    return false;
}

static void end_load(struct sim *s)
{
    struct simjob *j = s->current;

    become(s, j, JOB_STATE_RUNNING);
    if (!s->is_model_there) {
        end_run(s, &(struct job_end){.outcome = JOB_OUTCOME_PERMANENT,
                                     .reason = STOP_REASON_ERROR});
        return;
    }
    if (s->d.is_memory_short && uniform(s) < 0.5) {
        end_run(s, &(struct job_end){.outcome = JOB_OUTCOME_TRANSIENT,
                                     .reason = STOP_REASON_MEMORY});
        return;
    }
    s->moved_at = sim_mono(s);
    if (job_is_trial(&j->life)) {
        s->phase = PHASE_TRIAL;
        s->phase_at = sim_mono(s) + j->life.bisect.tried * 2 * SIM_SECOND;
        return;
    }
    s->phase = PHASE_STEPS;
    s->checkpoint_at = sim_mono(s) + s->d.policy.checkpoint_s * 1000;
}

static void end_stopping(struct sim *s)
{
    if (s->hangs) {
        end_run(s, &(struct job_end){.outcome = JOB_OUTCOME_INTERRUPTED,
                                     .reason = STOP_REASON_WATCHDOG});
        return;
    }
    save_checkpoint(s);
    end_run(s, &(struct job_end){.outcome = JOB_OUTCOME_INTERRUPTED,
                                 .reason = s->stopping});
}

// Steps until the next thing that happens by itself.
static double next_step(const struct sim *s)
{
    const struct simjob *j = s->current;

    return j->poison_step >= (int64_t) s->progress ? (double) j->poison_step
                                                   : (double) j->steps;
}

static int64_t worker_next(const struct sim *s)
{
    if (s->phase == PHASE_NONE || s->d.is_asleep)
        return SIM_NEVER;
    if (s->phase != PHASE_STEPS)
        return s->phase_at;
    double seconds = (next_step(s) - s->progress) / (s->rate * duty(s) / 100);
    int64_t at = s->moved_at + 1 + (int64_t) (fmax(0, seconds) * 1000);
    return at < s->checkpoint_at ? at : s->checkpoint_at;
}

static void step_steps(struct sim *s)
{
    struct simjob *j = s->current;

    if (sim_mono(s) >= s->checkpoint_at) {
        s->checkpoint_at = sim_mono(s) + s->d.policy.checkpoint_s * 1000;
        if (s->d.is_disk_full) {
            end_run(s, &(struct job_end){.outcome = JOB_OUTCOME_NO_SPACE,
                                         .reason = STOP_REASON_DISK});
            return;
        }
        save_checkpoint(s);
    }
    if (j->poison_step >= 0 && s->progress >= (double) j->poison_step) {
        s->progress = (double) j->poison_step;
        die(s);
    } else if (s->progress >= (double) j->steps) {
        s->phase = PHASE_EVALUATE;
        s->phase_at = sim_mono(s) + EVALUATE_MS;
    }
}

static void step_worker(struct sim *s)
{
    move(s);
    switch (s->phase) {
    case PHASE_NONE:
        return;
    case PHASE_LOAD:
        end_load(s);
        break;
    case PHASE_STEPS:
        step_steps(s);
        break;
    case PHASE_TRIAL:
        if (is_guilty(s->current)) {
            die(s);
            break;
        }
        end_run(s, &(struct job_end){.outcome = JOB_OUTCOME_DONE});
        break;
    case PHASE_EVALUATE:
        s->totals->steps += (uint64_t) s->current->steps;
        end_run(s, &(struct job_end){.outcome = JOB_OUTCOME_DONE});
        break;
    case PHASE_STOPPING:
        end_stopping(s);
        break;
    }
    decide(s);
}

/*
 * What is done to pockd
 */

// What the night used since it was last stored is not known any more.
static void forget(struct sim *s)
{
    const int64_t most = s->d.policy.checkpoint_s * 1000 + 60000;

    (void) night_see(&s->saved_night, device_unix_ms(&s->d), 0, s->d.now);
    int64_t lost_ms = s->night.used_ms - s->saved_night.used_ms;
    if (lost_ms > most && !s->d.is_disk_full)
        sim_broken(s, "%" PRId64 " s of the night's use are forgotten",
                   lost_ms / 1000);
    s->oracle_used_ms -= lost_ms;
    s->oracle_used_j -= s->night.used_j - s->saved_night.used_j;
    s->night = s->saved_night;
}

// What is in memory only is forgotten; waits come back from the wall clock, as
// far as it can be believed.
static void restart(struct sim *s)
{
    if (s->current) {
        s->phase = PHASE_NONE;
        s->current->life.state = JOB_STATE_QUEUED;
        s->current = NULL;
    }
    for (int i = 0; i < JOBS; i++)
        s->jobs[i].life.wants_pause = s->jobs[i].life.wants_cancel = false;
    memset(s->gates, 0, sizeof(s->gates));
    forget(s);
    s->create_at = SIM_NEVER;
    s->create_after = 0;
    s->is_preempted = false;
    sim_say(s, "pockd starts again");
}

static struct simjob *any_job(struct sim *s)
{
    for (int i = 0; i < JOBS; i++)
        if (s->jobs[i].is_used)
            return &s->jobs[i];
    return NULL;
}

static void train_now(struct sim *s)
{
    struct simjob *j = any_job(s);

    // As pockd refuses it.
    if (judge_stopper(s, true))
        return;
    if (!j)
        j = add_job(s, true);
    if (!j || j->life.state == JOB_STATE_PAUSED)
        return;
    j->life.is_manual = true;
    j->life.not_before_ms = 0;
    j->may_start_at = 0;
    sim_say(s, "train now: job %" PRId64, j->life.id);
}

static void cancel(struct sim *s)
{
    struct simjob *j = any_job(s);

    if (!j)
        return;
    j->life.wants_cancel = true;
    if (j == s->current) {
        stop_run(s, STOP_REASON_USER);
        return;
    }
    become(s, j, JOB_STATE_CANCELLED);
    finish_job(s, j);
}

static void pause_job(struct sim *s)
{
    struct simjob *j = any_job(s);

    if (!j)
        return;
    j->life.wants_pause = true;
    if (j == s->current)
        stop_run(s, STOP_REASON_USER);
    else if (j->life.state == JOB_STATE_QUEUED)
        become(s, j, JOB_STATE_PAUSED);
}

static void resume(struct sim *s)
{
    s->is_paused = false;
    s->is_quarantined = false;
    s->create_after = 0;
    for (int i = 0; i < JOBS; i++) {
        struct simjob *j = &s->jobs[i];
        if (!j->is_used)
            continue;
        j->life.wants_pause = false;
        if (j->life.state == JOB_STATE_PAUSED)
            become(s, j, JOB_STATE_QUEUED);
    }
}

static void act(struct sim *s, enum device_action a)
{
    switch (a) {
    case ACTION_NONE:
        return;
    case ACTION_RECORDS:
        s->new_records += rng_below(&s->rng, 40);
        break;
    case ACTION_PAUSE:
        s->is_paused = true;
        break;
    case ACTION_RESUME:
        resume(s);
        break;
    case ACTION_TRAIN_NOW:
        train_now(s);
        break;
    case ACTION_CANCEL:
        cancel(s);
        break;
    case ACTION_PAUSE_JOB:
        pause_job(s);
        break;
    case ACTION_QUERY:
        s->is_preempted = true;
        s->query_ends_at = sim_mono(s) + (int64_t) (uniform(s) * 60000);
        break;
    case ACTION_QUERY_ENDED:
        s->is_preempted = false;
        break;
    case ACTION_RESTART:
        restart(s);
        break;
    case ACTION_KILL_WORKER:
        if (s->current)
            die(s);
        break;
    case ACTION_MODEL_BREAKS:
        s->is_model_there = false;
        break;
    case ACTION_MODEL_MENDED:
        s->is_model_there = true;
        break;
    }
    if (a != ACTION_MODEL_BREAKS && a != ACTION_MODEL_MENDED)
        look(s);
}

/*
 * The story
 */

static int64_t to_now(const struct sim *s, int64_t at_mono)
{
    if (at_mono == SIM_NEVER || s->d.is_asleep)
        return SIM_NEVER;
    int64_t left = at_mono - sim_mono(s);
    return s->d.now + (left > 0 ? left : 0);
}

static int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

// pockd's own timers.
static void step_timers(struct sim *s)
{
    if (s->create_at <= sim_mono(s)) {
        s->create_at = SIM_NEVER;
        if (!any_job(s))
            (void) add_job(s, false);
        decide(s);
    } else if (s->is_preempted && s->query_ends_at <= sim_mono(s)) {
        s->is_preempted = false;
        decide(s);
    } else {
        look(s);
    }
}

// Looks between changes would find the same, and are left out; but what grows
// by itself is to be found by the next one.
static void expect_look(struct sim *s)
{
    bool is_due = s->current ? s->phase != PHASE_STOPPING &&
                                   judge_stopper(s, s->current->life.is_manual)
                             : judge_has_work(s) && judge_is_wide_open(s);

    if (is_due && s->pace > 0 && s->poll_at == SIM_NEVER)
        s->poll_at = sim_mono(s) + (int64_t) (uniform(s) * (double) s->pace);
}

// When the night's energy is used up, and a look at it.
static int64_t energy_next(const struct sim *s)
{
    double left = s->d.policy.budget_wh * 3600 - s->night.used_j;

    if (!s->has_energy || !s->current || s->phase == PHASE_STOPPING ||
        s->current->life.is_manual)
        return SIM_NEVER;
    double seconds = fmax(0, left) / (5 + 25 * load(s));
    return seconds > 1e9
               ? SIM_NEVER
               : sim_mono(s) + (int64_t) (seconds * 1000) + SIM_SECOND;
}

static int64_t timers_next(const struct sim *s)
{
    int64_t at = min_of(min_of(s->recheck_at, s->poll_at),
                        min_of(s->create_at, energy_next(s)));

    return s->is_preempted ? min_of(at, s->query_ends_at) : at;
}

static void step_device(struct sim *s, enum device_process p)
{
    bool is_announced;
    const bool holds = s->current != NULL;
    enum device_action a = device_step(&s->d, p, holds, &is_announced);

    if (p != PROCESS_TICK)
        sim_say(s, "%s: power %d, %.1f %%, level %d, user %d%s%s",
                device_process_name(p), s->d.truth.has_external_power,
                s->d.truth.battery_pct, s->d.truth.thermal_level,
                s->d.is_user_there, s->d.is_asleep ? ", asleep" : "",
                s->d.clock_error ? ", clock is wrong" : "");
    // Who looks when a clock is set decides on which side of noon that was.
    if (p == PROCESS_CLOCK)
        account(s);
    if (s->d.is_asleep)
        return;
    if (a != ACTION_NONE) {
        act(s, a);
    } else if (is_announced) {
        look(s);
    } else if (s->pace > 0 && s->poll_at == SIM_NEVER) {
        s->poll_at = sim_mono(s) + (int64_t) (uniform(s) * (double) s->pace);
    }
}

bool sim_run(const struct sim_params *params, struct sim_totals *totals,
             char why[256])
{
    struct sim *s = calloc(1, sizeof(*s));
    const int64_t end = params->nights * SIM_DAY;

    if (!s)
        abort();
    s->params = params;
    s->totals = totals;
    s->why = why;
    s->recheck_at = s->poll_at = s->create_at = SIM_NEVER;
    s->closed_since = s->open_since = -1;
    s->is_model_there = true;
    device_init(&s->d, params->seed, params->mask);
    rng_init(&s->rng, params->seed, 1);
    s->has_energy = uniform(s) < 0.5;
    if (!s->has_energy)
        s->d.policy.budget_wh = 100000;
    s->new_records = 20;
    s->oracle_day = night_day(device_unix_ms(&s->d), 0);
    s->night.day = s->oracle_day;
    s->saved_night = s->night;
    s->accounted_at = sim_mono(s);
    sim_say(s, "a %s", device_kind_name(s->d.kind));
    look(s);
    while (!s->is_broken) {
        enum device_process p = PROCESS_TICK;
        int64_t at = device_next(&s->d, &p);
        int64_t worker = to_now(s, worker_next(s));
        int64_t timer = to_now(s, timers_next(s));
        int64_t next = min_of(at, min_of(worker, timer));
        if (next >= end)
            break;
        device_pass(&s->d, next, load(s));
        account(s);
        judge(s);
        expect_look(s);
        if (worker == next)
            step_worker(s);
        else if (timer == next)
            step_timers(s);
        else
            step_device(s, p);
        judge(s);
    }
    totals->nights += (uint64_t) params->nights;
    totals->hours += (double) params->nights * 24;
    bool is_kept = !s->is_broken;
    free(s);
    return is_kept;
}
