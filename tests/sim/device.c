// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/sim/device.h"

#include <math.h>
#include <string.h>

enum {
    WEEKDAY_FIRST = 1, // the story begins at noon of a Monday
    YEAR_DAYS = 365,
};

// A Monday's noon, UTC and local.
static const int64_t BEGIN_UNIX_MS = INT64_C(1767614400000);

static const char *const process_names[] = {
#define PROCESS(name, what) #name,
#include "tests/sim/processes.def"
#undef PROCESS
};

const char *device_process_name(enum device_process p)
{
    return process_names[p];
}

const char *device_kind_name(enum device_kind k)
{
    static const char *const names[] = {"phone", "laptop", "desktop", "board"};

    return names[k];
}

int64_t device_unix_ms(const struct device *d)
{
    return BEGIN_UNIX_MS + d->now + d->clock_error;
}

int64_t device_mono_ms(const struct device *d)
{
    // Not from zero: machines run before pockd does.
    return SIM_HOUR + d->now - d->asleep;
}

int device_minute(const struct device *d)
{
    return (int) (device_unix_ms(d) / SIM_MINUTE % (24 * 60));
}

int device_weekday(const struct device *d)
{
    // 1970 began on a Thursday.
    return (int) ((device_unix_ms(d) / SIM_DAY + 4) % 7);
}

static double between(struct device *d, double low, double high)
{
    return low + (high - low) * rng_uniform(&d->rng);
}

static bool chance(struct device *d, double p)
{
    return rng_uniform(&d->rng) < p;
}

static int64_t soon(struct device *d, double mean_h)
{
    double u = rng_uniform(&d->rng);
    double ms = -log(1 - u) * mean_h * (double) SIM_HOUR;

    return d->now + 1 + (int64_t) ms;
}

// The hour of the device's true day, which its clock may not know.
static double true_hour(const struct device *d)
{
    return fmod(12 + (double) d->now / (double) SIM_HOUR, 24);
}

/*
 * Batteries and heat
 */

static void set_thermal(struct device *d)
{
    struct snapshot *t = &d->truth;
    double c = d->ambient_c + d->heat_c;

    t->thermal_level = c >= 95   ? 4
                       : c >= 85 ? 3
                       : c >= 70 ? 2
                       : c >= 58 ? 1
                                 : 0;
    if (d->kind == DEVICE_BOARD)
        t->thermal_level = -1;
    t->battery_temp_c =
        t->has_battery ? d->ambient_c + d->heat_c * 0.5 : (double) NAN;
    t->battery_health =
        t->battery_temp_c > 50 ? BATTERY_HEALTH_HOT : BATTERY_HEALTH_GOOD;
}

static void set_power(struct device *d)
{
    struct snapshot *t = &d->truth;

    t->battery_state = !t->has_battery ? BATTERY_STATE_UNKNOWN
                       : t->has_external_power != TRI_YES
                           ? BATTERY_STATE_DISCHARGING
                       : t->battery_pct >= 100 ? BATTERY_STATE_FULL
                                               : BATTERY_STATE_CHARGING;
    t->warning = !t->has_battery                    ? 1
                 : t->has_external_power == TRI_YES ? 1
                 : t->battery_pct < 5               ? 4
                 : t->battery_pct < 15              ? 3
                                                    : 1;
}

void device_pass(struct device *d, int64_t until, double load)
{
    struct snapshot *t = &d->truth;
    const double hours = (double) (until - d->dynamics_at) / (double) SIM_HOUR;
    const bool is_plugged = t->has_external_power == TRI_YES;

    if (hours > 0 && t->has_battery) {
        double rate = (is_plugged ? d->charge_pct_h : -3) -
                      (d->is_asleep ? 0 : load * d->train_pct_h);
        if (d->is_user_there && !is_plugged)
            rate -= 12;
        t->battery_pct = fmin(100, fmax(1, t->battery_pct + rate * hours));
        d->drain_pct = t->battery_pct < 100 || rate < 0 ? -rate / 6 : 0;
    }
    if (hours > 0) {
        double goal = d->is_asleep ? 2 : 12 + 40 * load;
        d->heat_c += (goal - d->heat_c) * (1 - exp(-hours * 6));
    }
    if (d->is_asleep)
        d->asleep += until - d->now;
    d->now = until;
    d->dynamics_at = until;
    set_thermal(d);
    set_power(d);
}

/*
 * Processes
 */

static void plug(struct device *d, bool on)
{
    d->truth.has_external_power = on ? TRI_YES : TRI_NO;
    d->plugged_at = on ? d->now : -1;
    set_power(d);
}

static void step_charger(struct device *d)
{
    bool on = d->truth.has_external_power != TRI_YES;
    double hour = true_hour(d);

    if (d->kind == DEVICE_DESKTOP || d->kind == DEVICE_BOARD) {
        // A power cut that an uninterruptible supply bridges.
        plug(d, on);
        d->next[PROCESS_CHARGER] = on ? soon(d, 400) : soon(d, 0.2);
        return;
    }
    plug(d, on);
    if (!on) {
        double evening = fmod(24 + between(d, 21, 24.5) - hour, 24);
        d->next[PROCESS_CHARGER] =
            chance(d, 0.2) ? soon(d, 0.3)
                           : d->now + (int64_t) (evening * (double) SIM_HOUR);
        return;
    }
    double morning = fmod(24 + between(d, 5.5, 9) - hour, 24);
    d->next[PROCESS_CHARGER] =
        chance(d, 0.25) ? soon(d, 0.5)
                        : d->now + (int64_t) (morning * (double) SIM_HOUR);
}

static void step_flap(struct device *d)
{
    if (d->flaps_left == 0)
        d->flaps_left = 2 * (3 + (int) rng_below(&d->rng, 30));
    plug(d, d->truth.has_external_power != TRI_YES);
    d->last_flap_at = d->now;
    d->next[PROCESS_FLAP] =
        --d->flaps_left > 0 ? d->now + SIM_SECOND : soon(d, 30);
}

static void set_user(struct device *d, bool is_there)
{
    struct snapshot *t = &d->truth;

    if (d->is_user_there && !is_there)
        d->user_left_at = device_mono_ms(d);
    d->is_user_there = is_there;
    t->is_in_use = is_there;
    t->is_screen_off = is_there ? TRI_NO : TRI_YES;
    t->is_session_idle = is_there ? TRI_NO : TRI_YES;
    t->unused_since_ms = d->user_left_at;
}

static void step_user(struct device *d)
{
    double hour = true_hour(d);
    bool is_night = hour < 6.5 || hour > 22.5;

    set_user(d, !d->is_user_there);
    if (d->is_user_there)
        d->next[PROCESS_USER] = soon(d, is_night ? 0.07 : 0.6);
    else
        d->next[PROCESS_USER] = soon(d, is_night ? 4 : 0.4);
}

static void step_inhibit(struct device *d)
{
    bool on = !d->truth.inhibitors[0];

    strcpy(d->truth.inhibitors, on ? "a video" : "");
    d->last_flap_at = d->now;
    d->next[PROCESS_INHIBIT] = on ? soon(d, 0.5) : soon(d, 12);
}

static void step_saver(struct device *d)
{
    bool on = d->truth.is_power_saver != TRI_YES;

    d->truth.is_power_saver = on ? TRI_YES : TRI_NO;
    d->last_flap_at = d->now;
    d->next[PROCESS_SAVER] = on ? soon(d, 1) : soon(d, 40);
}

static void step_pressure(struct device *d)
{
    struct snapshot *t = &d->truth;
    bool on = d->psi_episode == 0;

    d->psi_episode = on ? between(d, 5, 60) : 0;
    t->psi_cpu_some = d->psi_episode;
    t->psi_mem_full = on && chance(d, 0.4) ? between(d, 2, 30) : 0;
    d->last_flap_at = d->now;
    d->next[PROCESS_PRESSURE] = on ? soon(d, 0.1) : soon(d, 8);
}

static void step_memory(struct device *d)
{
    d->is_memory_short = !d->is_memory_short;
    d->truth.memory_available_bytes =
        (int64_t) (d->is_memory_short ? 0.1 * (1 << 30) : 5.0 * (1 << 30));
    d->last_flap_at = d->now;
    d->next[PROCESS_MEMORY] = d->is_memory_short ? soon(d, 0.4) : soon(d, 24);
}

static void step_disk(struct device *d)
{
    // A quota takes nothing more, and the disk looks empty all the same.
    bool is_quota = chance(d, 0.5);

    d->is_disk_full = !d->is_disk_full;
    d->truth.disk_free_bytes =
        d->is_disk_full && !is_quota ? 1 << 20 : INT64_C(40) << 30;
    d->last_flap_at = d->now;
    d->next[PROCESS_DISK] = d->is_disk_full ? soon(d, 2) : soon(d, 60);
}

static void step_sensor(struct device *d)
{
    static const double absurd[] = {300, -273, -1, 1e9};

    d->is_broken_sensor = !d->is_broken_sensor;
    d->shown_pct = absurd[rng_below(&d->rng, 4)];
    d->last_flap_at = d->now;
    d->next[PROCESS_SENSOR] = d->is_broken_sensor ? soon(d, 0.2) : soon(d, 60);
}

// A machine that nobody holds awake sleeps when it is idle; a lid may close.
static void step_suspend(struct device *d, bool holds_awake)
{
    if (d->is_asleep) {
        d->is_asleep = false;
        d->truth.is_going_to_sleep = false;
    } else if (d->truth.is_going_to_sleep) {
        d->is_asleep = true;
        d->next[PROCESS_SUSPEND] = soon(d, 1);
        return;
    } else if (!d->is_user_there && (!holds_awake || chance(d, 0.2))) {
        // pockd hears of it some seconds before.
        d->truth.is_going_to_sleep = true;
        d->next[PROCESS_SUSPEND] = d->now + 5 * SIM_SECOND;
        return;
    }
    d->next[PROCESS_SUSPEND] = soon(d, d->kind == DEVICE_DESKTOP ? 60 : 10);
}

static void step_clock(struct device *d)
{
    static const int64_t by[] = {YEAR_DAYS * SIM_DAY, SIM_DAY, 5 * SIM_HOUR,
                                 90 * SIM_MINUTE, 2 * SIM_MINUTE};

    if (d->clock_error != 0 && chance(d, 0.7))
        d->clock_error = 0;
    else
        d->clock_error += by[rng_below(&d->rng, 5)] * (chance(d, 0.5) ? 1 : -1);
    d->next[PROCESS_CLOCK] = soon(d, d->clock_error ? 2 : 40);
}

static enum device_action step_owner(struct device *d)
{
    static const enum device_action what[] = {
        ACTION_PAUSE,     ACTION_RESUME,    ACTION_RESUME, ACTION_RESUME,
        ACTION_TRAIN_NOW, ACTION_TRAIN_NOW, ACTION_CANCEL, ACTION_PAUSE_JOB,
    };

    d->next[PROCESS_OWNER] = soon(d, 6);
    return what[rng_below(&d->rng, sizeof(what) / sizeof(what[0]))];
}

enum device_action device_step(struct device *d, enum device_process p,
                               bool holds_awake, bool *is_announced)
{
    *is_announced = true;
    switch (p) {
    case PROCESS_CHARGER:
        step_charger(d);
        return ACTION_NONE;
    case PROCESS_FLAP:
        step_flap(d);
        return ACTION_NONE;
    case PROCESS_USER:
        step_user(d);
        return ACTION_NONE;
    case PROCESS_INHIBIT:
        step_inhibit(d);
        return ACTION_NONE;
    case PROCESS_SAVER:
        step_saver(d);
        return ACTION_NONE;
    case PROCESS_SUSPEND:
        step_suspend(d, holds_awake);
        return ACTION_NONE;
    case PROCESS_PRESSURE:
        step_pressure(d);
        break;
    case PROCESS_MEMORY:
        step_memory(d);
        break;
    case PROCESS_DISK:
        step_disk(d);
        break;
    case PROCESS_HEAT:
        d->ambient_c = between(d, -5, 45);
        d->next[p] = soon(d, 8);
        break;
    case PROCESS_SENSOR:
        step_sensor(d);
        break;
    case PROCESS_CLOCK:
        step_clock(d);
        break;
    case PROCESS_TICK:
        d->next[p] = d->now + 5 * SIM_MINUTE;
        break;
    case PROCESS_OWNER:
        return step_owner(d);
    case PROCESS_QUERY:
        d->next[p] = soon(d, 3);
        return ACTION_QUERY;
    case PROCESS_RECORDS:
        d->next[p] = soon(d, 5);
        return ACTION_RECORDS;
    case PROCESS_RESTART:
        d->next[p] = soon(d, 40);
        return ACTION_RESTART;
    case PROCESS_KILLER:
        d->next[p] = soon(d, 6);
        return ACTION_KILL_WORKER;
    case PROCESS_MODEL:
        d->next[p] = soon(d, 30);
        return chance(d, 0.5) ? ACTION_MODEL_BREAKS : ACTION_MODEL_MENDED;
    case PROCESS_COUNT:
        break;
    }
    *is_announced = false;
    return ACTION_NONE;
}

int64_t device_next(const struct device *d, enum device_process *which)
{
    int64_t best = SIM_NEVER;

    for (int i = 0; i < PROCESS_COUNT; i++) {
        // Asleep, only the world outside goes on, and what wakes the machine.
        if (d->is_asleep && i != PROCESS_SUSPEND && i != PROCESS_CHARGER &&
            i != PROCESS_HEAT)
            continue;
        if (d->next[i] < best) {
            best = d->next[i];
            *which = (enum device_process) i;
        }
    }
    // What was due while it slept happens on waking.
    return best < d->now ? d->now : best;
}

void device_read(const struct device *d, struct snapshot *out)
{
    *out = d->truth;
    // A charger's slope is known ten minutes after it was plugged.
    out->drain_pct = (double) NAN;
    if (d->truth.has_battery && d->plugged_at >= 0 &&
        d->now - d->plugged_at >= 10 * SIM_MINUTE)
        out->drain_pct = d->drain_pct;
    if (d->is_broken_sensor && out->has_battery) {
        out->battery_pct = d->shown_pct;
        out->battery_temp_c = d->shown_pct;
    }
    if (d->is_broken_sensor)
        out->thermal_level = -1;
}

/*
 * Beginning
 */

static void init_policy(struct device *d)
{
    struct policy *p = &d->policy;

    policy_init(p);
    p->idle_stable_s = chance(d, 0.5) ? 1020 : 60;
    p->checkpoint_s = chance(d, 0.5) ? 60 : 600;
    p->budget_s = chance(d, 0.3) ? 1800 : 7200;
    p->budget_wh = chance(d, 0.3) ? 2 : 20;
    if (chance(d, 0.3)) {
        p->window_start_min = 22 * 60;
        p->window_end_min = 7 * 60;
    } else if (chance(d, 0.2)) {
        strcpy(p->windows, "mon-fri/23:00-05:30,sat+sun/00:00-24:00");
    }
    if (chance(d, 0.2))
        p->flap_s = 0;
}

void device_init(struct device *d, uint64_t seed, unsigned mask)
{
    struct snapshot *t = &d->truth;

    memset(d, 0, sizeof(*d));
    rng_init(&d->rng, seed, 0);
    d->mask = mask;
    d->kind = (enum device_kind) rng_below(&d->rng, DEVICE_KINDS);
    init_policy(d);
    snapshot_init(t);
    t->has_battery = d->kind == DEVICE_PHONE || d->kind == DEVICE_LAPTOP;
    t->has_external_power = t->has_battery ? TRI_NO : TRI_YES;
    t->battery_pct = t->has_battery ? between(d, 15, 90) : (double) NAN;
    t->is_use_known = d->kind != DEVICE_BOARD;
    t->use_source = "sim";
    t->is_power_saver = TRI_NO;
    t->psi_cpu_some = t->psi_io_some = t->psi_mem_some = t->psi_mem_full = 0;
    t->memory_available_bytes = INT64_C(5) << 30;
    t->memory_total_bytes = INT64_C(8) << 30;
    t->disk_free_bytes = INT64_C(40) << 30;
    t->disk_total_bytes = INT64_C(100) << 30;
    d->charge_pct_h = between(d, 4, 50);
    d->train_pct_h =
        d->kind == DEVICE_PHONE ? between(d, 5, 30) : between(d, 5, 15);
    d->ambient_c = between(d, 10, 30);
    d->heat_c = 12;
    d->plugged_at = t->has_battery ? -1 : 0;
    d->last_flap_at = -SIM_DAY;
    if (t->is_use_known)
        set_user(d, true);
    for (int i = 0; i < PROCESS_COUNT; i++) {
        d->next[i] = soon(d, 6);
        if (!(mask & (1u << i)) || (i == PROCESS_USER && !t->is_use_known))
            d->next[i] = SIM_NEVER;
    }
    if (d->next[PROCESS_USER] == SIM_NEVER && t->is_use_known)
        set_user(d, false);
    d->next[PROCESS_TICK] = 5 * SIM_MINUTE;
    set_thermal(d);
    set_power(d);
}
