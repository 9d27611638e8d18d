// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Schedule
 *
 * The order in which living nodes run. It respects two things: a node runs
 * after the producers of its inputs, and an update of state runs after every
 * reader of the version that it replaces (so the gradient of an input is
 * computed with the old weight). Within that, what frees memory runs at once:
 * an optimizer step as soon as its gradient is complete.
 */

#include "engine/ir/graph.h"

struct arena;

struct schedule {
    const struct graph *graph;
    node_id *order;
    uint32_t n;
};

// The better of the graph's own order and the greedy one, by peak of live
// bytes. Lives in `a` and borrows `g`.
int schedule_create(struct schedule **out, const struct graph *g,
                    struct arena *a);

struct schedule_params {
    const size_t *scratch; // bytes that a node needs while it runs; NULL: none
    // The optimizer runs behind everything else, so that until then nothing
    // that outlives the program has changed.
    bool is_deferred;
};
// The same with these. `peak` gets the live bytes, scratch included; it may be
// NULL.
int schedule_create_for(struct schedule **out, size_t *peak,
                        const struct graph *g,
                        const struct schedule_params *params, struct arena *a);
// Does the node belong to what is deferred?
bool schedule_is_update(const struct node *n);

// One of the two, for tests.
enum schedule_kind {
    SCHEDULE_GIVEN,
    SCHEDULE_GREEDY,
};
int schedule_create_kind(struct schedule **out, const struct graph *g,
                         enum schedule_kind kind, struct arena *a);

// True when the order is complete and respects both rules.
bool schedule_check(const struct schedule *s);
