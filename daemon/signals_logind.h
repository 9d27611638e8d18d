// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Signals from logind (loop thread)
 *
 * Over the system bus, without ever waiting for it: which sessions of people
 * are idle or locked, who inhibits idle or sleep, and that the machine is
 * about to sleep, for which a delay lock gives us time to save. The stub says
 * that there is no bus.
 */

#include "daemon/snapshot.h"

#include <uv.h>

struct signals_logind;

// -ENOTCONN without a bus, -EOPNOTSUPP when built without libsystemd. on_change
// comes from the loop.
int signals_logind_create(struct signals_logind **out, uv_loop_t *loop,
                          void (*on_change)(void *user), void *user);
void signals_logind_destroy(struct signals_logind *l);

// Fill in is_session_idle, inhibitors and is_going_to_sleep.
// *idle_since_ms is monotonic and valid when all sessions are idle.
void signals_logind_read(const struct signals_logind *l, struct snapshot *s,
                         int64_t *idle_since_ms);
void signals_logind_hold_awake(struct signals_logind *l, bool is_held);
void signals_logind_release_sleep(struct signals_logind *l);
