// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <string.h>

#include "daemon/dbcall.h"
#include "daemon/events.h"
#include "daemon/handlers.h"
#include "ipc/codec.h"
#include "storage/store.h"

static const char *const sources[] = {
    [STORE_KEY_CREDENTIAL] = "credential",
    [STORE_KEY_FILE] = "file",
    [STORE_KEY_KEEPER] = "secret-service",
};

static int run_show(struct store *s, struct dbcall *c, struct error *err)
{
    struct store_key_info k;
    int rc = store_key_info(s, &k, err);

    if (rc < 0)
        return rc;
    encoder_put_cstr(&c->out, "key", k.name);
    encoder_put_cstr(&c->out, "source", sources[k.place]);
    if (k.place == STORE_KEY_FILE)
        encoder_put_cstr(&c->out, "file", k.file);
    encoder_put_bool(&c->out, "beside", k.is_beside);
    encoder_put_int(&c->out, "keys", k.keys);
    encoder_put_bool(&c->out, "left", k.is_left);
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
    enum store_key_place to = STORE_KEY_SAME;
    char name[16];

    if (codec_get_cstr(c->params, "to", name, sizeof(name), err) == 0) {
        if (strcmp(name, sources[STORE_KEY_FILE]) == 0)
            to = STORE_KEY_FILE;
        else if (strcmp(name, sources[STORE_KEY_KEEPER]) == 0)
            to = STORE_KEY_KEEPER;
        else
            return error_set(err, -EINVAL,
                             "to is %s, but must be file or secret-service",
                             name);
    }
    int rc = store_key_rotate(s, to, err);
    if (rc == -EOPNOTSUPP || rc == -EEXIST)
        c->code = RPC_ERROR_CONFLICT;
    if (rc < 0 || (rc = store_key_info(s, &k, err)) < 0)
        return rc;
    encoder_put_cstr(&c->out, "key", k.name);
    encoder_put_cstr(&c->out, "source", sources[k.place]);
    encoder_put_bool(&c->out, "left", k.is_left);
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
