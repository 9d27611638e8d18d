// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "daemon/adapter_transfer.h"
#include "daemon/consent.h"
#include "daemon/dbcall.h"
#include "daemon/events.h"
#include "daemon/handlers.h"
#include "daemon/record_filter.h"
#include "daemon/redaction.h"
#include "daemon/training.h"
#include "engine/base/clock.h"
#include "engine/base/fault.h"
#include "engine/base/utf8.h"
#include "ipc/rpc_record.h"
#include "storage/store_job.h"
#include "storage/store_record.h"

enum {
    GET_BYTES_MAX = 768 << 10, // texts of one answer of data.get
    APP_RESERVE_MIB = 64,      // of the disk, that apps leave alone
    PREVIEW_CHARS = 80,
    LIST_DEFAULT = 100,
};

// Records of one request, checked on the loop thread.
struct put {
    char app[STORE_NAME_SIZE];
    bool is_owner;
    bool may_create;
    bool is_single;
    struct redaction redaction;
    size_t count;
    struct rpc_record records[];
};

static void name_copy(char to[STORE_NAME_SIZE], struct codec_bytes from)
{
    size_t n = from.bytes < STORE_NAME_SIZE ? from.bytes : STORE_NAME_SIZE - 1;

    memcpy(to, from.data, n);
    to[n] = '\0';
}

static int find_stream(struct store *s, const struct put *put,
                       struct codec_bytes name, int64_t now_ms, int64_t *id,
                       struct error *err)
{
    char text[STORE_NAME_SIZE];

    name_copy(text, name);
    if (put->may_create)
        return store_stream_make(s, put->app, text, now_ms, id, err);
    int rc = store_stream_find(s, put->app, text, id, err);
    return rc == -ENOENT
               ? error_set(err, rc,
                           "cannot store the record: there is no stream %s: "
                           "make it with create_stream",
                           text)
               : rc;
}

// One body buffer serves all records of a request.
static int put_record(struct store *s, struct encoder *body,
                      const struct rpc_record *in, int64_t stream_id,
                      int64_t now_ms, int64_t *id, bool *is_new,
                      struct error *err)
{
    struct store_record row = {
        .stream_id = stream_id,
        .kind = (uint32_t) in->kind,
        .time_ms = in->time_ms,
        .added_ms = now_ms,
        .bytes = (int64_t) in->bytes,
    };

    encoder_reset(body);
    rpc_record_body_encode(body, in);
    int rc = encoder_finish(body);
    if (rc < 0)
        return error_set(err, rc, "cannot encode the record");
    memcpy(row.uid, in->uid, sizeof(row.uid));
    row.body = body->data;
    row.body_bytes = body->bytes;
    return store_record_put(s, &row, id, is_new, err);
}

// What became of what the records held, where there was something.
static void put_redacted(struct encoder *e, const struct redaction *r)
{
    if (r->redacted > 0) {
        encoder_put_map(e, "redacted");
        for (int k = 0; k < REDACT_CLASSES; k++)
            if (r->counts.found[k])
                encoder_put_int(e, redact_class_name((enum redact_class) k),
                                r->counts.found[k]);
        encoder_close(e);
    }
    if (r->dropped > 0)
        encoder_put_int(e, "dropped", r->dropped);
}

// The stream of the record before is not looked up again.
static int put_one(struct store *s, struct put *put, struct encoder *body,
                   const struct rpc_record *r, struct codec_bytes *stream,
                   int64_t *stream_id, int64_t *id, bool *is_new,
                   struct error *err)
{
    const int64_t now_ms = clock_unix_ms();
    struct rpc_record clean;
    int rc = redaction_apply(&put->redaction, &clean, r, err);

    if (rc != 0)
        return rc < 0 ? rc : 0;
    if (stream->bytes != r->stream.bytes ||
        memcmp(stream->data, r->stream.data, stream->bytes) != 0) {
        if ((rc = find_stream(s, put, r->stream, now_ms, stream_id, err)) < 0)
            return rc;
        *stream = r->stream;
    }
    return put_record(s, body, &clean, *stream_id, now_ms, id, is_new, err);
}

static int put_all(struct store *s, struct dbcall *c, struct encoder *body,
                   struct error *err)
{
    struct put *put = c->data;
    struct codec_bytes stream = {"", 0};
    int64_t stream_id = 0;
    int64_t new_count = 0;

    redaction_reset(&put->redaction);
    if (!put->is_single)
        encoder_put_array(&c->out, "ids");
    for (size_t i = 0; i < put->count; i++) {
        int64_t id = 0;
        bool is_new = false;
        int rc = put_one(s, put, body, &put->records[i], &stream, &stream_id,
                         &id, &is_new, err);

        if (rc < 0) {
            c->index = put->is_single ? -1 : (int64_t) i;
            return rc;
        }
        new_count += is_new;
        if (put->is_single) {
            encoder_put_int(&c->out, "id", id);
            encoder_put_bool(&c->out, "new", is_new);
        } else {
            encoder_int(&c->out, id);
        }
    }
    if (!put->is_single) {
        encoder_close(&c->out);
        encoder_put_int(&c->out, "new", new_count);
    }
    put_redacted(&c->out, &put->redaction);
    c->number[0] = new_count;
    c->audited = new_count;
    return 0;
}

// An app that fills the disk must leave room to revoke and erase.
static int check_room(const struct dbcall *c, struct error *err)
{
    const struct put *put = c->data;
    struct statvfs fs;

    if (put->is_owner || statvfs(c->p->paths.state, &fs) < 0 ||
        (uint64_t) fs.f_bavail * fs.f_frsize >= (uint64_t) APP_RESERVE_MIB
                                                    << 20)
        return 0;
    return error_set(err, -ENOSPC,
                     "less than %d MiB of the disk are left, which are the "
                     "owner's",
                     APP_RESERVE_MIB);
}

static int run_put(struct store *s, struct dbcall *c, struct error *err)
{
    struct encoder body;
    int rc = check_room(c, err);

    if (rc < 0)
        return rc;
    encoder_init(&body, 0);
    rc = put_all(s, c, &body, err);
    encoder_destroy(&body);
    return rc;
}

static void after_put(struct dbcall *c)
{
    if (c->number[0] == 0)
        return;
    events_records_added(c->p, c->number[0]);
    facts_refresh(c->p);
}

static void free_put(void *data)
{
    struct put *put = data;

    redaction_finish(&put->redaction);
    free(put);
}

static void fail_record(struct request *r, int rc, const struct error *err,
                        int64_t index)
{
    enum rpc_error code =
        rc == -EACCES ? RPC_ERROR_NOT_CONSENTED : rpc_error_from_errno(rc);
    struct encoder *e = request_begin_error(r, code, err->text, 0);

    if (index >= 0)
        encoder_put_int(e, "index", index);
    if (rc == -E2BIG)
        encoder_put_int(e, "limit", RPC_RECORD_BYTES_MAX);
    request_end(r);
}

static void put(struct pockd *p, struct request *r, const msgpack_object *list,
                const msgpack_object *single)
{
    size_t count = single ? 1 : codec_count(list);
    struct error err = {0};
    struct put *put;

    if (p->is_degraded) {
        request_fail(r, RPC_ERROR_DB, "%s", p->problem);
        return;
    }
    put = fault_calloc(1, sizeof(*put) + count * sizeof(put->records[0]));
    if (!put) {
        request_fail(r, RPC_ERROR_BUSY, "out of memory");
        return;
    }
    snprintf(put->app, sizeof(put->app), "%s", request_app(r));
    put->is_owner = request_is_owner(r);
    put->may_create = codec_bool(request_params(r), "create_stream", false);
    put->is_single = single != NULL;
    put->count = count;
    int rc = redaction_init(&put->redaction, &p->policy, &err);
    if (rc < 0) {
        free_put(put);
        request_fail(r, RPC_ERROR_INTERNAL, "policy: %s", err.text);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const msgpack_object *map =
            single ? single : codec_at(list, (uint32_t) i);
        struct rpc_record *in = &put->records[i];
        rc = rpc_record_decode(in, map, &err);
        if (rc == 0)
            rc = consent_admits_record(p->consent, r, (uint32_t) in->kind,
                                       in->stream.data, in->stream.bytes, &err);
        if (rc < 0) {
            free_put(put);
            fail_record(r, rc, &err, single ? -1 : (int64_t) i);
            return;
        }
    }
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_WRITE,
                                         .run = run_put,
                                         .after = after_put,
                                         .data = put,
                                         .free_data = free_put});
}

void handle_data_put(struct pockd *p, struct request *r)
{
    put(p, r, NULL, codec_find(request_params(r), "record"));
}

void handle_data_put_many(struct pockd *p, struct request *r)
{
    put(p, r, codec_find(request_params(r), "records"), NULL);
}

struct listing {
    struct dbcall *c;
    bool has_preview;
    int64_t limit;
    int64_t count;
    int64_t last;
    bool has_more;
};

static bool decode_body(struct rpc_record *out, struct codec_doc *doc,
                        const struct store_record *r)
{
    static const struct frame_limits limits = {
        .depth = FRAME_DEPTH,
        .objects = FRAME_OBJECTS_MAX,
        .bytes = FRAME_BYTES_MAX,
        .string_bytes = FRAME_STRING_BYTES_MAX,
    };

    memset(out, 0, sizeof(*out));
    if (codec_decode(doc, r->body, r->body_bytes, &limits, NULL) < 0)
        return false;
    out->id = r->id;
    memcpy(out->uid, r->uid, sizeof(out->uid));
    out->kind = (enum rpc_record_kind) r->kind;
    out->stream = (struct codec_bytes){r->stream, strlen(r->stream)};
    out->time_ms = r->time_ms;
    if (rpc_record_body_decode(out, &doc->root, NULL) < 0) {
        codec_finish(doc);
        return false;
    }
    return true;
}

// The first characters, whole ones.
static void put_preview(struct encoder *e, struct codec_bytes text)
{
    size_t at = 0;

    for (int i = 0; i < PREVIEW_CHARS && at < text.bytes; i++) {
        size_t n = utf8_length((const unsigned char *) text.data + at,
                               text.bytes - at);
        if (n == 0)
            break;
        at += n;
    }
    encoder_put_str(e, "preview", text.data, at);
}

static void put_record_preview(struct encoder *e, const struct store_record *r)
{
    struct rpc_record record;
    struct codec_doc doc;
    struct codec_bytes role;
    struct codec_bytes text = {"", 0};

    if (!decode_body(&record, &doc, r))
        return;
    if (record.kind == RPC_RECORD_KIND_TEXT)
        text = record.text;
    else if (record.kind != RPC_RECORD_KIND_CHAT)
        text = record.completion;
    else
        (void) rpc_record_message(&record, codec_count(record.messages) - 1,
                                  &role, &text);
    put_preview(e, text);
    codec_finish(&doc);
}

static int list_record(const struct store_record *r, void *user)
{
    struct listing *l = user;
    struct encoder *e = &l->c->out;
    const char *kind = rpc_record_kind_name((enum rpc_record_kind) r->kind);

    if (l->count == l->limit) {
        l->has_more = true;
        return 1;
    }
    l->count++;
    l->last = r->id;
    encoder_open_map(e);
    encoder_put_int(e, "id", r->id);
    encoder_put_bin(e, "uid", r->uid, sizeof(r->uid));
    encoder_put_cstr(e, "stream", r->stream);
    encoder_put_cstr(e, "kind", kind ? kind : "unknown");
    encoder_put_int(e, "time", r->time_ms);
    encoder_put_int(e, "added", r->added_ms);
    encoder_put_int(e, "bytes", r->bytes);
    if (l->has_preview)
        put_record_preview(e, r);
    encoder_close(e);
    return 0;
}

static int run_list(struct store *s, struct dbcall *c, struct error *err)
{
    struct record_filter f;
    struct listing l = {
        .c = c,
        .has_preview = codec_bool(c->params, "preview", false),
        .limit = codec_int(c->params, "limit", LIST_DEFAULT),
    };
    int rc = record_filter_init(&f, c->r, err);

    if (rc < 0)
        return rc;
    encoder_put_array(&c->out, "records");
    rc = store_record_each(s, &f.filter, codec_int(c->params, "cursor", 0),
                           l.limit + 1, l.has_preview, list_record, &l, err);
    encoder_close(&c->out);
    if (rc >= 0 && l.has_more)
        encoder_put_int(&c->out, "next", l.last);
    c->audited = l.count;
    record_filter_finish(&f);
    return rc < 0 ? rc : 0;
}

void handle_data_list(struct pockd *p, struct request *r)
{
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_READ,
                                         .run = run_list});
}

struct getting {
    struct dbcall *c;
    bool is_found;
    bool is_bad;
};

static int get_record(const struct store_record *r, void *user)
{
    struct getting *g = user;
    struct rpc_record record;
    struct codec_doc doc;

    g->is_found = true;
    if (!decode_body(&record, &doc, r)) {
        g->is_bad = true;
        return 0;
    }
    rpc_record_encode(&g->c->out, &record);
    codec_finish(&doc);
    return 0;
}

// An app's own, or any for the owner: of another's nothing is told, not even
// that it is there.
static int get_one(struct store *s, struct getting *g, int64_t id,
                   struct error *err)
{
    const struct request *r = g->c->r;
    struct store_filter f = {
        .app = request_is_owner(r) ? NULL : request_app(r),
        .ids = &id,
        .n_ids = 1,
    };

    g->is_found = false;
    int rc = store_record_each(s, &f, 0, 1, true, get_record, g, err);
    if (rc >= 0 && !g->is_found)
        return error_set(err, -ENOENT, "there is no record %lld",
                         (long long) id);
    return rc < 0 ? rc : 0;
}

static int run_get(struct store *s, struct dbcall *c, struct error *err)
{
    const msgpack_object *ids = codec_find(c->params, "ids");
    struct getting g = {.c = c};
    uint32_t i = 0;

    encoder_put_array(&c->out, "records");
    for (; i < codec_count(ids) && c->out.bytes < GET_BYTES_MAX; i++) {
        int64_t id = 0;
        if (!codec_as_int(codec_at(ids, i), &id))
            return error_set(err, -EINVAL, "ids[%u] is no integer", i);
        int rc = get_one(s, &g, id, err);
        if (rc < 0)
            return rc;
        if (g.is_bad)
            return error_set(err, -EUCLEAN,
                             "record %lld is damaged in the store",
                             (long long) id);
    }
    encoder_close(&c->out);
    c->audited = i;
    if (i == codec_count(ids))
        return 0;
    encoder_put_array(&c->out, "rest");
    for (; i < codec_count(ids); i++)
        encoder_object(&c->out, codec_at(ids, i));
    encoder_close(&c->out);
    return 0;
}

void handle_data_get(struct pockd *p, struct request *r)
{
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_READ,
                                         .run = run_get});
}

static int count_stream(const struct store_stream *st, void *user)
{
    struct dbcall *c = user;

    c->number[0] += st->records;
    c->number[1] += st->bytes;
    record_stream_encode(&c->out, st);
    return 0;
}

static int run_count(struct store *s, struct dbcall *c, struct error *err)
{
    struct record_filter f;
    int rc = record_filter_init(&f, c->r, err);

    if (rc < 0)
        return rc;
    encoder_put_array(&c->out, "streams");
    rc = f.is_all && request_is_owner(c->r)
             ? store_record_count(s, NULL, count_stream, c, err)
             : store_record_count(s, &f.filter, count_stream, c, err);
    encoder_close(&c->out);
    encoder_put_int(&c->out, "records", c->number[0]);
    encoder_put_int(&c->out, "bytes", c->number[1]);
    record_filter_finish(&f);
    return rc;
}

void handle_data_count(struct pockd *p, struct request *r)
{
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_READ,
                                         .run = run_count});
}

struct used_by {
    struct dbcall *c;
    struct store *s;
};

// To the owner also what a merged version was merged of, if it will be again:
// an app is told of no adapter that did not learn from its records.
static int put_used_by(const struct store_used_by *u, void *user)
{
    const struct used_by *x = user;
    struct dbcall *c = x->c;

    encoder_open_map(&c->out);
    encoder_put_cstr(&c->out, "adapter", u->adapter);
    encoder_put_int(&c->out, "version", u->version);
    encoder_put_bool(&c->out, "active", u->is_active);
    if (u->is_merged_again && request_is_owner(c->r)) {
        encoder_put_array(&c->out, "merged_again");
        (void) store_merge_each(x->s, u->adapter_id, u->version,
                                adapter_put_part, &c->out, NULL);
        encoder_close(&c->out);
    }
    encoder_close(&c->out);
    c->number[1]++;
    return 0;
}

// What an erase leaves for the loop.
struct erase {
    struct pockd *p;
    struct store_job *jobs; // that learn again what remains
    size_t job_count;
};

static int erase_filter(struct record_filter *f, const struct dbcall *c,
                        struct error *err)
{
    int rc = record_filter_init(f, c->r, err);

    if (rc < 0 || !f->is_all || codec_bool(c->params, "all", false))
        return rc;
    record_filter_finish(f);
    return error_set(err, -EINVAL,
                     "nothing says which records: give a filter, or all: true");
}

static int run_erase(struct store *s, struct dbcall *c, struct error *err)
{
    bool dry_run = codec_bool(c->params, "dry_run", false);
    struct erase *e = c->data; // NULL in a dry run
    struct store_erased erased = {0};
    struct record_filter f;
    int rc = erase_filter(&f, c, err);

    if (rc < 0)
        return rc;
    encoder_put_array(&c->out, "used_by");
    rc = store_record_erase(s, &f.filter, dry_run, clock_unix_ms(), &erased,
                            put_used_by, &(struct used_by){c, s}, err);
    encoder_close(&c->out);
    encoder_put_int(&c->out, "records", erased.records);
    encoder_put_int(&c->out, "bytes", erased.bytes);
    encoder_put_int(&c->out, "jobs", erased.n_jobs);
    encoder_put_bool(&c->out, "done", !dry_run);
    if (rc == 0 && !dry_run)
        store_erased_jobs(s, &erased, &e->jobs, &e->job_count);
    c->number[0] = dry_run ? 0 : erased.records;
    c->audited = c->number[0];
    record_filter_finish(&f);
    return rc;
}

static void after_erase(struct dbcall *c)
{
    const struct erase *e = c->data;
    char text[96];

    training_take_in(c->p, e->jobs, e->job_count);
    if (c->number[0] == 0 && c->number[1] == 0)
        return;
    snprintf(text, sizeof(text),
             "%lld records were erased, %lld versions retired",
             (long long) c->number[0], (long long) c->number[1]);
    events_emit(c->p,
                &(struct event_params){.kind = "records_erased", .text = text});
    facts_refresh(c->p);
}

// Also when it failed: training was held for it.
static void erase_ended(void *arg)
{
    struct erase *e = arg;

    training_erase_ended(e->p);
    free(e->jobs);
    free(e);
}

static void start_erase(struct pockd *p, struct request *r)
{
    struct erase *e = calloc(1, sizeof(*e));

    if (!e) {
        training_erase_ended(p);
        request_fail(r, RPC_ERROR_BUSY, "out of memory");
        return;
    }
    e->p = p;
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_ALONE,
                                         .run = run_erase,
                                         .after = after_erase,
                                         .data = e,
                                         .free_data = erase_ended});
}

static int none_used_by(const struct store_used_by *u, void *user)
{
    struct dbcall *c = user;

    c->number[0]++;
    return 0;
}

// Is there anything to erase? The answer is for when there is not.
static int run_look(struct store *s, struct dbcall *c, struct error *err)
{
    struct store_erased found = {0};
    struct record_filter f;
    int rc = erase_filter(&f, c, err);

    if (rc < 0)
        return rc;
    rc = store_record_erase(s, &f.filter, true, clock_unix_ms(), &found,
                            none_used_by, c, err);
    record_filter_finish(&f);
    encoder_put_array(&c->out, "used_by");
    encoder_close(&c->out);
    encoder_put_int(&c->out, "records", 0);
    encoder_put_int(&c->out, "bytes", 0);
    encoder_put_int(&c->out, "jobs", 0);
    encoder_put_bool(&c->out, "done", true);
    c->number[0] += found.records;
    c->audited = 0;
    return rc;
}

static void after_look(struct dbcall *c)
{
    if (c->number[0] > 0)
        training_before_erase(c->p, dbcall_take(c), start_erase);
}

void handle_data_erase(struct pockd *p, struct request *r)
{
    // A job that reads the records is stopped first, and its checkpoint, which
    // was made of them, goes with it. Of who has none, that stops nothing.
    if (codec_bool(request_params(r), "dry_run", false))
        dbcall_start(p, r,
                     &(struct dbcall_params){.kind = DBTHREAD_ALONE,
                                             .run = run_erase});
    else if (!request_is_owner(r))
        dbcall_start(p, r,
                     &(struct dbcall_params){.kind = DBTHREAD_ALONE,
                                             .run = run_look,
                                             .after = after_look});
    else
        training_before_erase(p, r, start_erase);
}

void handle_data_export(struct pockd *p, struct request *r)
{
    record_export(p, r);
}
