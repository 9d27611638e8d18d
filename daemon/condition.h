// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Conditions
 *
 * One gate for each row of conditions.def: what was read, what is asked, open
 * or not, since when, and who says so. Pure: a snapshot and a policy in, gates
 * out. A running job is judged by the lower threshold (keep), anything else by
 * the higher one (start), so that a value that trembles does not flap.
 */

#include "daemon/policy.h"
#include "daemon/snapshot.h"
#include "daemon/turn.h"
#include "ipc/rpc_error.h"

#include <stdbool.h>
#include <stdint.h>

enum condition {
#define CONDITION(name, reason, aside, asks) CONDITION_##name,
#include "daemon/conditions.def"
#undef CONDITION
    CONDITION_COUNT
};

struct gate {
    bool is_ok;
    bool is_set_aside;   // closed, but this job does not ask
    int64_t since_ms;    // unix time at which is_ok last changed
    int64_t opens_in_ms; // opens by itself after so long; -1: not known
    char value[200];
    char threshold[96];
    const char *source; // sysfs, procfs, dbus, store, owner or none

    // All that follow are private: a gate that comes and goes.
    bool is_silent;     // value and threshold are left out
    bool is_known;      // it was looked at before
    bool is_open;       // what was read, whether it is trusted or not
    int64_t changed_ms; // monotonic; when that last changed
    int flaps;          // times that it closed soon after it opened
};

// What the conditions ask about besides the machine.
struct condition_input {
    const struct snapshot *snapshot;
    const struct policy *policy;
    bool is_running;          // judge by what is needed to go on
    bool is_manual;           // `train now`: set aside what may be
    bool is_paused;           // by the owner
    bool is_off;              // by the owner: all of pockd
    int inhibit_count;        // clients that hold `pockctl inhibit`
    bool has_job;             // a job waits or runs
    bool has_model;           // a base model is registered
    const char *quarantine;   // why nothing is begun by itself; NULL: it is
    const char *note;         // about the job, for its owner; may be NULL
    int64_t wait_ms;          // the only jobs back off for so long; 0: none
    const char *wait_text;    // and why; may be NULL
    int64_t new_records;      // since the newest version
    int64_t job_memory_bytes; // the job's estimate; 0: unknown
    int64_t job_disk_bytes;   // checkpoint and adapter; 0: unknown
    int64_t budget_used_s;    // since the last noon
    double budget_used_wh;    // NAN: the machine does not report it
    int64_t now_ms;           // monotonic
    int64_t unix_ms;
    int minute_of_day; // local
    enum turn_state turn;
    int weekday;    // local; 0: Sunday
    bool is_silent; // nobody reads values and thresholds
};

const char *condition_name(enum condition c);
const char *condition_asks(enum condition c);
enum stop_reason condition_reason(enum condition c);

// `gates` holds the result of the last call, and zeroes before the first one:
// since_ms changes only with is_ok.
void condition_evaluate(struct gate gates[CONDITION_COUNT],
                        const struct condition_input *in);

// The first closed gate, or CONDITION_COUNT.
enum condition condition_blocking(const struct gate gates[CONDITION_COUNT]);
// When a closed gate opens by time alone and no other is closed: in how many
// milliseconds; else -1.
int64_t condition_opens_in(const struct gate gates[CONDITION_COUNT]);
