// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Signals from UPower and the power profiles (loop thread)
 *
 * External power, the DisplayDevice, and whether the profile saves power. A
 * service that does not run is not started for this; when one comes, goes or
 * starts anew, what is known follows.
 */

#include "daemon/snapshot.h"

#include <systemd/sd-bus.h>

struct signals_upower;

int signals_upower_create(struct signals_upower **out,
                          void (*on_change)(void *user), void *user);
void signals_upower_destroy(struct signals_upower *u);
void signals_upower_on_up(struct signals_upower *u, sd_bus *bus);
void signals_upower_on_down(struct signals_upower *u);
void signals_upower_read(const struct signals_upower *u, struct snapshot *s);
