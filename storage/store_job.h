// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Jobs (database thread)
 *
 * Training jobs, over all their interruptions. Which transition is allowed
 * decides the daemon; here a state is a word.
 */

#include "storage/store.h"

// Finished: done, failed, cancelled. Alive: the others.
#define STORE_JOB_STATES(X) \
    X(QUEUED, "queued")     \
    X(STARTING, "starting") \
    X(RUNNING, "running")   \
    X(STOPPING, "stopping") \
    X(PAUSED, "paused")     \
    X(DONE, "done")         \
    X(FAILED, "failed")     \
    X(CANCELLED, "cancelled")

enum store_job_state {
#define X(name, text) STORE_JOB_##name,
    STORE_JOB_STATES(X)
#undef X
        STORE_JOB_STATE_COUNT
};

struct store_job {
    int64_t id; // from the store
    enum store_job_state state;
    char phase[16];       // "", prepare, train, evaluate
    char stop_reason[24]; // a name of ipc/stop_reasons.def
    char message[STORE_TEXT_SIZE];
    int64_t adapter_id;
    char adapter[STORE_NAME_SIZE]; // only on the way out
    int64_t model_id;
    char model[STORE_NAME_SIZE]; // only on the way out
    char streams[4224];          // names with a space between; "" = all
    bool has_before;
    int64_t before_ms; // only records with time < before_ms
    bool is_forced;
    char recipe[6144]; // key=value pairs
    int64_t created_ms;
    int64_t started_ms;    // 0 = not yet
    int64_t finished_ms;   // 0 = not yet
    int64_t not_before_ms; // earliest retry; 0 = at once
    uint32_t attempts;     // workers started
    uint32_t failures;     // of them, how many failed in a row
    uint32_t permanents;   // failures of the data or the model, likewise
    uint32_t fruitless;    // runs in a row that reached no checkpoint
    uint32_t deaths;       // of workers, at one place
    int64_t death_place;
    char suspects[8192]; // records, as daemon/bisect.h writes them; "" = none
    int64_t step;
    int64_t steps;
    double epoch;
    int64_t tokens;
    int64_t records;
    int64_t heldout_records;
    int64_t run_ms;
    // Losses in nats a token; NAN = unknown.
    double loss;
    double heldout_start;
    double heldout_best;
    int64_t heldout_step;
    uint32_t version; // 0 = none
    // The durable checkpoint: a file name the daemon chose; "" = none.
    char checkpoint[128];
    int64_t checkpoint_step;
};

typedef int (*store_job_fn)(const struct store_job *j, void *user);

const char *store_job_state_name(enum store_job_state state);
bool store_job_is_finished(enum store_job_state state);
// All zero, losses NAN, stop reason NONE.
void store_job_init(struct store_job *j);

// Everything but id, adapter and model is taken from `j`.
int store_job_add(struct store *s, const struct store_job *j, int64_t *id,
                  struct error *err);
// Write all fields of the job of that id, but for adapter_id and model_id.
int store_job_update(struct store *s, const struct store_job *j,
                     struct error *err);
int store_job_get(struct store *s, int64_t id, struct store_job *out,
                  struct error *err);
// Jobs that are alive, oldest first.
int store_job_each_alive(struct store *s, store_job_fn fn, void *user,
                         struct error *err);
// All, newest first: ids below `cursor` (0 = from the newest), of one adapter
// unless its id is 0, at most `limit`.
int store_job_each(struct store *s, int64_t adapter_id, int64_t cursor,
                   int64_t limit, store_job_fn fn, void *user,
                   struct error *err);
// After a crash: starting, running and stopping become queued with the stop
// reason SHUTDOWN. *count (may be NULL): how many.
int store_job_recover(struct store *s, uint32_t *count, struct error *err);
