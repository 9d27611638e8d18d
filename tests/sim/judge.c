// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Knows the device's truth and what pockd promises, by the words of its design
 * and not by its code.
 */

#include "tests/sim/sim_inside.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

static bool is_in_window(const struct sim *s)
{
    const struct policy *p = &s->d.policy;
    const int m = device_minute(&s->d);
    const int day = device_weekday(&s->d);

    if (p->windows[0]) // "mon-fri/23:00-05:30,sat+sun/00:00-24:00"
        return day == 0 || day == 6 || m >= 23 * 60 ||
               (m < 5 * 60 + 30 && day != 1);
    if (p->window_start_min == 0)
        return true;
    return m >= p->window_start_min || m < p->window_end_min;
}

// What of the truth stops a job that runs; NULL: nothing does.
const char *judge_stopper(const struct sim *s, bool is_manual)
{
    const struct snapshot *t = &s->d.truth;

    if (t->has_external_power != TRI_YES)
        return "on battery";
    // Nobody knows what a broken sensor does not say.
    if (!s->d.is_broken_sensor && t->has_battery && t->battery_pct < 30)
        return "battery below 30 %";
    if (!s->d.is_broken_sensor && t->has_battery && t->battery_temp_c > 42)
        return "battery above 42 C";
    if (!s->d.is_broken_sensor && t->thermal_level > 1)
        return "too hot";
    if (t->inhibitors[0])
        return "inhibited";
    if (t->is_going_to_sleep)
        return "going to sleep";
    if (t->disk_free_bytes < INT64_C(5) << 30)
        return "disk full";
    if (s->is_paused)
        return "paused";
    if (is_manual)
        return NULL;
    if (s->d.is_user_there)
        return "in use";
    if (t->is_power_saver == TRI_YES)
        return "power saver";
    if (t->psi_mem_full >= 5)
        return "memory pressure";
    return is_in_window(s) ? NULL : "outside the window";
}

// May a job start, beyond any doubt? Only what every reading would agree to.
bool judge_is_wide_open(const struct sim *s)
{
    const struct snapshot *t = &s->d.truth;
    const struct policy *p = &s->d.policy;

    if (judge_stopper(s, false) || s->d.is_asleep || s->d.is_broken_sensor)
        return false;
    if (t->has_battery &&
        (t->battery_pct < 41 || t->battery_temp_c > 37 ||
         t->battery_state == BATTERY_STATE_DISCHARGING || s->d.drain_pct > 0.9))
        return false;
    if (t->thermal_level > 0 || t->psi_cpu_some >= 10 || t->psi_mem_full >= 1 ||
        t->memory_available_bytes < INT64_C(3) << 30)
        return false;
    if (t->is_use_known &&
        sim_mono(s) - s->d.user_left_at < (p->idle_s + 60) * 1000)
        return false;
    return s->oracle_used_ms < p->budget_s * 1000 - 60000 &&
           s->oracle_used_j < (p->budget_wh - 0.5) * 3600;
}

bool judge_has_work(const struct sim *s)
{
    bool has_job = false;

    for (int i = 0; i < JOBS; i++) {
        const struct simjob *j = &s->jobs[i];
        if (!j->is_used)
            continue;
        has_job = true;
        if (j->life.state == JOB_STATE_QUEUED &&
            j->life.not_before_ms <= sim_mono(s))
            return true;
    }
    return !has_job && !s->is_quarantined && s->create_after <= sim_mono(s) &&
           s->new_records >= s->d.policy.min_records;
}

static void judge_nights(struct sim *s)
{
    int64_t step = s->d.clock_error - s->oracle_error;
    int64_t day = night_day(device_unix_ms(&s->d), 0);
    bool is_set = llabs(step) > 10 * SIM_MINUTE;

    s->oracle_error = s->d.clock_error;
    if (!is_set && day > s->oracle_day)
        s->oracle_used_ms = 0, s->oracle_used_j = 0;
    if (is_set || day > s->oracle_day)
        s->oracle_day = day;
    if (!s->current || s->current->life.is_manual)
        return;
    if (s->oracle_used_ms > s->d.policy.budget_s * 1000 + BUDGET_SLACK_MS)
        sim_broken(s, "%" PRId64 " s of training in a night of %" PRId64,
                   s->oracle_used_ms / 1000, s->d.policy.budget_s);
    if (s->has_energy && s->oracle_used_j > s->d.policy.budget_wh * 3600 + 1500)
        sim_broken(s, "%.2f Wh in a night of %.2f", s->oracle_used_j / 3600,
                   s->d.policy.budget_wh);
}

void judge(struct sim *s)
{
    const struct simjob *j = s->current;
    const char *closed =
        sim_is_computing(s) && j ? judge_stopper(s, j->life.is_manual) : NULL;

    judge_nights(s);
    if (!closed) {
        s->closed_since = -1;
    } else if (s->closed_since < 0) {
        s->closed_since = sim_mono(s);
        s->closed = closed;
    } else if (sim_mono(s) - s->closed_since > CLOSED_MS_MAX) {
        sim_broken(s, "trains for %" PRId64 " ms although %s",
                   sim_mono(s) - s->closed_since, s->closed);
    }
    bool waits = !sim_is_computing(s) && !s->is_preempted &&
                 s->is_model_there && judge_has_work(s) &&
                 judge_is_wide_open(s);
    if (!waits)
        s->open_since = -1;
    else if (s->open_since < 0)
        s->open_since = sim_mono(s);
    else if (sim_mono(s) - s->open_since > OPEN_MS_MAX)
        sim_broken(s,
                   "nothing starts for %" PRId64 " s although all is open; "
                   "pockd says %s",
                   (sim_mono(s) - s->open_since) / 1000,
                   condition_name(condition_blocking(s->gates)));
    // On battery nothing wakes the machine up.
    if (s->d.truth.has_external_power == TRI_NO && !s->current &&
        (s->decision.wants_polling || s->recheck_at != SIM_NEVER) &&
        s->seen.has_external_power == TRI_NO)
        sim_broken(s, "a timer runs on battery");
}

// The earliest time at which a job may start again, by the words of the
// design: 15 minutes, doubling, less a fifth; a day; ten minutes.
void judge_end(struct sim *s, struct simjob *j, const struct job_end *e,
               const struct job_verdict *v)
{
    const struct policy *p = &s->d.policy;
    int64_t wait = 0;
    bool is_tried = v->is_trial || v->began_bisect || v->culprit;

    if (e->outcome == JOB_OUTCOME_NO_SPACE)
        wait = 600 * SIM_SECOND;
    else if (e->outcome == JOB_OUTCOME_PERMANENT && !is_tried)
        wait = SIM_DAY;
    else if (e->outcome == JOB_OUTCOME_TRANSIENT && !is_tried)
        wait = (int64_t) (0.8 * (double) (p->retry_s * 1000) *
                          pow(2, j->failed_in_row++));
    if (wait > SIM_DAY)
        wait = SIM_DAY * 8 / 10;
    j->may_start_at = sim_mono(s) + wait;
}

void judge_start(struct sim *s, const struct simjob *j)
{
    int64_t *oldest = &s->starts[s->start_count % STARTS_MAX];

    if (job_is_trial(&j->life) || s->d.policy.flap_s == 0)
        return;
    if (s->start_count >= STARTS_MAX && sim_mono(s) - *oldest < STARTS_MS)
        sim_broken(s, "%d starts in %" PRId64 " s", STARTS_MAX + 1,
                   (sim_mono(s) - *oldest) / 1000);
    *oldest = sim_mono(s);
    s->start_count++;
}
