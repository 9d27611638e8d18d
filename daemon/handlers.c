// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/handlers.h"

#include "daemon/auditlog.h"
#include "daemon/consent.h"
#include "daemon/pockd.h"

typedef void (*handler_fn)(struct pockd *p, struct request *r);

static const handler_fn handlers[METHOD_COUNT] = {
#define METHOD(sym, ...) [METHOD_##sym] = handle_##sym,
#include "ipc/methods.def"
};

void handlers_dispatch(struct request *r, void *user)
{
    struct pockd *p = user;

    dbthread_set_lane(p->dbthread, request_session(r));
    if (consent_admits(p->consent, r)) {
        auditlog_on_request(p, r);
        handlers[request_method(r)](p, r);
    }
    dbthread_set_lane(p->dbthread, 0);
}
