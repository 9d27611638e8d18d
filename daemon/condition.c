// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/condition.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef bool (*condition_fn)(struct gate *g, const struct condition_input *in);

static void put_value(struct gate *g, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void put_threshold(struct gate *g, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void put_value(struct gate *g, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void) vsnprintf(g->value, sizeof(g->value), fmt, ap);
    va_end(ap);
}

static void put_threshold(struct gate *g, const char *fmt, ...)
{
    va_list ap;
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
        put_value(g, "a job that waits %lld s: %.110s",
                  (long long) ((in->wait_ms + 999) / 1000),
                  in->wait_text ? in->wait_text : "it failed");
        put_threshold(g, "a job that may start");
        g->opens_in_ms = in->wait_ms;
        return false;
    }
    if (in->has_job)
        put_value(g, "a job");
    else
        put_value(g, "%lld new records", (long long) in->new_records);
    put_threshold(g, "a job, or %lld new records",
                  (long long) in->policy->min_records);
    return in->has_job || in->new_records >= in->policy->min_records;
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
    bool is_hot = !isnan(s->battery_temp_c) && s->battery_temp_c > most;
    bool is_healthy = s->battery_health == BATTERY_HEALTH_UNKNOWN ||
                      s->battery_health == BATTERY_HEALTH_GOOD;

    put_threshold(g, "<= %.1f C", most);
    if (!s->has_battery)
        return has_none(g, "no battery");
    if (isnan(s->battery_temp_c))
        put_value(g, "unknown %s", health[s->battery_health]);
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
    if (s->thermal_level < 0)
        return has_none(g, "no readable zone");
    put_value(g, "%d (%s) %s", s->thermal_level,
              names[s->thermal_level > 4 ? 4 : s->thermal_level],
              s->thermal_zone);
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

    g->source = in->inhibit_count > 0 ? "owner" : "dbus";
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

    g->source = "procfs";
    if (isnan(s->psi_cpu_some) && isnan(s->psi_mem_full))
        (void) has_none(g, "unknown");
    else
        put_value(g, "cpu %.1f io %.1f memory %.1f, full %.1f", s->psi_cpu_some,
                  s->psi_io_some, s->psi_mem_some, s->psi_mem_full);
    // The worker itself makes pressure on the processor and the disk, so only
    // starvation of memory stops it.
    if (in->is_running) {
        put_threshold(g, "memory, full < %g", p->psi_mem_full);
        return !is_over(s->psi_mem_full, p->psi_mem_full);
    }
    put_threshold(g, "cpu < %g io < %g memory < %g, full < 1", p->psi_cpu_some,
                  p->psi_io_some, p->psi_mem_some);
    return !is_over(s->psi_cpu_some, p->psi_cpu_some) &&
           !is_over(s->psi_io_some, p->psi_io_some) &&
           !is_over(s->psi_mem_some, p->psi_mem_some) &&
           !is_over(s->psi_mem_full, 1);
}

static bool cond_memory(struct gate *g, const struct condition_input *in)
{
    const struct snapshot *s = in->snapshot;
    // A running job has its memory already.
    int64_t need = in->is_running ? 0 : in->job_memory_bytes;

    g->source = "procfs";
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
    int64_t start = in->policy->window_start_min;
    int64_t end = in->policy->window_end_min;
    int64_t now = in->minute_of_day;
    bool is_in =
        start <= end ? now >= start && now < end : now >= start || now < end;

    g->source = "owner";
    put_value(g, "%02lld:%02lld", (long long) (now / 60),
              (long long) (now % 60));
    put_threshold(g, "%02lld:%02lld to %02lld:%02lld", (long long) (start / 60),
                  (long long) (start % 60), (long long) (end / 60),
                  (long long) (end % 60));
    if (!is_in)
        g->opens_in_ms = ((start - now + 1440) % 1440) * 60000;
    return is_in;
}

static bool cond_budget(struct gate *g, const struct condition_input *in)
{
    g->source = "owner";
    put_value(g, "%lld s used", (long long) in->budget_used_s);
    put_threshold(g, "< %lld s from noon to noon",
                  (long long) in->policy->budget_s);
    if (in->budget_used_s < in->policy->budget_s)
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
    g->source = "dbus";
    put_value(g, in->snapshot->is_going_to_sleep ? "going to sleep" : "awake");
    put_threshold(g, "awake");
    return !in->snapshot->is_going_to_sleep;
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

void condition_evaluate(struct gate gates[CONDITION_COUNT],
                        const struct condition_input *in)
{
    for (int i = 0; i < CONDITION_COUNT; i++) {
        struct gate g = {.source = "sysfs", .opens_in_ms = -1};
        const struct gate *old = &gates[i];

        g.is_ok = rows[i].fn(&g, in);
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
