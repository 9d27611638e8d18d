// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Records for a worker
 *
 * The bytes in which pockd hands text to a worker: a header of 64 bytes
 * (magic, count, payload length, SHA-256 of the payload), then one msgpack map
 * for each record. WORKER.md has the layout. Here are the writer, which fills
 * a buffer, and the reader, which checks everything before it gives out the
 * first record; both are bytes in, bytes out.
 */

#include "engine/base/str.h"

#include <stddef.h>
#include <stdint.h>

struct error;

enum worker_record_kind {
    WORKER_RECORD_TEXT, // one text
    WORKER_RECORD_PAIR, // prompt and completion: the completion is learned
    WORKER_RECORD_CHAT, // turns with roles: what the assistant says is learned
    WORKER_RECORD_REJECTED, // a pair that was shown, and not accepted
    WORKER_RECORD_ACCEPTED, // or was
};

enum worker_role {
    WORKER_ROLE_SYSTEM,
    WORKER_ROLE_USER,
    WORKER_ROLE_ASSISTANT,
};

enum {
    WORKER_TURNS_MAX = 1024,
    WORKER_RECORD_BYTES_MAX = 1 << 20, // all texts of one record
    WORKER_STREAM_MAX = 128,           // bytes of a stream's name
    WORKER_RECORDS_HEADER = 64,        // bytes
};

#define WORKER_RECORDS_BYTES_MAX ((size_t) 256 << 20)

struct worker_turn {
    enum worker_role role;
    const char *text; // UTF-8, not NUL-terminated
    size_t bytes;
};

// TEXT has one turn (its role does not count). PAIR has two (user, assistant);
// as a prompt for generation, one.
struct worker_record {
    uint64_t id;
    int64_t time_ms; // since 1970, UTC
    const char *stream;
    enum worker_record_kind kind;
    uint32_t n_turns;
    const struct worker_turn *turns;
};

/*
 * Writer: `struct worker_records_writer w = {0};`, add, finish, copy
 * w.out.data (w.out.bytes of it) to a memfd and seal it, free.
 * -EINVAL names what is wrong with a record; it is left out then and the
 * writer may go on.
 */
struct worker_records_writer {
    struct str out;
    uint32_t count;
};

int worker_records_add(struct worker_records_writer *w,
                       const struct worker_record *r, struct error *err);
// Fills the header in.
int worker_records_finish(struct worker_records_writer *w, struct error *err);
void worker_records_free(struct worker_records_writer *w);

/*
 * Reader: borrows `data` until destroy. -EPROTO with a sentence when anything
 * is not as promised: count, length, hash, UTF-8, sizes, kinds, roles.
 */
struct worker_records;

int worker_records_open(struct worker_records **out, const void *data,
                        size_t bytes, struct error *err);
void worker_records_destroy(struct worker_records *r);
uint32_t worker_records_count(const struct worker_records *r);
// Valid until destroy. NULL when `i` is past the end.
const struct worker_record *worker_records_get(const struct worker_records *r,
                                               uint32_t i);
