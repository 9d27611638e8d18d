// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/dbcall.h"
#include "daemon/fdio.h"
#include "daemon/record_filter.h"
#include "engine/base/hash.h"
#include "engine/base/str.h"
#include "ipc/rpc_record.h"

/*
 * Export
 *
 * One JSON object a line: id, uid, stream, kind, time, and the texts. The
 * database thread reads a page of records at a time and writes them; a pipe
 * whose other end takes nothing for a while ends the export, because everybody
 * else waits for that thread. An app's may keep them waiting for so long in
 * all.
 */

enum {
    PAGE_RECORDS = 4096,
    APP_PATIENCE_MS = 1000,
};

struct export
{
    int fd;
    struct str line;
    struct hash_state hash;
    int64_t records;
    int64_t bytes;
    int64_t last;
    int64_t in_page;
    int64_t left_ms;
    bool is_app;
    int rc;
    struct error err;
};

static void json_bytes(struct str *s, const char *key, struct codec_bytes text)
{
    str_printf(s, ",\"%s\":", key);
    str_json(s, text.data, text.bytes);
}

static void json_messages(struct str *s, const struct rpc_record *r)
{
    struct codec_bytes role;
    struct codec_bytes content;

    str_puts(s, ",\"messages\":[");
    for (uint32_t i = 0; rpc_record_message(r, i, &role, &content); i++) {
        str_puts(s, i ? ",{\"role\":" : "{\"role\":");
        str_json(s, role.data, role.bytes);
        json_bytes(s, "content", content);
        str_putc(s, '}');
    }
    str_putc(s, ']');
}

int record_export_json(struct str *s, const struct store_record *row)
{
    static const struct frame_limits limits = {
        .depth = FRAME_DEPTH,
        .objects = FRAME_OBJECTS_MAX,
        .bytes = FRAME_BYTES_MAX,
        .string_bytes = FRAME_STRING_BYTES_MAX,
    };
    struct rpc_record r = {.kind = (enum rpc_record_kind) row->kind};
    struct codec_doc doc;
    int rc = codec_decode(&doc, row->body, row->body_bytes, &limits, NULL);

    if (rc < 0)
        return rc;
    if ((rc = rpc_record_body_decode(&r, &doc.root, NULL)) < 0)
        goto out;
    str_clear(s);
    str_printf(s, "{\"id\":%lld,\"uid\":\"", (long long) row->id);
    for (size_t i = 0; i < sizeof(row->uid); i++)
        str_printf(s, "%02x", row->uid[i]);
    str_puts(s, "\",\"stream\":");
    str_json(s, row->stream, strlen(row->stream));
    str_printf(s, ",\"kind\":\"%s\",\"time\":%lld",
               rpc_record_kind_name(r.kind), (long long) row->time_ms);
    if (r.kind == RPC_RECORD_KIND_TEXT) {
        json_bytes(s, "text", r.text);
    } else if (r.kind != RPC_RECORD_KIND_CHAT) {
        json_bytes(s, "prompt", r.prompt);
        json_bytes(s, "completion", r.completion);
        if (r.kind == RPC_RECORD_KIND_FEEDBACK)
            str_printf(s, ",\"accepted\":%s", r.is_accepted ? "true" : "false");
    } else {
        json_messages(s, &r);
    }
    str_puts(s, "}\n");
    rc = str_finish(s);

out:
    codec_finish(&doc);
    return rc;
}

static int export_record(const struct store_record *row, void *user)
{
    struct export *x = user;

    x->in_page++;
    x->last = row->id;
    x->rc = record_export_json(&x->line, row);
    if (x->rc < 0)
        x->rc =
            error_set(&x->err, -EUCLEAN, "record %lld is damaged in the store",
                      (long long) row->id);
    else
        x->rc = fdio_write_within(x->fd, x->line.data, x->line.bytes,
                                  x->is_app ? &x->left_ms : NULL, &x->err);
    if (x->rc < 0)
        return 1;
    hash_update(&x->hash, x->line.data, x->line.bytes);
    x->records++;
    x->bytes += (int64_t) x->line.bytes;
    return 0;
}

static int export_all(struct store *s, struct dbcall *c, struct export *x,
                      struct error *err)
{
    struct record_filter f;
    int rc = record_filter_init(&f, c->r, err);

    if (rc < 0)
        return rc;
    do {
        x->in_page = 0;
        rc = store_record_each(s, &f.filter, x->last, PAGE_RECORDS, true,
                               export_record, x, err);
    } while (rc == 0 && x->in_page == PAGE_RECORDS);
    record_filter_finish(&f);
    if (x->rc < 0)
        return error_set(err, x->rc, "%s", x->err.text);
    return rc < 0 ? rc : 0;
}

static int run_export(struct store *s, struct dbcall *c, struct error *err)
{
    struct export x = {.fd = request_fd(c->r),
                       .left_ms = APP_PATIENCE_MS,
                       .is_app = !request_is_owner(c->r)};
    uint8_t digest[HASH_BYTES];
    char hex[HASH_HEX];

    hash_init(&x.hash);
    int rc = fdio_check_writable(x.fd, err);
    if (rc == 0)
        rc = export_all(s, c, &x, err);
    str_free(&x.line);
    if (rc < 0)
        return rc;
    hash_final(&x.hash, digest);
    hash_to_hex(hex, digest);
    encoder_put_int(&c->out, "records", x.records);
    encoder_put_int(&c->out, "bytes", x.bytes);
    encoder_put_cstr(&c->out, "sha256", hex);
    return 0;
}

void record_export(struct pockd *p, struct request *r)
{
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_ALONE,
                                         .run = run_export});
}
