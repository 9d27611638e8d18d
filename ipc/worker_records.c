// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "ipc/worker_records.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/hash.h"
#include "engine/base/utf8.h"
#include "ipc/codec.h"
#include "ipc/encoder.h"
#include "ipc/worker_proto.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const char magic[8] = {'p', 'o', 'c', 'k', 'r', 'e', 'c', '1'};

enum {
    AT_COUNT = 8,
    AT_ZERO = 12,
    AT_BYTES = 16,
    AT_HASH = 24,
    AT_END_ZERO = 56,
    RECORD_BYTES_MIN = 35, // empty stream, one empty turn
};

static void put_le(uint8_t *at, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        at[i] = (uint8_t) (v >> (8 * i));
}

static uint64_t get_le(const uint8_t *at, int bytes)
{
    uint64_t v = 0;

    for (int i = 0; i < bytes; i++)
        v |= (uint64_t) at[i] << (8 * i);
    return v;
}

/*
 * What holds for every record, on both sides
 */

static int check_turns(const struct worker_record *r, int code,
                       struct error *err)
{
    static const struct worker_turn none;
    const struct worker_turn *t = r->turns ? r->turns : &none;
    size_t bytes = 0;

    bool fits = r->kind == WORKER_RECORD_TEXT ? r->n_turns == 1
                : r->kind == WORKER_RECORD_PAIR
                    ? r->n_turns == 1 || r->n_turns == 2
                : r->kind == WORKER_RECORD_CHAT ? r->n_turns >= 1
                                                : r->n_turns == 2;
    if (!fits || r->n_turns > WORKER_TURNS_MAX)
        return error_set(err, code, "record %" PRIu64 " has %" PRIu32 " turns",
                         r->id, r->n_turns);
    for (uint32_t i = 0; i < r->n_turns; i++) {
        if ((unsigned) t[i].role > WORKER_ROLE_ASSISTANT)
            return error_set(err, code,
                             "record %" PRIu64 " has an unknown role", r->id);
        if (!utf8_is_valid(t[i].text, t[i].bytes))
            return error_set(err, code, "record %" PRIu64 " is not UTF-8",
                             r->id);
        bytes += t[i].bytes;
        if (bytes > WORKER_RECORD_BYTES_MAX)
            return error_set(err, code,
                             "record %" PRIu64 " is longer than %d bytes",
                             r->id, WORKER_RECORD_BYTES_MAX);
    }
    if (r->kind != WORKER_RECORD_TEXT && r->kind != WORKER_RECORD_CHAT &&
        (t[0].role != WORKER_ROLE_USER ||
         (r->n_turns == 2 && t[1].role != WORKER_ROLE_ASSISTANT)))
        return error_set(err, code,
                         "record %" PRIu64 " is a pair, but its roles are not "
                         "user and assistant",
                         r->id);
    return 0;
}

/*
 * Writer
 */

static void encode_record(struct encoder *e, const struct worker_record *r)
{
    const char *stream = r->stream ? r->stream : "";

    encoder_open_map(e);
    encoder_put_int(e, "id", (int64_t) r->id);
    encoder_put_int(e, "time", r->time_ms);
    encoder_put_str(e, "stream", stream, strlen(stream));
    encoder_put_int(e, "kind", r->kind);
    encoder_put_array(e, "turns");
    for (uint32_t i = 0; i < r->n_turns; i++) {
        encoder_open_array(e);
        encoder_int(e, r->turns[i].role);
        encoder_str(e, r->turns[i].text, r->turns[i].bytes);
        encoder_close(e);
    }
    encoder_close(e);
    encoder_close(e);
}

static int begin(struct worker_records_writer *w)
{
    static const char zeros[WORKER_RECORDS_HEADER];

    if (w->out.bytes > 0)
        return 0;
    w->out.limit = WORKER_RECORDS_BYTES_MAX;
    str_append(&w->out, zeros, sizeof(zeros));
    return str_finish(&w->out);
}

int worker_records_add(struct worker_records_writer *w,
                       const struct worker_record *r, struct error *err)
{
    struct encoder e;
    int rc;

    if (r->id > INT64_MAX)
        return error_set(err, -EINVAL, "the id of a record is too large");
    if ((unsigned) r->kind > WORKER_RECORD_ACCEPTED)
        return error_set(err, -EINVAL, "record %" PRIu64 " is of no kind",
                         r->id);
    if (r->stream && strlen(r->stream) > WORKER_STREAM_MAX)
        return error_set(err, -EINVAL,
                         "record %" PRIu64 " has a stream name of more than "
                         "%d bytes",
                         r->id, WORKER_STREAM_MAX);
    if ((rc = check_turns(r, -EINVAL, err)) < 0)
        return rc;
    if (w->count == WORKER_RECORDS_MAX)
        return error_set(err, -E2BIG, "more than %d records for one worker",
                         WORKER_RECORDS_MAX);
    if ((rc = begin(w)) < 0)
        return error_set(err, rc, "no memory for records");

    encoder_init(&e, WORKER_RECORD_BYTES_MAX + (64 << 10));
    encode_record(&e, r);
    if ((rc = encoder_finish(&e)) < 0) {
        (void) error_set(err, rc, "record %" PRIu64 " cannot be encoded: %s",
                         r->id, strerror(-rc));
        goto out;
    }
    if (w->out.bytes + e.bytes > WORKER_RECORDS_BYTES_MAX) {
        rc = error_set(err, -E2BIG,
                       "more than %zu bytes of records for one "
                       "worker",
                       WORKER_RECORDS_BYTES_MAX);
        goto out;
    }
    str_append(&w->out, e.data, e.bytes);
    if ((rc = str_finish(&w->out)) < 0) {
        (void) error_set(err, rc, "no memory for records");
        goto out;
    }
    w->count++;

out:
    encoder_destroy(&e);
    return rc;
}

int worker_records_finish(struct worker_records_writer *w, struct error *err)
{
    int rc = begin(w);
    if (rc < 0 || (rc = str_finish(&w->out)) < 0)
        return error_set(err, rc, "no memory for records");

    uint8_t *h = (uint8_t *) w->out.data;
    size_t bytes = w->out.bytes - WORKER_RECORDS_HEADER;
    memcpy(h, magic, sizeof(magic));
    put_le(h + AT_COUNT, w->count, 4);
    put_le(h + AT_BYTES, bytes, 8);
    hash_bytes(h + AT_HASH, h + WORKER_RECORDS_HEADER, bytes);
    return 0;
}

void worker_records_free(struct worker_records_writer *w)
{
    if (w->out.data)
        explicit_bzero(w->out.data, w->out.bytes);
    str_free(&w->out);
    *w = (struct worker_records_writer){0};
}

/*
 * Reader. Turns and stream names live in chunks that are never moved.
 */

struct chunk {
    struct chunk *next;
    _Alignas(16) char data[];
};

struct worker_records {
    struct worker_record *items;
    uint32_t count;
    struct chunk *chunks;
};

static void *chunk_alloc(struct worker_records *r, size_t bytes)
{
    struct chunk *c = fault_calloc(1, sizeof(*c) + bytes);
    if (!c)
        return NULL;
    c->next = r->chunks;
    r->chunks = c;
    return c->data;
}

static int check_header(const uint8_t *p, size_t bytes, uint32_t *count,
                        struct error *err)
{
    uint8_t digest[HASH_BYTES];

    if (bytes < WORKER_RECORDS_HEADER)
        return error_set(err, -EPROTO,
                         "records: %zu bytes are less than a "
                         "header",
                         bytes);
    if (memcmp(p, magic, sizeof(magic)) != 0)
        return error_set(err, -EPROTO, "records: no magic at the beginning");
    size_t payload = bytes - WORKER_RECORDS_HEADER;
    if (get_le(p + AT_BYTES, 8) != payload)
        return error_set(err, -EPROTO,
                         "records: the header says %" PRIu64
                         " bytes, but there are %zu",
                         get_le(p + AT_BYTES, 8), payload);
    if (get_le(p + AT_ZERO, 4) || get_le(p + AT_END_ZERO, 8))
        return error_set(err, -EPROTO,
                         "records: the header is not zero where "
                         "it must be");
    uint64_t n = get_le(p + AT_COUNT, 4);
    // This also bounds the allocation.
    if (n > WORKER_RECORDS_MAX || n > payload / RECORD_BYTES_MIN)
        return error_set(err, -EPROTO,
                         "records: %" PRIu64 " of them do not fit %zu bytes", n,
                         payload);
    hash_bytes(digest, p + WORKER_RECORDS_HEADER, payload);
    if (memcmp(digest, p + AT_HASH, HASH_BYTES) != 0)
        return error_set(err, -EPROTO, "records: the hash does not match");
    *count = (uint32_t) n;
    return 0;
}

static int decode_turns(struct worker_records *all, struct worker_record *r,
                        const msgpack_object *list, struct error *err)
{
    uint32_t n = codec_count(list);
    struct codec_bytes text;
    int64_t role;

    if (n > WORKER_TURNS_MAX)
        return error_set(err, -EPROTO,
                         "record %" PRIu64 " has %" PRIu32 " turns", r->id, n);
    struct worker_turn *turns = chunk_alloc(all, (n ? n : 1) * sizeof(*turns));
    if (!turns)
        return error_set(err, -ENOMEM, "records: no memory for turns");
    for (uint32_t i = 0; i < n; i++) {
        const msgpack_object *turn = codec_at(list, i);
        if (turn->type != MSGPACK_OBJECT_ARRAY || codec_count(turn) != 2 ||
            !codec_as_int(codec_at(turn, 0), &role) || role < 0 ||
            role > WORKER_ROLE_ASSISTANT ||
            codec_at(turn, 1)->type != MSGPACK_OBJECT_STR)
            return error_set(err, -EPROTO,
                             "record %" PRIu64 ": turn %" PRIu32
                             " is not a role and a text",
                             r->id, i);
        (void) codec_as_str(codec_at(turn, 1), &text);
        turns[i] = (struct worker_turn){.role = (enum worker_role) role,
                                        .text = text.data,
                                        .bytes = text.bytes};
    }
    r->turns = turns;
    r->n_turns = n;
    return check_turns(r, -EPROTO, err);
}

static int decode_record(struct worker_records *all, struct worker_record *r,
                         const msgpack_object *o, struct error *err)
{
    const msgpack_object *turns;
    struct codec_bytes stream;
    int64_t id, time_ms, kind;

    if (codec_count(o) != 5 || o->type != MSGPACK_OBJECT_MAP)
        return error_set(err, -EPROTO, "has not the five keys of a record");
    if (codec_get_int(o, "id", 0, INT64_MAX, &id, err) ||
        codec_get_int(o, "time", INT64_MIN, INT64_MAX, &time_ms, err) ||
        codec_get_int(o, "kind", 0, WORKER_RECORD_ACCEPTED, &kind, err) ||
        codec_get_str(o, "stream", &stream, err) ||
        codec_get_array(o, "turns", &turns, err))
        return error_set(err, -EPROTO,
                         "lacks a key of a record, or its value "
                         "is of another type");
    if (stream.bytes > WORKER_STREAM_MAX ||
        memchr(stream.data, 0, stream.bytes))
        return error_set(err, -EPROTO, "has a stream name that is none");
    char *name = chunk_alloc(all, stream.bytes + 1);
    if (!name)
        return error_set(err, -ENOMEM, "records: no memory for names");
    memcpy(name, stream.data, stream.bytes);

    r->id = (uint64_t) id;
    r->time_ms = time_ms;
    r->kind = (enum worker_record_kind) kind;
    r->stream = name;
    return decode_turns(all, r, turns, err);
}

static int decode_all(struct worker_records *all, const uint8_t *p, size_t left,
                      struct error *err)
{
    static const struct frame_limits limits = {
        .depth = 4,
        .objects = 4 * WORKER_TURNS_MAX,
        .bytes = WORKER_RECORD_BYTES_MAX + (64 << 10),
        .string_bytes = WORKER_RECORD_BYTES_MAX,
    };

    for (uint32_t i = 0; i < all->count; i++) {
        struct codec_doc doc;
        ptrdiff_t n = left ? frame_check(p, left, &limits) : FRAME_MORE;
        if (n <= 0)
            return error_set(err, -EPROTO,
                             "records: record %" PRIu32 " of %" PRIu32 " %s",
                             i + 1, all->count,
                             n == FRAME_MORE ? "is cut off"
                                             : frame_status_text(n));
        int rc = codec_decode(&doc, p, (size_t) n, &limits, err);
        if (rc == 0) {
            rc = decode_record(all, &all->items[i], &doc.root, err);
            codec_finish(&doc);
        }
        if (rc < 0)
            return error_prefix(err, rc,
                                "records: record %" PRIu32 " of %" PRIu32,
                                i + 1, all->count);
        p += n;
        left -= (size_t) n;
    }
    if (left > 0)
        return error_set(err, -EPROTO, "records: %zu bytes after the last one",
                         left);
    return 0;
}

int worker_records_open(struct worker_records **out, const void *data,
                        size_t bytes, struct error *err)
{
    struct worker_records *r = NULL;
    uint32_t count = 0;
    int rc;

    if ((rc = check_header(data, bytes, &count, err)) < 0)
        return rc;
    r = fault_calloc(1, sizeof(*r));
    if (!r)
        return error_set(err, -ENOMEM, "records: no memory");
    r->count = count;
    r->items = fault_calloc(count ? count : 1, sizeof(*r->items));
    if (!r->items) {
        rc = error_set(err, -ENOMEM, "records: no memory");
        goto error;
    }
    if ((rc = decode_all(r, (const uint8_t *) data + WORKER_RECORDS_HEADER,
                         bytes - WORKER_RECORDS_HEADER, err)) < 0)
        goto error;
    *out = r;
    return 0;

error:
    worker_records_destroy(r);
    return rc;
}

void worker_records_destroy(struct worker_records *r)
{
    if (!r)
        return;
    while (r->chunks) {
        struct chunk *c = r->chunks;
        r->chunks = c->next;
        free(c);
    }
    free(r->items);
    free(r);
}

uint32_t worker_records_count(const struct worker_records *r)
{
    return r->count;
}

const struct worker_record *worker_records_get(const struct worker_records *r,
                                               uint32_t i)
{
    return i < r->count ? &r->items[i] : NULL;
}
