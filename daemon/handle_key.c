// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>

#include "daemon/dbcall.h"
#include "daemon/events.h"
#include "daemon/handlers.h"
#include "storage/store.h"

static int run_show(struct store *s, struct dbcall *c, struct error *err)
{
    struct store_key_info k;
    int rc = store_key_info(s, &k, err);

    if (rc < 0)
        return rc;
    encoder_put_cstr(&c->out, "key", k.name);
    encoder_put_cstr(&c->out, "source",
                     k.is_credential ? "credential" : "file");
    if (!k.is_credential)
        encoder_put_cstr(&c->out, "file", k.file);
    encoder_put_bool(&c->out, "beside", k.is_beside);
    encoder_put_int(&c->out, "keys", k.keys);
    return 0;
}

void handle_key_show(struct pockd *p, struct request *r)
{
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_READ,
                                         .run = run_show});
}

static int run_rotate(struct store *s, struct dbcall *c, struct error *err)
{
    struct store_key_info k;
    int rc = store_key_rotate(s, err);

    if (rc == -EOPNOTSUPP)
        c->code = RPC_ERROR_CONFLICT;
    if (rc < 0 || (rc = store_key_info(s, &k, err)) < 0)
        return rc;
    encoder_put_cstr(&c->out, "key", k.name);
    return 0;
}

static void after_rotate(struct dbcall *c)
{
    events_emit(c->p,
                &(struct event_params){.kind = "key_changed",
                                       .text =
                                           "the key of the store was changed"});
}

void handle_key_rotate(struct pockd *p, struct request *r)
{
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_ALONE,
                                         .run = run_rotate,
                                         .after = after_rotate});
}
