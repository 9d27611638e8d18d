// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Signals from logind (loop thread)
 *
 * Over the system bus, without ever waiting for it: which sessions of people
 * are idle or locked, who inhibits idle or sleep, and that the machine is
 * about to sleep, for which a delay lock gives us time to save. elogind has
 * the same interface.
 */

#include "daemon/snapshot.h"

#include <systemd/sd-bus.h>

struct signals_logind;

int signals_logind_create(struct signals_logind **out,
                          void (*on_change)(void *user), void *user);
void signals_logind_destroy(struct signals_logind *l);
void signals_logind_on_up(struct signals_logind *l, sd_bus *bus);
void signals_logind_on_down(struct signals_logind *l);

// Fill in sessions, inhibitors, is_going_to_sleep and is_shutting_down.
// *idle_since_ms is monotonic and valid when all sessions are idle.
void signals_logind_read(const struct signals_logind *l, struct snapshot *s,
                         int64_t *idle_since_ms);
// Ask again where nobody announces: terminals.
void signals_logind_poll(struct signals_logind *l);
void signals_logind_hold_awake(struct signals_logind *l, bool is_held);
void signals_logind_release_sleep(struct signals_logind *l);
