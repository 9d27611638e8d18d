// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Merging again what an erase took (database thread)
 *
 * A merged version that learned from what is erased goes like any other. Its
 * parts and weights are known, so it is merged again when each part is clean: a
 * part that was not reached stays as it is; of one that was, the version that
 * is learned again takes its place, which is waited for; a merged one is merged
 * again first. A part of which nothing clean is left is left out. What is to do
 * is a row, written in the transaction that retires the version.
 */

#include "storage/store_merge.h"

enum { STORE_REMERGE_PARTS = 6 };

struct store_remerge {
    int64_t id;
    int64_t adapter_id;
    char adapter[STORE_NAME_SIZE];
    int64_t model_id;
    uint32_t version; // that is gone
    uint32_t rank;    // that it had
    bool was_active;
    // An adapter that is learned or merged again first; "": none, it is due.
    char waits_for[STORE_NAME_SIZE];
    // When it is due: clean versions, with adapter_id and sha256.
    struct store_part parts[STORE_REMERGE_PARTS];
    size_t n_parts;
    // Of which nothing clean is left.
    char without[STORE_TEXT_SIZE];
};

// For an erase, in its transaction. Before versions are retired: a version that
// something else took the place of since is not to be active again.
int store_remerge_settle(struct store *s, struct error *err);
// For each version that was retired; does nothing for one that was not merged.
// Of several merged alike of the same adapters one is enough: the one that was
// active, or the newest.
int store_remerge_add(struct store *s, int64_t adapter_id, uint32_t version,
                      bool was_active, int64_t now_ms, struct error *err);
// After all of that: what is active now is what nobody chose.
int store_remerge_note(struct store *s, struct error *err);

// Is it merged again, or a part of one that is?
int store_remerge_waits(struct store *s, int64_t adapter_id, uint32_t version,
                        bool *is_merged, bool *is_part, struct error *err);

typedef int (*store_remerge_fn)(const struct store_remerge *m, void *user);
// Those that wait, oldest first.
int store_remerge_each(struct store *s, store_remerge_fn fn, void *user,
                       struct error *err);
// The oldest that is due, but for these: 1, or 0 when none is.
int store_remerge_next(struct store *s, const int64_t *but, size_t n_but,
                       struct store_remerge *out, struct error *err);
// It is done: `made` took its place (0: nothing was left to merge), and is
// active if the old one was and nothing else became active since.
int store_remerge_finish(struct store *s, const struct store_remerge *m,
                         uint32_t made, int64_t now_ms, bool *is_active,
                         struct error *err);
