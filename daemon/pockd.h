// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * pockd (loop thread)
 *
 * Owns every module; starts them in one order and stops them in the reverse
 * one. What more than one module needs to know is here, and the one place
 * where everything meets: pockd_reconsider() asks the scheduler.
 */

#include "daemon/config.h"
#include "daemon/dbthread.h"
#include "daemon/facts.h"
#include "daemon/fileset.h"
#include "daemon/paths.h"
#include "daemon/scheduler.h"
#include "daemon/secret_service.h"
#include "daemon/server.h"
#include "daemon/signals.h"
#include "engine/base/sign.h"

struct store;
struct consent;
struct events;
struct inhibits;
struct training;
struct serving;
struct tools;
struct reload;
struct remerge;
struct retention;
struct watchers;
struct auditlog;
struct signal_watch;

struct watchdog { // watchdog.c
    uv_timer_t timer;
    uint64_t unit_ms; // between two pings, as the unit has it; 0: none asked
    uint64_t told_ms; // as the manager knows it
    bool is_busy;
    bool is_checking;
};

struct pockd {
    const struct config *config;
    struct paths paths;
    struct sign_key identity; // signs manifests and archives
    uv_loop_t loop;
    uv_signal_t on_term;
    uv_signal_t on_int;
    struct watchdog watchdog;
    uv_timer_t recheck; // when time alone may open or close a gate
    uv_idle_t soon;     // a decision is due in this turn of the loop
    int64_t started_unix_ms;
    uint64_t started_ns;
    bool is_stopping;
    bool is_degraded; // the store was damaged: ingest is refused
    char problem[600];

    struct policy policy; // the owner's, over that of the configuration
    bool is_paused;       // train.pause without a job
    struct gate gates[CONDITION_COUNT];
    struct decision decision;

    struct secret_service secrets; // may keep the store's key
    struct store *store;
    struct dbthread *dbthread;
    struct facts facts;
    struct consent *consent;
    struct events *events;
    struct watchers *watchers;
    struct auditlog *audit;
    struct inhibits *inhibits;
    struct signals *signals;
    struct signal_watch *signal_watches;
    struct turn *turn;
    struct training *training;
    struct serving *serving;
    struct tools *tools;
    struct filesets filesets;
    struct reload *reload;
    struct retention *retention;
    struct remerge *remerge;
    struct server *server;
};

// Runs until SIGTERM or SIGINT. An exit status: 0, 1, or 78 for a store or
// configuration of a newer version.
int pockd_run(const struct config *config);

// Something that decides about training changed: ask the scheduler, once in
// this turn of the loop, and do what it says.
void pockd_reconsider(struct pockd *p);
// Evaluate the gates now, as if for a job that its owner forces or not; the
// state of pockd is not touched.
void pockd_evaluate(struct pockd *p, bool is_manual,
                    struct gate gates[CONDITION_COUNT]);
int64_t pockd_now_ms(void); // monotonic
