// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Adapters (database thread)
 *
 * An adapter is a named series of versions over one base model. A version is
 * written once and only retired later. At most one version of an adapter is
 * active; the switch is one row of one transaction. What was active before is
 * remembered, so that rolling back twice goes back twice.
 */

#include "storage/store.h"

struct store_adapter {
    int64_t id;
    char name[STORE_NAME_SIZE];
    int64_t model_id;
    char model[STORE_NAME_SIZE]; // its name
    int64_t created_ms;
    uint32_t active;   // number of the active version; 0 = the base model
    int64_t active_ms; // since when; 0 = never switched
    uint32_t versions;
};

enum store_version_state {
    STORE_VERSION_KEPT,
    STORE_VERSION_ACTIVE,
    STORE_VERSION_RETIRED, // file gone, or made of erased records
};

enum store_gate {
    STORE_GATE_NONE, // never evaluated
    STORE_GATE_PASSED,
    STORE_GATE_FAILED,
    STORE_GATE_FORCED, // activated by the owner against the gate
};

// What it knows by heart of rare sequences in its records, in bits; NAN =
// unknown. See engine/audit.h.
struct store_exposure {
    int64_t sequences; // looked at; 0 = none
    int64_t recited;   // of these
    double bits;       // of the one that is known best
    double bits_base;  // of the same, by the base model
    double bits_drawn; // of sequences that were drawn, for comparison
    int64_t record_id; // that has it; 0 = none, or erased
};

struct store_version {
    int64_t adapter_id;
    uint32_t version; // 1, 2, ...; chosen by the store
    uint32_t parent;  // 0 = made from the base model
    int64_t job_id;   // 0 = none
    bool is_imported;
    bool is_merged; // of others: see store_merge.h; only on the way out
    enum store_version_state state; // only on the way out
    int64_t created_ms;
    uint8_t sha256[STORE_HASH_BYTES]; // of its GGUF file: see blob.h
    int64_t bytes;
    uint32_t rank;
    int64_t records; // learned from
    // Nats a token; NAN = unknown. See the gate in the daemon.
    double heldout_before;
    double heldout_after;
    double probe_before;
    double probe_after;
    // What it gives away of any one record at most; NAN = nothing is promised.
    double dp_epsilon;
    double dp_delta;
    struct store_exposure exposure;
    enum store_gate gate;
    char reason[STORE_TEXT_SIZE];
};

typedef int (*store_adapter_fn)(const struct store_adapter *a, void *user);
typedef int (*store_version_fn)(const struct store_version *v, void *user);

const char *store_gate_name(enum store_gate gate);
const char *store_version_state_name(enum store_version_state state);
// All zero, losses NAN.
void store_version_init(struct store_version *v);

// -EEXIST.
int store_adapter_add(struct store *s, const char *name, int64_t model_id,
                      int64_t now_ms, int64_t *id, struct error *err);
int store_adapter_get(struct store *s, const char *name,
                      struct store_adapter *out, struct error *err);
int store_adapter_get_id(struct store *s, int64_t id, struct store_adapter *out,
                         struct error *err);
// By name.
int store_adapter_each(struct store *s, store_adapter_fn fn, void *user,
                       struct error *err);

// The file must be in adapters/ already. The next number goes to *version.
// -EEXIST: the adapter has a version of the same bytes that is not retired;
// *version is its number.
int store_version_add(struct store *s, const struct store_version *v,
                      uint32_t *version, struct error *err);
int store_version_get(struct store *s, int64_t adapter_id, uint32_t version,
                      struct store_version *out, struct error *err);
// Oldest first.
int store_version_each(struct store *s, int64_t adapter_id, store_version_fn fn,
                       void *user, struct error *err);

// Make it the active one. `is_forced`: its gate becomes forced unless it
// passed. -ENOTUNIQ: its gate says no and is_forced is false, or it is retired.
int store_adapter_activate(struct store *s, int64_t adapter_id,
                           uint32_t version, bool is_forced, int64_t now_ms,
                           struct error *err);
// Back to what was active before, skipping retired versions; with none, to the
// base model. *version (may be NULL): what is active now, 0 = base model.
// -ENOENT: the base model is active already.
int store_adapter_rollback(struct store *s, int64_t adapter_id, int64_t now_ms,
                           uint32_t *version, struct error *err);
// No version active: the base model.
int store_adapter_deactivate(struct store *s, int64_t adapter_id,
                             int64_t now_ms, struct error *err);

// Retire a version: it stays in the list with the reason, its file goes with
// the next store_blob_sweep(). -EBUSY for the active one.
int store_version_retire(struct store *s, int64_t adapter_id, uint32_t version,
                         const char *reason, struct error *err);
// The adapter with all versions, also the active one. -EBUSY while a job that
// is alive trains it.
int store_adapter_delete(struct store *s, int64_t adapter_id,
                         struct error *err);

// Delete files in adapters/ that no version needs. store_open() does it.
int store_blob_sweep(struct store *s, uint32_t *removed, struct error *err);
