// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Snapshot
 *
 * What the machine is like at one moment: everything that decides whether
 * training may run, and nothing else. Unknown is a value of its own:
 * TRI_UNKNOWN, NAN or a negative number. Filled by signals, read by conditions.
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

struct snapshot {
    // Power
    enum tri has_external_power;
    bool has_battery;
    enum battery_state battery_state;
    enum battery_health battery_health;
    double battery_pct;
    double battery_temp_c;
    double drain_pct; // lost in the last 10 minutes; NAN: not known yet
    int warning; // UPower's: 1 none, 3 low, 4 critical, 5 action; 0 unknown

    // Heat
    int thermal_level; // 0 cool, 1 warm, 2 throttling, 3 hot, 4 critical; -1
    char thermal_zone[32];

    // Use
    enum tri is_screen_off;   // every display is off
    enum tri is_session_idle; // every session of a person is idle or locked
    bool is_in_use;           // by the two above
    bool is_use_known;
    const char *use_source;
    int64_t unused_since_ms; // monotonic; only when not in use
    char inhibitors[96];     // who inhibits idle or sleep; "" nobody
    enum tri is_power_saver;
    bool is_going_to_sleep;

    // Load
    double psi_cpu_some;            // avg60
    double psi_io_some;             // avg10
    double psi_mem_some;            // avg10
    double psi_mem_full;            // avg10
    int64_t memory_available_bytes; // -1 unknown
    int64_t memory_total_bytes;
    int64_t disk_free_bytes;
    int64_t disk_total_bytes;
};

// Everything unknown.
void snapshot_init(struct snapshot *s);
