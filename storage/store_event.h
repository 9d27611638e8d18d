// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Events (database thread)
 *
 * What happened, for people and programs; the newest STORE_EVENTS_MAX are
 * kept. Never any text of records.
 */

#include "storage/store_audit.h"

enum { STORE_EVENTS_MAX = 10000 };

struct store_event {
    int64_t id; // from the store
    int64_t time_ms;
    char kind[32];
    int64_t job_id;                // 0 = none
    char adapter[STORE_NAME_SIZE]; // "" = none
    uint32_t version;              // 0 = none
    char reason[24];               // "" = none
    char text[STORE_TEXT_SIZE];
};

typedef int (*store_event_fn)(const struct store_event *e, void *user);

int store_event_add(struct store *s, const struct store_event *e, int64_t *id,
                    struct error *err);
// By id, those above `after`, of one of the kinds (0 = all). At most `limit`
// (0 = no limit), the newest. *oldest (may be NULL): smallest id still there.
int store_event_each(struct store *s, int64_t after, const char *const *kinds,
                     size_t n_kinds, int64_t limit, store_event_fn fn,
                     void *user, int64_t *oldest, struct error *err);
