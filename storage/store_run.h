// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Runs (database thread)
 *
 * Every run of a training worker, and nights made of them; and the records that
 * no run may learn from, since they end its worker.
 */

#include "storage/store.h"

struct store_run {
    int64_t job_id;
    int64_t night; // days since 1970, from noon to noon
    int64_t started_ms;
    int64_t run_ms;
    int64_t slices;
    int64_t first_step;
    int64_t last_step;
    char stop_reason[24];  // a name of ipc/stop_reasons.def; NONE: it was done
    double energy_j;       // NAN: not reported
    double heldout_before; // NAN: not measured
    double heldout_after;
    uint32_t version; // made by it; 0: none
};

// The runs of one night together.
struct store_night {
    int64_t night;
    int64_t started_ms; // of the first
    int64_t runs;
    int64_t slices;
    int64_t run_ms;
    int64_t steps;
    char stopped_by[160];  // "ACTIVE 2, POWER": reasons, the newest first
    double energy_j;       // NAN: no run reported it
    double heldout_before; // of its first and last run that have it
    double heldout_after;
    int64_t versions;
};

typedef int (*store_night_fn)(const struct store_night *n, void *user);
typedef int (*store_skipped_fn)(int64_t record_id, void *user);

int store_run_add(struct store *s, const struct store_run *r,
                  struct error *err);
// Newest first, at most `limit`.
int store_night_each(struct store *s, int64_t limit, store_night_fn fn,
                     void *user, struct error *err);

// -ENOENT: the record is gone.
int store_skipped_add(struct store *s, int64_t record_id, int64_t job_id,
                      int64_t now_ms, const char *program, struct error *err);
// Those that `program` skips, by id.
int store_skipped_each(struct store *s, const char *program,
                       store_skipped_fn fn, void *user, struct error *err);
