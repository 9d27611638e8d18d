// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Device
 *
 * A machine and its owner as a seeded story on a virtual clock: when it hangs
 * on its charger and how strong that is, who uses it, what gets hot, full or
 * set wrong. What happens is a set of independent processes, one row each, that
 * may be left out to find which of them a failure needs.
 */

#include "daemon/policy.h"
#include "daemon/snapshot.h"
#include "engine/base/rng.h"

#include <stdbool.h>
#include <stdint.h>

#define SIM_SECOND INT64_C(1000)
#define SIM_MINUTE (60 * SIM_SECOND)
#define SIM_HOUR   (60 * SIM_MINUTE)
#define SIM_DAY    (24 * SIM_HOUR)
#define SIM_NEVER  INT64_MAX

enum device_process {
#define PROCESS(name, what) PROCESS_##name,
#include "tests/sim/processes.def"
#undef PROCESS
    PROCESS_COUNT
};

enum device_kind {
    DEVICE_PHONE,   // a weak charger, screen and battery
    DEVICE_LAPTOP,  // docks in the evening, most of the time
    DEVICE_DESKTOP, // no battery
    DEVICE_BOARD,   // no battery, no display, no thermal zone
    DEVICE_KINDS
};

// What the owner or the system does to pockd, besides the signals.
enum device_action {
    ACTION_NONE,
    ACTION_RECORDS,
    ACTION_PAUSE,
    ACTION_RESUME,
    ACTION_TRAIN_NOW,
    ACTION_CANCEL,
    ACTION_PAUSE_JOB,
    ACTION_QUERY, // an answer needs the machine for a while
    ACTION_QUERY_ENDED,
    ACTION_RESTART,     // pockd is killed and started again
    ACTION_KILL_WORKER, // by whatever kills
    ACTION_MODEL_BREAKS,
    ACTION_MODEL_MENDED,
};

struct device {
    struct rng rng;
    unsigned mask; // processes that take part
    enum device_kind kind;
    struct policy policy;

    int64_t now;         // ms since the story began, asleep or not
    int64_t asleep;      // of them, asleep
    int64_t clock_error; // of the wall clock
    int64_t next[PROCESS_COUNT];

    // The truth
    struct snapshot truth;
    double charge_pct_h; // what the charger gives in an hour
    double train_pct_h;  // what training takes
    double ambient_c;
    double heat_c;      // above it
    double drain_pct;   // measured over ten minutes
    int64_t plugged_at; // -1: it is not
    int64_t dynamics_at;
    bool is_broken_sensor;
    double shown_pct; // what a broken sensor says instead
    int flaps_left;
    bool is_asleep;
    bool is_user_there;
    int64_t user_left_at; // monotonic
    double psi_episode;
    bool is_disk_full;
    bool is_memory_short;
    int64_t last_flap_at; // of anything that is a signal
};

void device_init(struct device *d, uint64_t seed, unsigned mask);
// When the next process is due.
int64_t device_next(const struct device *d, enum device_process *which);
// Let time pass: batteries and heat follow. `load` 0 .. 1 is how hard a worker
// computes.
void device_pass(struct device *d, int64_t until, double load);
// What a process does now; *is_announced: by the system, at once.
enum device_action device_step(struct device *d, enum device_process p,
                               bool holds_awake, bool *is_announced);
const char *device_process_name(enum device_process p);
const char *device_kind_name(enum device_kind k);

int64_t device_unix_ms(const struct device *d);
int64_t device_mono_ms(const struct device *d);
int device_minute(const struct device *d);  // of the day
int device_weekday(const struct device *d); // 0: Sunday
// What pockd's signals would read now.
void device_read(const struct device *d, struct snapshot *out);
