// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Signals from the system bus (loop thread)
 *
 * logind, UPower and the power profiles over one connection that comes back by
 * itself. What is not there is left to the files. The stub says that there is
 * no bus.
 */

#include "daemon/snapshot.h"

#include <uv.h>

struct signals_bus;

// -EOPNOTSUPP when built without sd-bus; 0 also when there is no bus yet.
// on_change comes from the loop.
int signals_bus_create(struct signals_bus **out, uv_loop_t *loop,
                       void (*on_change)(void *user), void *user);
void signals_bus_destroy(struct signals_bus *b);

// Over what the files say: only what is known here is written.
// *idle_since_ms is monotonic and valid when all sessions are idle.
void signals_bus_read(const struct signals_bus *b, struct snapshot *s,
                      int64_t *idle_since_ms);
// Somebody is awake anyway: ask for what nobody announces, and connect again if
// the bus was lost.
void signals_bus_poll(struct signals_bus *b);
void signals_bus_hold_awake(struct signals_bus *b, bool is_held);
void signals_bus_release_sleep(struct signals_bus *b);
