// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Inhibits (loop thread)
 *
 * Clients that asked for no training. Each belongs to its connection and ends
 * with it.
 */

#include "daemon/request.h"

struct pockd;
struct inhibits;

int inhibits_create(struct inhibits **out, struct pockd *p);
void inhibits_destroy(struct inhibits *i);

// Takes the request: answered when no worker trains any more.
void inhibits_acquire(struct inhibits *i, struct request *r);
void inhibits_release(struct inhibits *i, struct request *r);
void inhibits_on_session_end(struct inhibits *i, uint64_t session);
// No worker trains now: answer those who wait for that.
void inhibits_on_quiet(struct inhibits *i);

int inhibits_count(const struct inhibits *i);
void inhibits_encode(struct encoder *e, const struct inhibits *i);
