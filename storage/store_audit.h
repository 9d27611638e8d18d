// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Audit log (database thread)
 *
 * Who read, wrote, trained, erased, exported or activated what, and when: a
 * method's name, numbers and names of adapters, never any text of records.
 * Rows are chained: each has a hash over itself and the row before it, so that
 * one that was changed or removed shows. What one process does again and again
 * is counted in one row for up to STORE_AUDIT_WINDOW_MS; such a row is open,
 * outside of the chain, until its time is over or the store is closed.
 *
 * The chain does not stop who may write the file and knows how to make all
 * hashes anew: against that its owner keeps a head elsewhere, and asks whether
 * it is still in the chain.
 */

#include "storage/store.h"

enum {
    STORE_AUDIT_MAX = 50000, // rows; the oldest go
    STORE_AUDIT_WINDOW_MS = 10 * 60 * 1000,
    STORE_AUDIT_NOTED_MAX = 64,
};

struct store_audit {
    int64_t id; // from the store; 0: still open
    int64_t time_ms;
    int64_t until_ms; // from the store, where several were counted
    int64_t uid;      // the user
    int64_t pid;      // the process; 0: pockd itself
    char app[STORE_NAME_SIZE];
    char action[32]; // "data.erase"
    int64_t count;
    char text[STORE_TEXT_SIZE];
    uint8_t hash[STORE_HASH_BYTES]; // from the store
};

typedef int (*store_audit_fn)(const struct store_audit *a, void *user);

// A row of the chain, now.
int store_audit_add(struct store *s, const struct store_audit *a,
                    struct error *err);
// Count it: written with the transaction that is open or comes next, and
// forgotten with it when that is rolled back. Of the same process, action and
// text one row is made.
int store_audit_note(struct store *s, const struct store_audit *a,
                     struct error *err);
// What was noted and not written yet did not happen.
void store_audit_forget(struct store *s);
// Write what was noted, and close rows whose time is over, or all; rows of the
// chain that ended before keep_ms go (0: none for their age).
int store_audit_flush(struct store *s, int64_t now_ms, int64_t keep_ms,
                      bool close_all, struct error *err);

struct store_audit_filter {
    int64_t after;    // ids above it
    int64_t since_ms; // ended at this time or later
    int64_t limit;    // 0: no limit; the newest
    bool with_open;   // those still open come last
};
// By id.
int store_audit_each(struct store *s, const struct store_audit_filter *f,
                     store_audit_fn fn, void *user, struct error *err);

struct store_audit_state {
    bool is_whole;
    int64_t first; // id of the oldest row; 0: there is none
    int64_t last;
    int64_t rows;
    int64_t dropped; // rows before, gone by age or number
    uint8_t head[STORE_HASH_BYTES];
    bool has_wanted;   // `wanted` is a hash of the chain
    int64_t wanted_id; // where
    char problem[160]; // what is wrong where, when it is not whole
};
// Walks the whole chain. `wanted` may be NULL.
int store_audit_verify(struct store *s, const uint8_t *wanted,
                       struct store_audit_state *out, struct error *err);
