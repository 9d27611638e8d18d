// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

// How considerate a training worker is of who else uses its GPU. The numbers
// are those of the engine's enum manners, which WORKER.md names.

#include "daemon/policy.h"
#include "daemon/snapshot.h"

enum daemon_manners {
    DAEMON_MANNERS_UNUSED, // screens off, or everybody away
    DAEMON_MANNERS_IDLE,   // a screen is on: someone may look at it
    DAEMON_MANNERS_ACTIVE, // someone is at work
};

enum daemon_manners manners_of(const struct snapshot *s);

// Part of the time that a worker computes: all of it, unless the machine is
// warm or does not say how warm it is.
int manners_duty_pct(const struct snapshot *s, const struct policy *p);
