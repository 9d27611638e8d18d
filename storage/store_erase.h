// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Erasing and forgetting (database thread)
 *
 * One transaction decides everything: versions that learned from the records,
 * or descend from one that did, are retired, the newest clean one is active
 * instead, a job that learns again what remains is queued, what was merged is
 * remembered to be merged again (store_remerge.h), the keys of records,
 * adapters, checkpoints and kept states are shredded, the rows are deleted, and
 * what is left to do is written down. Then, each step done once and perhaps
 * again after a crash, at the next store_open():
 *
 *   log          the log is emptied: no page has the rows or the keys
 *   copies       of migrations and of damaged databases are deleted
 *   states       prefix.cache is deleted
 *   checkpoints  are deleted
 *   adapters     of retired versions are deleted
 *   done
 *
 * Whatever a disk keeps of the files or of old pages has no key.
 */

#include "storage/store_record.h"

#define STORE_ERASE_STEPS(X) \
    X(ROWS)                  \
    X(LOG)                   \
    X(COPIES)                \
    X(STATES)                \
    X(CHECKPOINTS)           \
    X(ADAPTERS)              \
    X(DONE)

enum store_erase_step {
#define X(name) STORE_ERASE_##name,
    STORE_ERASE_STEPS(X)
#undef X
};

// What was begun and not done is done. store_open() does it.
int store_erase_resume(struct store *s, struct error *err);
// How many are not done: those whose files could not be deleted yet.
int store_erase_pending(struct store *s, int64_t *count, struct error *err);

// Days that a stream's records are kept: 0 for ever, -1 as the policy says.
// -ENOENT.
int store_retention_set(struct store *s, const char *app, const char *stream,
                        int days, struct error *err);
typedef int (*store_retention_fn)(const char *app, const char *stream, int days,
                                  void *user);
int store_retention_each(struct store *s, store_retention_fn fn, void *user,
                         struct error *err);
// Records that were stored so many days ago are erased like others, but for
// what was made of them: versions stay, unless `takes_versions`, and lineage
// remembers what they learned from. `days`: of the policy; 0: for ever.
int store_retention_run(struct store *s, int days, bool takes_versions,
                        int64_t now_ms, struct store_erased *out,
                        struct error *err);
