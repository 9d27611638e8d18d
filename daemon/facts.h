// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Facts (loop thread)
 *
 * What the store holds, in numbers, as far as decisions and `status` need it:
 * read again on the database thread after a change, at most as often as it is
 * cheap.
 */

#include "storage/store_stream.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct pockd;

enum { FACTS_ADAPTERS_MAX = 64, FACTS_REMERGES_MAX = 16 };

struct facts_adapter {
    char name[STORE_NAME_SIZE];
    uint32_t version;
    int64_t created_ms;
    double heldout_before; // NAN: unknown
    double heldout_after;
};

// A merged version that an erase took, and that is merged again.
struct facts_remerge {
    char adapter[STORE_NAME_SIZE];
    uint32_t version;
    bool was_active;
    char waits_for[STORE_NAME_SIZE]; // learned or merged again first; "": none
};

struct facts {
    bool is_loaded;
    int models;
    bool has_default_model;
    int64_t model_bytes; // of the default model's file
    int64_t new_records; // that no version of the adapter `default` has seen
    int64_t records;
    struct store_stream *streams;
    size_t stream_count;
    struct facts_adapter adapters[FACTS_ADAPTERS_MAX]; // with an active version
    size_t adapter_count;
    struct facts_remerge remerges[FACTS_REMERGES_MAX]; // the oldest
    size_t remerge_count;
    int64_t store_bytes;
    int64_t adapter_bytes;
    int64_t prefix_bytes;

    // All that follow are private.
    uv_timer_t timer;
    bool is_reading;
    bool is_stale;
    uint64_t read_ns; // how long the last reading took
    uint64_t read_at_ms;
};

void facts_init(struct pockd *p);
void facts_finish(struct pockd *p);
// The store changed: read it again soon, then reconsider and tell watchers.
void facts_refresh(struct pockd *p);
