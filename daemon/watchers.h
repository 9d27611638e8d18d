// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Watchers (loop thread)
 *
 * Streams of `status` and `train.status`: the latest state, at most four times
 * a second, and only to a client that has read what it got. What it missed is
 * not repeated.
 */

#include "daemon/request.h"

struct pockd;
struct watchers;

int watchers_create(struct watchers **out, struct pockd *p);
// Ends them with SHUTTING_DOWN. NULL is fine.
void watchers_destroy(struct watchers *w);

// Both take the request. job 0: of status; else until that job ends.
void watchers_add(struct watchers *w, struct request *r, int64_t job);

// Gates, facts or a job changed.
void watchers_status_changed(struct pockd *p);
// A job has ended: its watchers get their response.
void watchers_job_ended(struct pockd *p, int64_t job);
