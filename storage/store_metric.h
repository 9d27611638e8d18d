// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Metrics (database thread)
 *
 * Points of loss curves, by job and step. A step that is run again after an
 * interruption replaces its point.
 */

#include "storage/store.h"

struct store_point {
    int64_t step;
    int64_t time_ms;
    int64_t tokens; // trained on so far
    double loss;    // nats a token; NAN = unknown
    double heldout; // nats a token; NAN = not evaluated at this step
    double rate;    // learning rate; NAN = unknown
};

typedef int (*store_point_fn)(const struct store_point *p, void *user);

int store_metric_put(struct store *s, int64_t job_id,
                     const struct store_point *p, struct error *err);
// By step. With more than `limit` points (0 = all) evenly thinned; evaluated
// points and the last one stay.
int store_metric_each(struct store *s, int64_t job_id, int64_t limit,
                      store_point_fn fn, void *user, struct error *err);
