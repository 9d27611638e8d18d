// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/record_pack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/fdio.h"
#include "engine/base/arena.h"
#include "engine/base/fault.h"
#include "engine/base/hash.h"
#include "engine/base/json.h"
#include "ipc/rpc_record.h"

enum {
    HELD_OUT_BELOW = 26, // first byte of the hash; the worker's rule
    PROBE_BYTES_MAX = 4 << 20,
    PROBE_ARENA_BYTES = 1 << 20,
};

void record_pack_finish(struct record_pack *k)
{
    worker_records_free(&k->writer);
    free(k->ids);
    k->ids = NULL;
    k->count = k->size = 0;
}

static int remember_id(struct record_pack *k, int64_t id)
{
    if (k->count == k->size) {
        size_t size = k->size ? 2 * k->size : 256;
        int64_t *more = fault_realloc(k->ids, size * sizeof(*more));
        if (!more)
            return -ENOMEM;
        k->ids = more;
        k->size = size;
    }
    k->ids[k->count++] = id;
    return 0;
}

static int add(struct record_pack *k, const struct worker_record *r,
               struct error *err)
{
    int rc = worker_records_add(&k->writer, r, err);

    if (rc < 0)
        return rc;
    rc = remember_id(k, (int64_t) r->id);
    return rc < 0 ? error_set(err, rc, "out of memory") : 0;
}

int record_pack_text(struct record_pack *k, struct codec_bytes text,
                     struct error *err)
{
    struct worker_turn turn = {.role = WORKER_ROLE_USER,
                               .text = text.data,
                               .bytes = text.bytes};

    return add(k,
               &(struct worker_record){.id = k->count,
                                       .stream = "request",
                                       .kind = WORKER_RECORD_TEXT,
                                       .n_turns = 1,
                                       .turns = &turn},
               err);
}

int record_pack_pair(struct record_pack *k, struct codec_bytes prompt,
                     struct codec_bytes completion, struct error *err)
{
    struct worker_turn turns[] = {
        {WORKER_ROLE_USER, prompt.data, prompt.bytes},
        {WORKER_ROLE_ASSISTANT, completion.data, completion.bytes},
    };

    return add(k,
               &(struct worker_record){.id = k->count,
                                       .stream = "request",
                                       .kind = WORKER_RECORD_PAIR,
                                       .n_turns = completion.data ? 2 : 1,
                                       .turns = turns},
               err);
}

static enum worker_role role_of(struct codec_bytes name)
{
    if (codec_bytes_equal(name, "assistant"))
        return WORKER_ROLE_ASSISTANT;
    return codec_bytes_equal(name, "system") ? WORKER_ROLE_SYSTEM
                                             : WORKER_ROLE_USER;
}

int record_pack_chat(struct record_pack *k, const msgpack_object *messages,
                     struct error *err)
{
    struct worker_turn turns[RPC_RECORD_MESSAGES_MAX];
    struct rpc_record r = {.kind = RPC_RECORD_KIND_CHAT, .messages = messages};
    uint32_t n = 0;
    struct codec_bytes role;
    struct codec_bytes text;

    for (;
         n < RPC_RECORD_MESSAGES_MAX && rpc_record_message(&r, n, &role, &text);
         n++)
        turns[n] = (struct worker_turn){role_of(role), text.data, text.bytes};
    return add(k,
               &(struct worker_record){.id = k->count,
                                       .stream = "request",
                                       .kind = WORKER_RECORD_CHAT,
                                       .n_turns = n,
                                       .turns = turns},
               err);
}

// The turns of a stored record. Returns their number.
static uint32_t turns_of(struct worker_turn *turns, const struct rpc_record *r)
{
    struct codec_bytes role;
    struct codec_bytes text;
    uint32_t n = 0;

    if (r->kind == RPC_RECORD_KIND_TEXT) {
        turns[0] =
            (struct worker_turn){WORKER_ROLE_USER, r->text.data, r->text.bytes};
        return 1;
    }
    if (r->kind != RPC_RECORD_KIND_CHAT) {
        turns[0] = (struct worker_turn){WORKER_ROLE_USER, r->prompt.data,
                                        r->prompt.bytes};
        turns[1] =
            (struct worker_turn){WORKER_ROLE_ASSISTANT, r->completion.data,
                                 r->completion.bytes};
        return 2;
    }
    for (;
         n < RPC_RECORD_MESSAGES_MAX && rpc_record_message(r, n, &role, &text);
         n++)
        turns[n] = (struct worker_turn){role_of(role), text.data, text.bytes};
    return n;
}

static bool is_held_out(const struct worker_turn *turns, uint32_t n)
{
    struct hash_state h;
    uint8_t digest[HASH_BYTES];

    hash_init(&h);
    for (uint32_t i = 0; i < n; i++)
        hash_update(&h, turns[i].text, turns[i].bytes);
    hash_final(&h, digest);
    return digest[0] < HELD_OUT_BELOW;
}

struct gathering {
    struct record_pack *k;
    int64_t limit;
    bool held_out;
    int rc;
    struct error *err;
};

static enum worker_record_kind kind_of(const struct rpc_record *r)
{
    switch (r->kind) {
    case RPC_RECORD_KIND_TEXT:
        return WORKER_RECORD_TEXT;
    case RPC_RECORD_KIND_PAIR:
        return WORKER_RECORD_PAIR;
    case RPC_RECORD_KIND_FEEDBACK:
        return r->is_accepted ? WORKER_RECORD_ACCEPTED : WORKER_RECORD_REJECTED;
    case RPC_RECORD_KIND_CHAT:
        break;
    }
    return WORKER_RECORD_CHAT;
}

static int compare_ids(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *) a;
    const int64_t y = *(const int64_t *) b;

    return (x > y) - (x < y);
}

static bool has_id(const int64_t *ids, size_t n, int64_t id)
{
    return n > 0 && bsearch(&id, ids, n, sizeof(id), compare_ids) != NULL;
}

static bool is_wanted(const struct record_pack *k, int64_t id)
{
    return (!k->only || has_id(k->only, k->n_only, id)) &&
           !has_id(k->skip, k->n_skip, id);
}

static int gather_record(const struct store_record *row, void *user)
{
    static const struct frame_limits limits = {
        .depth = FRAME_DEPTH,
        .objects = FRAME_OBJECTS_MAX,
        .bytes = FRAME_BYTES_MAX,
        .string_bytes = FRAME_STRING_BYTES_MAX,
    };
    struct gathering *g = user;
    struct worker_turn turns[RPC_RECORD_MESSAGES_MAX];
    struct rpc_record r = {.kind = (enum rpc_record_kind) row->kind};
    struct codec_doc doc;

    if (!is_wanted(g->k, row->id))
        return 0;
    if (g->limit > 0 && (int64_t) g->k->count >= g->limit)
        return 1;
    // A record that cannot be read any more is left out, not a reason to fail
    // every night from now on.
    if (codec_decode(&doc, row->body, row->body_bytes, &limits, NULL) < 0)
        return 0;
    if (rpc_record_body_decode(&r, &doc.root, NULL) == 0) {
        uint32_t n = turns_of(turns, &r);
        if (!g->held_out || is_held_out(turns, n))
            g->rc = add(g->k,
                        &(struct worker_record){.id = (uint64_t) row->id,
                                                .time_ms = row->time_ms,
                                                .stream = row->stream,
                                                .kind = kind_of(&r),
                                                .n_turns = n,
                                                .turns = turns},
                        g->err);
    }
    codec_finish(&doc);
    return g->rc < 0 ? 1 : 0;
}

int record_pack_store(struct record_pack *k, struct store *s,
                      const struct store_filter *f, int64_t limit,
                      bool held_out, struct error *err)
{
    struct gathering g = {.k = k,
                          .limit = limit,
                          .held_out = held_out,
                          .err = err};
    int rc = store_record_each(s, f, 0, 0, true, gather_record, &g, err);

    if (g.rc < 0)
        return g.rc;
    return rc < 0 ? rc : 0;
}

static int probe_line(struct record_pack *k, struct arena *a, const char *line,
                      size_t bytes, struct error *err)
{
    const struct json *j;
    int rc = json_parse(&j, a, line, bytes, err);
    const struct json *text = rc == 0 ? json_get(j, "text") : NULL;

    if (rc < 0)
        return rc;
    if (!text || text->type != JSON_STRING || text->bytes == 0)
        return error_set(err, -EINVAL, "there is no text");
    return record_pack_text(k, (struct codec_bytes){text->text, text->bytes},
                            err);
}

int record_pack_probe(struct record_pack *k, const char *path,
                      struct error *err)
{
    char *text = NULL;
    size_t bytes = 0;
    unsigned number = 1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return error_set(err, -errno, "cannot read the probe %s: %s", path,
                         strerror(errno));
    int rc = fdio_read_all(&text, &bytes, fd, PROBE_BYTES_MAX, err);
    (void) close(fd);
    for (char *at = text; rc == 0 && at < text + bytes; number++) {
        char *nl = memchr(at, '\n', (size_t) (text + bytes - at));
        size_t n = (size_t) ((nl ? nl : text + bytes) - at);
        struct arena *a = NULL;
        if (n > 0 && (rc = arena_create(&a, PROBE_ARENA_BYTES)) == 0)
            rc = probe_line(k, a, at, n, err);
        arena_destroy(a);
        at += n + 1;
    }
    free(text);
    return rc < 0 ? error_prefix(err, rc, "probe %s line %u", path, number - 1)
                  : 0;
}

int record_pack_seal(struct record_pack *k, struct error *err)
{
    int rc = worker_records_finish(&k->writer, err);

    if (rc < 0)
        return rc;
    rc = fdio_seal("records", k->writer.out.data, k->writer.out.bytes);
    return rc < 0 ? error_set(err, rc, "cannot hand the records over: %s",
                              strerror(-rc))
                  : rc;
}
