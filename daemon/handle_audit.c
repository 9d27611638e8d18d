// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>

#include "daemon/dbcall.h"
#include "daemon/handlers.h"
#include "engine/base/hash.h"
#include "storage/store_audit.h"

enum { LIST_DEFAULT = 100 };

static int put_entry(const struct store_audit *a, void *user)
{
    struct encoder *e = user;

    encoder_open_map(e);
    if (a->id)
        encoder_put_int(e, "id", a->id);
    encoder_put_int(e, "time", a->time_ms);
    encoder_put_int(e, "until", a->until_ms);
    encoder_put_int(e, "uid", a->uid);
    encoder_put_int(e, "pid", a->pid);
    encoder_put_cstr(e, "app", a->app);
    encoder_put_cstr(e, "action", a->action);
    encoder_put_int(e, "count", a->count);
    encoder_put_cstr(e, "text", a->text);
    encoder_close(e);
    return 0;
}

static int run_list(struct store *s, struct dbcall *c, struct error *err)
{
    const struct store_audit_filter f = {
        .after = codec_int(c->params, "after", 0),
        .since_ms = codec_int(c->params, "since", 0),
        .limit = codec_int(c->params, "limit", LIST_DEFAULT),
        .with_open = true,
    };

    encoder_put_array(&c->out, "entries");
    int rc = store_audit_each(s, &f, put_entry, &c->out, err);
    encoder_close(&c->out);
    return rc;
}

void handle_audit_list(struct pockd *p, struct request *r)
{
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_READ,
                                         .run = run_list});
}

static int run_verify(struct store *s, struct dbcall *c, struct error *err)
{
    char hex[HASH_HEX] = "";
    uint8_t wanted[HASH_BYTES];
    struct store_audit_state st;

    if (codec_get_cstr(c->params, "head", hex, sizeof(hex), NULL) == -EINVAL ||
        (hex[0] && hash_from_hex(wanted, hex) < 0))
        return error_set(err, -EINVAL, "head must be 64 hex digits");
    int rc = store_audit_verify(s, hex[0] ? wanted : NULL, &st, err);
    if (rc < 0)
        return rc;
    encoder_put_bool(&c->out, "whole", st.is_whole);
    if (!st.is_whole)
        encoder_put_cstr(&c->out, "problem", st.problem);
    encoder_put_int(&c->out, "rows", st.rows);
    encoder_put_int(&c->out, "dropped", st.dropped);
    encoder_put_int(&c->out, "last", st.last);
    hash_to_hex(hex, st.head);
    encoder_put_cstr(&c->out, "head", hex);
    if (st.has_wanted)
        encoder_put_int(&c->out, "found", st.wanted_id);
    return 0;
}

void handle_audit_verify(struct pockd *p, struct request *r)
{
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_READ,
                                         .run = run_verify});
}
