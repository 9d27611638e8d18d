// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Snapshot
 *
 * What the machine is like at one moment: everything that decides whether
 * training may run, and nothing else. Unknown is a value of its own:
 * TRI_UNKNOWN, NAN or a negative number. Filled by signals, read by conditions.
 * signals.def names the fields, and says how each is read and written as text.
 */

#include <stdbool.h>
#include <stdint.h>

enum tri {
    TRI_UNKNOWN,
    TRI_NO,
    TRI_YES,
};

enum battery_state {
    BATTERY_STATE_UNKNOWN,
    BATTERY_STATE_CHARGING,
    BATTERY_STATE_DISCHARGING,
    BATTERY_STATE_FULL,
    BATTERY_STATE_NOT_CHARGING, // pending: on the charger, waiting
};

enum battery_health {
    BATTERY_HEALTH_UNKNOWN,
    BATTERY_HEALTH_GOOD,
    BATTERY_HEALTH_COLD,
    BATTERY_HEALTH_HOT,
    BATTERY_HEALTH_BAD, // dead, over voltage, failing
};

enum signal {
#define SIGNAL(name, field, kind, unit, doc) SIGNAL_##name,
#include "daemon/signals.def"
#undef SIGNAL
    SIGNAL_COUNT
};

// Who said so.
enum signal_source {
    SIGNAL_SOURCE_NONE, // not known here
    SIGNAL_SOURCE_DBUS,
    SIGNAL_SOURCE_SYSFS,
    SIGNAL_SOURCE_PROCFS,
    SIGNAL_SOURCE_AGENT,
    SIGNAL_SOURCE_STORE, // the file system that holds it
    SIGNAL_SOURCE_COUNT
};

struct snapshot {
    // Power
    enum tri has_external_power;
    int power_flaps; // changes of the last minute, when they are too many and
                     // it counts as lost until it holds; 0: steady
    bool has_battery;
    enum battery_state battery_state;
    enum battery_health battery_health;
    double battery_pct;
    double battery_temp_c;
    double battery_wh;      // in it
    double battery_full_wh; // when it is full
    double energy_rate_w;   // in or out, as battery_state says
    double drain_pct;       // lost in the last 10 minutes; NAN: not known yet
    int warning; // UPower's: 1 none, 3 low, 4 critical, 5 action; 0 unknown

    // Heat
    int thermal_level; // 0 cool, 1 warm, 2 throttling, 3 hot, 4 critical; -1
    char thermal_zone[32];
    double thermal_c;  // of the hottest zone
    int thermal_zones; // that can be read
    bool is_throttled; // the kernel slows a processor down, now

    // Use
    enum tri is_screen_off;   // every display is off
    enum tri is_session_idle; // every session of a person is idle or locked
    int session_count;        // of people; -1 unknown
    int session_idle_count;   // of these, idle or locked
    bool is_in_use;           // by screen and sessions
    bool is_use_known;
    const char *use_source;
    int64_t unused_since_ms; // monotonic; only when not in use
    char inhibitors[96];     // who inhibits idle or sleep; "" nobody
    enum tri is_power_saver;
    bool is_going_to_sleep;
    bool is_shutting_down;

    // Load
    double psi_cpu_some;            // avg60
    double psi_io_some;             // avg10
    double psi_mem_some;            // avg10
    double psi_mem_full;            // avg10
    bool is_memory_low;             // said within the last 30 s
    int64_t memory_available_bytes; // -1 unknown
    int64_t memory_total_bytes;
    int64_t disk_free_bytes;
    int64_t disk_total_bytes;
    int gpu_busy_pct;   // whoever uses it, a worker of ours included; -1
    int gpu_others_pct; // by others, as far as their files can be read; -1

    // For each of the above
    enum signal_source source[SIGNAL_COUNT];
    int64_t since_ms[SIGNAL_COUNT]; // unix; when it last changed
};

// Everything unknown.
void snapshot_init(struct snapshot *s);
