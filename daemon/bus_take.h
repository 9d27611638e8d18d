// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * What the properties of UPower, logind and the power profiles mean
 *
 * Pure. A value of the wrong type, or one that cannot be, leaves unknown what
 * it is about: the files decide then.
 */

#include "daemon/snapshot.h"

#include <stdbool.h>
#include <stdint.h>

struct bus_value;

// org.freedesktop.UPower and its DisplayDevice
struct take_power {
    enum tri is_on_battery;
    bool is_present;
    uint32_t type; // 2: battery, 3: UPS
    enum battery_state state;
    int warning; // 0 unknown
    double pct;
    double temp_c;
    double rate_w;
    double energy_wh;
    double full_wh;
};

void take_power_init(struct take_power *p);
void take_power(void *power, const char *name, const struct bus_value *v);
// Over what the files say: only what is known here is written.
void take_power_apply(const struct take_power *p, struct snapshot *s);

// org.freedesktop.login1.Session
struct take_session {
    bool is_person; // of class user: greeters and managers are nobody
    bool is_closing;
    bool is_idle;
    bool is_locked;
    bool is_terminal; // its idleness is not announced
    int64_t idle_since_us;
};

void take_session(void *session, const char *name, const struct bus_value *v);

// PowerProfiles: is_power_saver
void take_profile(void *tri, const char *name, const struct bus_value *v);
