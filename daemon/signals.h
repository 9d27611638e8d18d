// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Signals (loop thread)
 *
 * Keeps one snapshot of the machine up to date, with who said what and since
 * when. Changes are announced: by uevents on a real machine, by inotify below
 * POCKD_SYSROOT (which is an ordinary directory), by logind, UPower and the
 * power profiles where there is a bus, and what these know goes over what the
 * files say. What nothing announces is read by a timer that runs only as fast
 * as somebody needs it.
 */

#include "daemon/snapshot.h"
#include "engine/base/error.h"

#include <uv.h>

struct signals;

enum signals_pace {
    SIGNALS_PACE_EVENTS,  // no timer at all
    SIGNALS_PACE_SLOW,    // every 15 minutes: a job waits, on battery
    SIGNALS_PACE_WAITING, // every 30 s: a job could start soon
    SIGNALS_PACE_RUNNING, // every second: a job runs
};

struct signals_params {
    uv_loop_t *loop;
    const char *root;      // "" on a real machine
    const char *state_dir; // whose free space counts
    bool use_bus;
    // Where time comes from; NULL: the clocks.
    int64_t (*now_ms)(void *user); // monotonic
    int64_t (*unix_ms)(void *user);
    // Something was read again; it may or may not have changed.
    void (*on_change)(void *user);
    void *user;
};

int signals_create(struct signals **out, const struct signals_params *params,
                   struct error *err);
// NULL is fine. The loop must still run until its handles are closed.
void signals_destroy(struct signals *s);

const struct snapshot *signals_snapshot(const struct signals *s);
void signals_set_pace(struct signals *s, enum signals_pace pace);
// Read everything now; on_change is not called.
void signals_refresh(struct signals *s);
// While something runs on external power: do not idle, and wait for us before
// sleep. No effect without logind.
void signals_hold_awake(struct signals *s, bool is_held);
// The checkpoint is on disk: sleep need not wait for us any more.
void signals_release_sleep(struct signals *s);
