// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Replay
 *
 * Feeds a recording of signals to the scheduler: what would have happened had
 * a job waited all the time. Pure: no clock, no file, no daemon.
 *
 * A recording is JSON lines. Each has "t" (monotonic ms), "unix" (ms), "minute"
 * (local, of the day) and "signals", an object of what changed: names of
 * signals.def with values, null for not known. "sources" says likewise who said
 * so, and may be absent; other keys are not looked at. A line without "t", as
 * the first one, is a heading.
 */

#include "daemon/scheduler.h"

enum replay_kind {
    REPLAY_START,
    REPLAY_STOP,
    REPLAY_BLOCKED, // nothing runs, and this gate is why
};

struct replay_event {
    enum replay_kind kind;
    int64_t unix_ms;
    enum stop_reason reason;
    const char *gate; // "" without one
    const char *text; // value and threshold; "" likewise
};

struct replay_totals {
    int64_t lines;
    int64_t span_ms;
    int64_t trained_ms;
    int64_t starts;
    int64_t stops[STOP_REASON_COUNT];
};

struct replay_params {
    const struct policy *policy; // borrowed
    void (*on_event)(const struct replay_event *ev, void *user);
    // Time is about to get there; NULL: nobody cares.
    void (*on_time)(int64_t now_ms, void *user);
    void *user;
};

struct replay;

// -ENOMEM.
int replay_create(struct replay **out, const struct replay_params *params);
void replay_destroy(struct replay *r);
// The next line, without or with its end; empty ones are fine. On an error the
// replay is where it was.
int replay_line(struct replay *r, const char *text, size_t bytes,
                struct error *err);
struct replay_totals replay_totals(const struct replay *r);
bool replay_is_running(const struct replay *r);
