// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Events (loop thread)
 *
 * What happened: stored, logged, and told to those who watch. An event is told
 * after it was stored, so its number is final. Never any text of records.
 */

#include "daemon/request.h"
#include "ipc/encoder.h"
#include "storage/store_event.h"

struct pockd;
struct events;

int events_create(struct events **out, struct pockd *p);
// Ends all watchers with SHUTTING_DOWN. NULL is fine.
void events_destroy(struct events *e);

// Zero or NULL: absent. `text` is one sentence.
struct event_params {
    const char *kind;
    int64_t job;
    const char *adapter;
    uint32_t version;
    const char *reason;
    const char *text;
};
void events_emit(struct pockd *p, const struct event_params *params);
// data.put and put_many: gathered, and told at most once a second.
void events_records_added(struct pockd *p, int64_t count);

// events.watch; takes the request.
void events_watch(struct pockd *p, struct request *r);
void event_encode(struct encoder *e, const struct store_event *ev);
