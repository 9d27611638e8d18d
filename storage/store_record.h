// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Records (database thread)
 *
 * What apps gave. The body is opaque here (see ipc/rpc_record.h). A record is
 * known by the uid that its client made: putting it again changes nothing.
 */

#include "storage/store_stream.h"

struct store_record {
    int64_t id; // from the store
    uint8_t uid[STORE_UID_BYTES];
    int64_t stream_id;
    char stream[STORE_NAME_SIZE]; // only on the way out
    uint32_t kind;                // 1 text, 2 pair, 3 chat
    int64_t time_ms;
    int64_t added_ms;
    int64_t bytes;    // of its texts
    const void *body; // NULL where it was not asked for
    size_t body_bytes;
};

// `body` is borrowed: it is gone when the callback returns.
typedef int (*store_record_fn)(const struct store_record *r, void *user);

// Which records; zero is all of them. Everything that is set must hold.
struct store_filter {
    const char *app;
    // Not 0: only what its app may be trained on at this time (unix), which the
    // owner's own records always may be.
    int64_t trainable_ms;
    int64_t added_before_ms;    // not 0: only added_ms < this
    const char *const *streams; // one of these names
    size_t n_streams;
    const int64_t *ids; // one of these
    size_t n_ids;
    bool has_after;  // time_ms >= after_ms
    bool has_before; // time_ms < before_ms
    int64_t after_ms;
    int64_t before_ms;
};

// Store it, or find that it is stored: *is_new tells. -ENOTUNIQ: its uid is
// that of a record with other content. -ENOENT: no such stream_id.
int store_record_put(struct store *s, const struct store_record *r, int64_t *id,
                     bool *is_new, struct error *err);
// Calls `fn` once. -ENOENT.
int store_record_get(struct store *s, int64_t id, store_record_fn fn,
                     void *user, struct error *err);
// By id, those above `cursor`, at most `limit` (0 = no limit); stops when `fn`
// returns other than 0, and returns that.
int store_record_each(struct store *s, const struct store_filter *f,
                      int64_t cursor, int64_t limit, bool with_body,
                      store_record_fn fn, void *user, struct error *err);
// A call for each stream with records that pass, by app and name; all streams
// when the filter is all zero or NULL.
int store_record_count(struct store *s, const struct store_filter *f,
                       store_stream_fn fn, void *user, struct error *err);

// What an erase met. Versions that learned from one of the records, or descend
// from one that did.
struct store_used_by {
    int64_t adapter_id;
    char adapter[STORE_NAME_SIZE];
    uint32_t version;
    bool is_active;
    bool is_merged_again; // see store_remerge.h
    bool is_part;         // of one that is
};
typedef int (*store_used_by_fn)(const struct store_used_by *u, void *user);

enum { STORE_ERASED_JOBS = 16 };

struct store_erased {
    int64_t records;
    int64_t bytes;
    uint32_t versions; // retired
    // Jobs that were queued to learn again what remains; in a dry run only
    // how many.
    uint32_t n_jobs;
    int64_t jobs[STORE_ERASED_JOBS];
};

struct store_job;
// Appends those jobs to an array of malloc. One for which there is no memory is
// in the store all the same: the next start finds it.
void store_erased_jobs(struct store *s, const struct store_erased *e,
                       struct store_job **jobs, size_t *count);

// Erase for good: see store_erase.h for what happens in which order, and after
// a crash. With `dry_run` only counts and calls. `fn` (may be NULL) is called
// for each version that is not retired yet; its result is ignored. Not inside
// store_begin(). The caller stops jobs that read them.
int store_record_erase(struct store *s, const struct store_filter *f,
                       bool dry_run, int64_t now_ms, struct store_erased *out,
                       store_used_by_fn fn, void *user, struct error *err);
