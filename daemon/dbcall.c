// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/dbcall.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/auditlog.h"
#include "daemon/consent.h"
#include "daemon/handlers.h"
#include "engine/base/fault.h"

static int run(struct store *s, void *arg, struct error *err)
{
    struct dbcall *c = arg;

    // A write may run twice.
    encoder_reset(&c->out);
    memset(c->number, 0, sizeof(c->number));
    c->index = -1;
    c->code = RPC_ERROR_NONE;
    c->audited = 1;
    c->audit_text[0] = '\0';
    c->is_stale =
        consent_judges(c->r) && c->closings != consent_closings(c->p->consent);
    if (c->is_stale)
        return -ESTALE;
    encoder_open_map(&c->out);
    int rc = auditlog_before(s, c, c->is_alone, err);
    if (rc == 0)
        rc = auditlog_after(s, c, c->is_alone, c->run(s, c, err), err);
    if (rc < 0)
        return rc;
    encoder_close(&c->out);
    rc = encoder_finish(&c->out);
    return rc == -E2BIG ? error_set(err, rc,
                                    "the answer is larger than a frame: ask "
                                    "for less")
                        : rc;
}

static void destroy(struct dbcall *c)
{
    encoder_destroy(&c->out);
    if (c->free_data && c->data)
        c->free_data(c->data);
    else
        free(c->data);
    free(c);
}

static void fail(struct dbcall *c, int rc, const struct error *err)
{
    if (c->code != RPC_ERROR_NONE) {
        request_fail(c->r, c->code, "%s", err->text);
        return;
    }
    if (c->index < 0) {
        request_fail_errno(c->r, rc, err);
        return;
    }
    struct encoder *e =
        request_begin_error(c->r, rpc_error_from_errno(rc), err->text, 0);
    encoder_put_int(e, "index", c->index);
    request_end(c->r);
}

static void done(void *arg, int rc, const struct error *err)
{
    struct dbcall *c = arg;

    if (c->is_stale) {
        struct pockd *p = c->p;
        struct request *r = c->r;
        destroy(c);
        handlers_dispatch(r, p);
        return;
    }
    if (rc < 0) {
        fail(c, rc, err);
    } else {
        auditlog_on_read(c->p, c->r, c->audited);
        if (c->after)
            c->after(c);
        // A handler that answers itself takes the request.
        if (c->r)
            request_end_raw(c->r, c->out.data, c->out.bytes);
    }
    destroy(c);
}

void dbcall_start(struct pockd *p, struct request *r,
                  const struct dbcall_params *params)
{
    struct dbcall *c = fault_calloc(1, sizeof(*c));

    if (!c) {
        if (params->free_data && params->data)
            params->free_data(params->data);
        else
            free(params->data);
        request_fail(r, RPC_ERROR_BUSY, "out of memory");
        return;
    }
    *c = (struct dbcall){
        .p = p,
        .r = r,
        .params = request_params(r),
        .is_alone = params->kind == DBTHREAD_ALONE,
        .closings = consent_closings(p->consent),
        .run = params->run,
        .after = params->after,
        .data = params->data,
        .free_data = params->free_data,
    };
    encoder_init(&c->out, 0);
    int rc = dbthread_submit(p->dbthread, params->kind, run, done, c);
    if (rc < 0) {
        request_fail(r,
                     rc == -ESHUTDOWN ? RPC_ERROR_SHUTTING_DOWN
                                      : RPC_ERROR_BUSY,
                     rc == -ESHUTDOWN ? "pockd is stopping"
                                      : "too many requests wait for the store");
        destroy(c);
    }
}

struct request *dbcall_take(struct dbcall *c)
{
    struct request *r = c->r;

    c->r = NULL;
    c->data = NULL;
    return r;
}
