// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * pockd (loop thread)
 *
 * Owns every module; starts them in one order and stops them in the reverse
 * one. What more than one module needs to know is here.
 */

#include "daemon/config.h"
#include "daemon/paths.h"
#include "daemon/server.h"
#include "daemon/signals.h"

struct pockd {
    const struct config *config;
    struct paths paths;
    uv_loop_t loop;
    uv_signal_t on_term;
    uv_signal_t on_int;
    uv_timer_t watchdog;
    int64_t started_unix_ms;
    uint64_t started_ns;
    bool is_stopping;

    struct signals *signals;
    struct server *server;
};

// Runs until SIGTERM or SIGINT. An exit status: 0, 1, or 78 for a store or
// configuration of a newer version.
int pockd_run(const struct config *config);
