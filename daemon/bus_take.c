// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/bus_take.h"

#include <math.h>
#include <string.h>

#include "daemon/bus.h"
#include "daemon/signal_table.h"

enum {
    TYPE_BATTERY = 2,
    TYPE_UPS = 3,
    WATTS_MAX = 10000,
    WH_MAX = 10000,
};

void take_power_init(struct take_power *p)
{
    *p = (struct take_power){
        .pct = NAN,
        .temp_c = NAN,
        .rate_w = NAN,
        .energy_wh = NAN,
        .full_wh = NAN,
    };
}

static double within(const struct bus_value *v, double least, double most)
{
    return v->type == 'd' && v->d >= least && v->d <= most ? v->d : NAN;
}

static enum battery_state state_of(int64_t state)
{
    static const enum battery_state states[] = {
        BATTERY_STATE_UNKNOWN,     BATTERY_STATE_CHARGING,
        BATTERY_STATE_DISCHARGING, BATTERY_STATE_DISCHARGING, // empty
        BATTERY_STATE_FULL,        BATTERY_STATE_NOT_CHARGING,
        BATTERY_STATE_DISCHARGING, // about to
    };

    return state >= 0 && state < 7 ? states[state] : BATTERY_STATE_UNKNOWN;
}

void take_power(void *power, const char *name, const struct bus_value *v)
{
    struct take_power *p = power;
    int64_t whole = v->type == 'u' || v->type == 'i' ? v->i : 0;

    if (strcmp(name, "OnBattery") == 0)
        p->is_on_battery = v->type != 'b' ? TRI_UNKNOWN
                           : v->i         ? TRI_YES
                                          : TRI_NO;
    else if (strcmp(name, "IsPresent") == 0)
        p->is_present = v->type == 'b' && v->i;
    else if (strcmp(name, "Type") == 0)
        p->type = whole > 0 && whole < 100 ? (uint32_t) whole : 0;
    else if (strcmp(name, "State") == 0)
        p->state = state_of(whole);
    else if (strcmp(name, "WarningLevel") == 0)
        p->warning = whole >= 0 && whole <= 5 ? (int) whole : 0;
    else if (strcmp(name, "Percentage") == 0)
        p->pct = within(v, 0, 100);
    else if (strcmp(name, "EnergyRate") == 0)
        p->rate_w = fabs(within(v, -WATTS_MAX, WATTS_MAX));
    else if (strcmp(name, "Energy") == 0)
        p->energy_wh = within(v, 0, WH_MAX);
    else if (strcmp(name, "EnergyFull") == 0)
        p->full_wh = within(v, 0, WH_MAX);
    else if (strcmp(name, "Temperature") == 0)
        // 0 is what UPower says when nobody knows.
        p->temp_c = v->type == 'd' && v->d == 0 ? NAN : within(v, -40, 200);
}

static void put(struct snapshot *s, double *to, double v, enum signal g)
{
    if (isnan(v))
        return;
    *to = v;
    s->source[g] = SIGNAL_SOURCE_DBUS;
}

void take_power_apply(const struct take_power *p, struct snapshot *s)
{
    if (p->is_on_battery != TRI_UNKNOWN) {
        s->has_external_power = p->is_on_battery == TRI_YES ? TRI_NO : TRI_YES;
        s->source[SIGNAL_external_power] = SIGNAL_SOURCE_DBUS;
    }
    if (!p->is_present || (p->type != TYPE_BATTERY && p->type != TYPE_UPS))
        return;
    s->has_battery = true;
    s->source[SIGNAL_battery] = SIGNAL_SOURCE_DBUS;
    if (p->state != BATTERY_STATE_UNKNOWN) {
        s->battery_state = p->state;
        s->source[SIGNAL_battery_state] = SIGNAL_SOURCE_DBUS;
    }
    if (p->warning > 0) {
        s->warning = p->warning;
        s->source[SIGNAL_warning] = SIGNAL_SOURCE_DBUS;
    }
    put(s, &s->battery_pct, p->pct, SIGNAL_battery_pct);
    put(s, &s->battery_temp_c, p->temp_c, SIGNAL_battery_temp);
    put(s, &s->energy_rate_w, p->rate_w, SIGNAL_energy_rate);
    // The one without the other, or nothing at all, is not known.
    if (p->full_wh > 0 && p->energy_wh <= 1.1 * p->full_wh) {
        put(s, &s->battery_wh, p->energy_wh, SIGNAL_battery_wh);
        put(s, &s->battery_full_wh, p->full_wh, SIGNAL_battery_full_wh);
    }
}

void take_session(void *session, const char *name, const struct bus_value *v)
{
    struct take_session *s = session;
    bool flag = v->type == 'b' && v->i;

    if (strcmp(name, "Class") == 0)
        s->is_person = v->type == 's' && strcmp(v->s, "user") == 0;
    else if (strcmp(name, "State") == 0)
        s->is_closing = v->type == 's' && strcmp(v->s, "closing") == 0;
    else if (strcmp(name, "Type") == 0)
        s->is_terminal = v->type == 's' && strcmp(v->s, "tty") == 0;
    else if (strcmp(name, "IdleHint") == 0)
        s->is_idle = flag;
    else if (strcmp(name, "LockedHint") == 0)
        s->is_locked = flag;
    else if (strcmp(name, "IdleSinceHintMonotonic") == 0)
        s->idle_since_us = v->type == 'u' ? v->i : 0;
}

void take_profile(void *tri, const char *name, const struct bus_value *v)
{
    enum tri *is_saver = tri;

    if (strcmp(name, "ActiveProfile") == 0)
        *is_saver = v->type != 's'                     ? TRI_UNKNOWN
                    : strcmp(v->s, "power-saver") == 0 ? TRI_YES
                                                       : TRI_NO;
}
