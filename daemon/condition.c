// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/condition.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/manners.h"
#include "daemon/signal_table.h"
#include "daemon/window.h"

enum {
    TEMP_LEAST_C = -40, // of a battery that can be charged at all
    TEMP_MOST_C = 200,
    FLAPS_MAX = 3,  // a gate that came and went so often is not trusted
    FLAP_CALM = 10, // flap_s without a change until it is again
};

typedef bool (*condition_fn)(struct gate *g, const struct condition_input *in);

static void put_value(struct gate *g, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void put_threshold(struct gate *g, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void put_value(struct gate *g, const char *fmt, ...)
{
    va_list ap;
    if (g->is_silent)
        return;
    va_start(ap, fmt);
    (void) vsnprintf(g->value, sizeof(g->value), fmt, ap);
    va_end(ap);
}

static void put_threshold(struct gate *g, const char *fmt, ...)
{
    va_list ap;
    if (g->is_silent)
        return;
    va_start(ap, fmt);
    (void) vsnprintf(g->threshold, sizeof(g->threshold), fmt, ap);
    va_end(ap);
}

// What the machine does not have does not block.
static bool has_none(struct gate *g, const char *value)
{
    g->source = "none";
    put_value(g, "%s", value);
    return true;
}

static bool cond_owner(struct gate *g, const struct condition_input *in)
{
    g->source = "owner";
    put_value(g, "%s",
              in->is_off             ? "switched off by pockctl off"
              : !in->policy->enabled ? "switched off"
              : in->is_paused        ? "paused"
                                     : "on");
    put_threshold(g, "on");
    return in->policy->enabled && !in->is_paused && !in->is_off;
}

static bool cond_data(struct gate *g, const struct condition_input *in)
{
    g->source = "store";
    if (in->wait_ms > 0) {
        put_value(g, "a job that waits %lld s: %.150s",
                  (long long) ((in->wait_ms + 999) / 1000),
                  in->wait_text ? in->wait_text : "it failed");
        put_threshold(g, "a job that may start");
        g->opens_in_ms = in->wait_ms;
        return false;
    }
    if (in->quarantine && !in->has_job) {
        put_value(g, "given up: %.185s", in->quarantine);
        put_threshold(g, "`pockctl train resume`, or a job that you start");
        return false;
    }
    if (in->has_job)
        put_value(g, "a job%s%.185s", in->note ? ", " : "",
                  in->note ? in->note : "");
    else
        put_value(g, "%lld new records%s%.150s", (long long) in->new_records,
                  in->note ? ", " : "", in->note ? in->note : "");
    put_threshold(g, "a job, or %lld new records",
                  (long long) in->policy->min_records);
    return in->has_job || in->new_records >= in->policy->min_records;
}

// Sensors that are broken say things that cannot be.
static bool is_within(double value, double least, double most)
{
    return value >= least && value <= most;
}

// "Charging" means external power and a battery that is not discharging: some
// phones report a charger and empty the battery all the same.
static bool cond_power(struct gate *g, const struct condition_input *in)
{
    static const char *const states[] = {"unknown", "charging", "discharging",
                                         "full", "not charging"};
    const struct snapshot *s = in->snapshot;
    bool is_external =
        s->has_external_power == TRI_YES ||
        (s->has_external_power == TRI_UNKNOWN && !s->has_battery);

    put_threshold(g, "external power");
    if (!s->has_battery) {
        put_value(g, is_external ? "external power, no battery"
                                 : "no external power, no battery");
        return is_external;
    }
    if (s->power_flaps > 0)
        put_value(g, "unsteady: it came and went %d times in a minute",
                  s->power_flaps);
    else
        put_value(g, "%s, battery %s",
                  is_external ? "external power" : "on battery",
                  states[s->battery_state]);
    return is_external && s->battery_state != BATTERY_STATE_DISCHARGING;
}

static bool cond_drain(struct gate *g, const struct condition_input *in)
{
    double drain = in->snapshot->drain_pct;

    put_threshold(g, "< %g %% in 10 min", in->policy->drain_pct);
    if (!in->snapshot->has_battery)
        return has_none(g, "no battery");
    if (isnan(drain)) {
        put_value(g, "not measured yet");
        return true;
    }
    if (!is_within(drain, -100, 100)) {
        put_value(g, "%g %% in 10 min, which cannot be: not counted", drain);
        return true;
    }
    put_value(g, "%.1f %% in 10 min", drain);
    return drain < in->policy->drain_pct;
}

static bool cond_level(struct gate *g, const struct condition_input *in)
{
    const struct snapshot *s = in->snapshot;
    double need = in->is_running ? in->policy->level_keep_pct
                                 : in->policy->level_start_pct;

    put_threshold(g, ">= %g %%", need);
    if (!s->has_battery)
        return has_none(g, "no battery");
    if (isnan(s->battery_pct)) {
        put_value(g, "unknown");
        return false;
    }
    if (!is_within(s->battery_pct, 0, 100)) {
        put_value(g, "%g %%, which cannot be", s->battery_pct);
        return false;
    }
    put_value(g, "%.0f %%", s->battery_pct);
    return s->battery_pct >= need;
}

static bool cond_warning(struct gate *g, const struct condition_input *in)
{
    static const char *const names[] = {"unknown", "none",     "discharging",
                                        "low",     "critical", "action"};
    int w = in->snapshot->warning;

    put_threshold(g, "not low");
    if (!in->snapshot->has_battery)
        return has_none(g, "no battery");
    put_value(g, "%s", names[w >= 0 && w <= 5 ? w : 0]);
    return w < 3;
}

static bool cond_battery_temp(struct gate *g, const struct condition_input *in)
{
    static const char *const health[] = {"", "good", "cold", "hot", "bad"};
    const struct snapshot *s = in->snapshot;
    double most = in->is_running ? in->policy->battery_temp_keep_c
                                 : in->policy->battery_temp_start_c;
    bool is_real = is_within(s->battery_temp_c, TEMP_LEAST_C, TEMP_MOST_C);
    bool is_hot = is_real && s->battery_temp_c > most;
    bool is_healthy = s->battery_health == BATTERY_HEALTH_UNKNOWN ||
                      s->battery_health == BATTERY_HEALTH_GOOD;

    put_threshold(g, "<= %.1f C", most);
    if (!s->has_battery)
        return has_none(g, "no battery");
    if (isnan(s->battery_temp_c))
        put_value(g, "unknown %s", health[s->battery_health]);
    else if (!is_real)
        put_value(g, "%g C, which cannot be: unknown %s", s->battery_temp_c,
                  health[s->battery_health]);
    else
        put_value(g, "%.1f C %s", s->battery_temp_c, health[s->battery_health]);
    // Once it runs, cold or worn is no reason to stop; hot is.
    if (in->is_running)
        is_healthy = s->battery_health != BATTERY_HEALTH_HOT;
    return !is_hot && is_healthy;
}

static bool cond_thermal(struct gate *g, const struct condition_input *in)
{
    static const char *const names[] = {"cool", "warm", "throttling", "hot",
                                        "critical"};
    const struct snapshot *s = in->snapshot;
    int64_t most =
        in->is_running ? in->policy->thermal_keep : in->policy->thermal_start;

    put_threshold(g, "<= %lld", (long long) most);
    const int duty = manners_duty_pct(s, in->policy);
    if (s->thermal_level < 0) {
        (void) has_none(g, "");
        put_value(g, "no readable zone: trains %d %% of the time", duty);
        return true;
    }
    put_value(g, "%d (%s) %s", s->thermal_level,
              names[s->thermal_level > 4 ? 4 : s->thermal_level],
              s->thermal_zone);
    if (in->is_running && s->thermal_level == 1 && most >= 1)
        put_value(g, "1 (warm) %s: trains %d %% of the time", s->thermal_zone,
                  duty);
    return s->thermal_level <= most;
}

// On steady power 17 minutes are enough; a phone whose screen is dark is idle
// sooner still.
static int64_t idle_needed_s(const struct condition_input *in)
{
    const struct snapshot *s = in->snapshot;
    const struct policy *p = in->policy;
    bool is_stable = s->has_external_power == TRI_YES &&
                     (!s->has_battery || s->battery_pct >= p->level_start_pct);

    if (s->is_screen_off == TRI_YES)
        return p->idle_screen_off_s;
    return is_stable ? p->idle_stable_s : p->idle_s;
}

static bool cond_idle(struct gate *g, const struct condition_input *in)
{
    const struct snapshot *s = in->snapshot;

    g->source = s->use_source ? s->use_source : "sysfs";
    if (!in->policy->respect_idle) {
        g->source = "owner";
        put_value(g, "not asked");
        put_threshold(g, "not asked");
        return true;
    }
    if (!s->is_use_known) {
        put_threshold(g, "not in use");
        return has_none(g, "no display and no session");
    }
    int64_t need_ms = in->is_running ? 0 : idle_needed_s(in) * 1000;
    put_threshold(g, "unused for %lld s", (long long) (need_ms / 1000));
    if (s->is_in_use) {
        put_value(g, "in use");
        return false;
    }
    int64_t unused_ms = in->now_ms - s->unused_since_ms;
    if (unused_ms < 0)
        unused_ms = 0;
    put_value(g, "unused for %lld s", (long long) (unused_ms / 1000));
    if (unused_ms >= need_ms)
        return true;
    g->opens_in_ms = need_ms - unused_ms;
    return false;
}

static bool cond_inhibitors(struct gate *g, const struct condition_input *in)
{
    const char *who = in->snapshot->inhibitors;
    bool is_blocked = who[0] && in->policy->respect_inhibitors;

    if (in->inhibit_count > 0)
        g->source = "owner";
    put_threshold(g, "none");
    if (in->inhibit_count > 0)
        put_value(g, "%d by pockctl inhibit", in->inhibit_count);
    else
        put_value(g, "%s", who[0] ? who : "none");
    return !is_blocked && in->inhibit_count == 0;
}

static bool cond_saver(struct gate *g, const struct condition_input *in)
{
    enum tri saver = in->snapshot->is_power_saver;

    put_value(g, "%s",
              saver == TRI_YES  ? "power saver"
              : saver == TRI_NO ? "not power saver"
                                : "unknown");
    put_threshold(g, "not power saver");
    return saver != TRI_YES || !in->policy->respect_saver;
}

// NAN, which is "unknown", passes.
static bool is_over(double value, double limit)
{
    return value >= limit;
}

static bool cond_pressure(struct gate *g, const struct condition_input *in)
{
    const struct snapshot *s = in->snapshot;
    const struct policy *p = in->policy;

    if (s->is_memory_low) {
        put_value(g, "the system says that memory is low");
        put_threshold(g, "not so for 30 s");
        g->source = signal_source_name(s->source[SIGNAL_memory_low]);
        return false;
    }
    if (isnan(s->psi_cpu_some) && isnan(s->psi_mem_full))
        (void) has_none(g, "unknown");
    else
        put_value(g, "cpu %.1f %%, io %.1f %%, memory %.1f %%, full %.1f %%",
                  s->psi_cpu_some, s->psi_io_some, s->psi_mem_some,
                  s->psi_mem_full);
    // The worker itself makes pressure on the processor and the disk, so only
    // starvation of memory stops it.
    if (in->is_running) {
        put_threshold(g, "memory, full < %g %%", p->psi_mem_full);
        return !is_over(s->psi_mem_full, p->psi_mem_full);
    }
    put_threshold(g, "cpu < %g %%, io < %g %%, memory < %g %%, full < %g %%",
                  p->psi_cpu_some, p->psi_io_some, p->psi_mem_some,
                  p->psi_mem_full_start);
    return !is_over(s->psi_cpu_some, p->psi_cpu_some) &&
           !is_over(s->psi_io_some, p->psi_io_some) &&
           !is_over(s->psi_mem_some, p->psi_mem_some) &&
           !is_over(s->psi_mem_full, p->psi_mem_full_start);
}

static bool cond_memory(struct gate *g, const struct condition_input *in)
{
    const struct snapshot *s = in->snapshot;
    // A running job has its memory already.
    int64_t need = in->is_running ? 0 : in->job_memory_bytes;

    if (s->memory_available_bytes < 0 || s->memory_total_bytes <= 0) {
        put_value(g, "unknown");
        put_threshold(g, "%lld MiB", (long long) (need >> 20));
        return true;
    }
    if (!in->is_running)
        need += (int64_t) ((double) s->memory_total_bytes *
                           in->policy->memory_free_pct / 100);
    put_value(g, "%lld MiB", (long long) (s->memory_available_bytes >> 20));
    put_threshold(g, ">= %lld MiB", (long long) (need >> 20));
    return s->memory_available_bytes >= need;
}

static bool cond_disk(struct gate *g, const struct condition_input *in)
{
    const struct snapshot *s = in->snapshot;
    int64_t need = in->policy->disk_free_mib << 20;

    g->source = "store";
    if (s->disk_free_bytes < 0) {
        put_value(g, "unknown");
        put_threshold(g, ">= %lld MiB", (long long) (need >> 20));
        return true;
    }
    int64_t share = (int64_t) ((double) s->disk_total_bytes *
                               in->policy->disk_free_pct / 100);
    if (share > need)
        need = share;
    if (2 * in->job_disk_bytes > need)
        need = 2 * in->job_disk_bytes;
    put_value(g, "%lld MiB", (long long) (s->disk_free_bytes >> 20));
    put_threshold(g, ">= %lld MiB", (long long) (need >> 20));
    return s->disk_free_bytes >= need;
}

static bool cond_window(struct gate *g, const struct condition_input *in)
{
    const int64_t start = in->policy->window_start_min;
    const int64_t end = in->policy->window_end_min;
    const int now = in->minute_of_day;
    struct windows w;

    g->source = "owner";
    put_value(g, "%02d:%02d", now / 60, now % 60);
    if (in->policy->windows[0]) {
        put_threshold(g, "%.90s", in->policy->windows);
        (void) windows_parse(&w, in->policy->windows, NULL);
    } else {
        put_threshold(g, "%02lld:%02lld to %02lld:%02lld",
                      (long long) (start / 60), (long long) (start % 60),
                      (long long) (end / 60), (long long) (end % 60));
        windows_daily(&w, start, end);
    }
    const int wait = windows_opens_in(&w, in->weekday, now);
    if (wait > 0)
        g->opens_in_ms = (int64_t) wait * 60000;
    return wait == 0;
}

static bool cond_budget(struct gate *g, const struct condition_input *in)
{
    const struct policy *p = in->policy;
    const bool has_energy = !isnan(in->budget_used_wh);

    g->source = "owner";
    if (has_energy) {
        put_value(g, "%lld s and %.2f Wh used", (long long) in->budget_used_s,
                  in->budget_used_wh);
        put_threshold(g, "< %lld s and < %g Wh from noon to noon",
                      (long long) p->budget_s, p->budget_wh);
    } else {
        put_value(g, "%lld s used; nothing here reports energy",
                  (long long) in->budget_used_s);
        put_threshold(g, "< %lld s from noon to noon", (long long) p->budget_s);
    }
    if (in->budget_used_s < p->budget_s &&
        (!has_energy || in->budget_used_wh < p->budget_wh))
        return true;
    g->opens_in_ms = ((720 - in->minute_of_day + 1440) % 1440) * 60000;
    return false;
}

static bool cond_model(struct gate *g, const struct condition_input *in)
{
    g->source = "store";
    put_value(g, in->has_model ? "registered" : "none");
    put_threshold(g, "a registered base model");
    return in->has_model;
}

static bool cond_sleep(struct gate *g, const struct condition_input *in)
{
    const struct snapshot *s = in->snapshot;

    put_value(g, "%s",
              s->is_shutting_down    ? "shutting down"
              : s->is_going_to_sleep ? "going to sleep"
                                     : "awake");
    put_threshold(g, "awake");
    return !s->is_going_to_sleep && !s->is_shutting_down;
}

// How soon to look again: a lock that is let go announces nothing.
enum { TURN_POLL_MS = 10000 };

static bool cond_turn(struct gate *g, const struct condition_input *in)
{
    static const char *const texts[] = {
        [TURN_FREE] = "nobody trains",
        [TURN_MINE] = "this owner's training runs",
        [TURN_WANTED] = "another owner waits, and this slice is over",
        [TURN_TAKEN] = "another owner's training runs, or is next",
    };

    if (in->turn == TURN_ALONE)
        return has_none(g, "one owner only");
    g->source = "lock";
    put_value(g, "%s", texts[in->turn]);
    put_threshold(g, "one training at a time");
    g->opens_in_ms = TURN_POLL_MS;
    return in->turn == TURN_FREE || in->turn == TURN_MINE;
}

static const struct {
    const char *name;
    enum stop_reason reason;
    bool can_set_aside;
    const char *asks;
    condition_fn fn;
} rows[CONDITION_COUNT] = {
#define CONDITION(name, reason, aside, asks) \
    {#name, STOP_REASON_##reason, aside, asks, cond_##name},
#include "daemon/conditions.def"
#undef CONDITION
};

const char *condition_name(enum condition c)
{
    return c < CONDITION_COUNT ? rows[c].name : "none";
}

const char *condition_asks(enum condition c)
{
    return c < CONDITION_COUNT ? rows[c].asks : "";
}

enum stop_reason condition_reason(enum condition c)
{
    return c < CONDITION_COUNT ? rows[c].reason : STOP_REASON_NONE;
}

// Signals of the machine, each of which may tremble. Use has its own clock.
static bool is_signal(enum condition c)
{
    return c <= CONDITION_disk && c != CONDITION_idle;
}

// What was read becomes open or closed. A charger with a loose contact would
// start and stop a worker each second: a gate that closes soon after it opened,
// again and again, must stay open for a while before anything starts.
static void settle(struct gate *g, const struct gate *old, enum condition c,
                   const struct condition_input *in)
{
    const int64_t flap_ms = in->policy->flap_s * 1000;

    g->is_known = true;
    g->is_open = g->is_ok;
    g->flaps = old->flaps;
    g->changed_ms = old->changed_ms;
    if (!old->is_known || old->is_open != g->is_open) {
        if (old->is_known && !g->is_open &&
            in->now_ms - old->changed_ms < flap_ms)
            g->flaps++;
        g->changed_ms = in->now_ms;
    } else if (in->now_ms - g->changed_ms >= FLAP_CALM * flap_ms) {
        g->flaps = 0;
    }
    int64_t left = g->changed_ms + flap_ms - in->now_ms;
    if (!is_signal(c) || !g->is_ok || in->is_running || g->flaps < FLAPS_MAX ||
        left <= 0)
        return;
    char value[sizeof(g->value)];
    memcpy(value, g->value, sizeof(value));
    put_value(g,
              "%.120s, but that came and went %d times: not trusted for "
              "%lld s more",
              value, g->flaps, (long long) ((left + 999) / 1000));
    g->is_ok = false;
    g->opens_in_ms = left;
}

// The signal that says most about a gate; those without one say themselves.
static const char *default_source(enum condition c, const struct snapshot *s)
{
    static const struct {
        enum condition condition;
        enum signal signal;
    } signals[] = {
        {CONDITION_power, SIGNAL_external_power},
        {CONDITION_drain, SIGNAL_drain},
        {CONDITION_level, SIGNAL_battery_pct},
        {CONDITION_warning, SIGNAL_warning},
        {CONDITION_battery_temp, SIGNAL_battery_temp},
        {CONDITION_thermal, SIGNAL_thermal_level},
        {CONDITION_inhibitors, SIGNAL_inhibitors},
        {CONDITION_saver, SIGNAL_power_saver},
        {CONDITION_pressure, SIGNAL_psi_cpu},
        {CONDITION_memory, SIGNAL_memory_available},
        {CONDITION_sleep, SIGNAL_sleep},
    };

    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        if (signals[i].condition == c)
            return signal_source_name(s->source[signals[i].signal]);
    return "none";
}

void condition_evaluate(struct gate gates[CONDITION_COUNT],
                        const struct condition_input *in)
{
    for (int i = 0; i < CONDITION_COUNT; i++) {
        struct gate g = {.source =
                             default_source((enum condition) i, in->snapshot),
                         .opens_in_ms = -1,
                         .is_silent = in->is_silent};
        const struct gate *old = &gates[i];

        g.is_ok = rows[i].fn(&g, in);
        settle(&g, old, (enum condition) i, in);
        g.is_set_aside = !g.is_ok && in->is_manual && rows[i].can_set_aside;
        g.since_ms = old->since_ms && old->is_ok == g.is_ok ? old->since_ms
                                                            : in->unix_ms;
        gates[i] = g;
    }
}

enum condition condition_blocking(const struct gate gates[CONDITION_COUNT])
{
    for (int i = 0; i < CONDITION_COUNT; i++)
        if (!gates[i].is_ok && !gates[i].is_set_aside)
            return (enum condition) i;
    return CONDITION_COUNT;
}

int64_t condition_opens_in(const struct gate gates[CONDITION_COUNT])
{
    int64_t longest = -1;

    for (int i = 0; i < CONDITION_COUNT; i++) {
        if (gates[i].is_ok || gates[i].is_set_aside)
            continue;
        if (gates[i].opens_in_ms < 0)
            return -1;
        if (gates[i].opens_in_ms > longest)
            longest = gates[i].opens_in_ms;
    }
    return longest;
}
