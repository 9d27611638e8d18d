// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/events.h"
#include "daemon/handlers.h"
#include "daemon/inhibits.h"
#include "daemon/pockd.h"
#include "daemon/remerge.h"
#include "daemon/status.h"
#include "daemon/watchers.h"

void handle_status(struct pockd *p, struct request *r)
{
    if (request_is_stream(r)) {
        watchers_add(p->watchers, r, 0);
        return;
    }
    // Gates that depend on time alone are as of now.
    signals_refresh(p->signals);
    pockd_evaluate(p, false, p->gates);
    status_encode(request_begin(r), p);
    request_end(r);
}

void handle_why(struct pockd *p, struct request *r)
{
    char line[400];

    signals_refresh(p->signals);
    pockd_evaluate(p, false, p->gates);
    struct encoder *e = request_begin(r);
    encoder_put_bool(e, "would_run",
                     condition_blocking(p->gates) == CONDITION_COUNT);
    status_encode_gates(e, "gates", p->gates, false);
    status_why(line, sizeof(line), p->gates);
    encoder_put_cstr(e, "line", line);
    remerge_encode(e, &p->facts);
    request_end(r);
    pockd_reconsider(p);
}

void handle_inhibit_acquire(struct pockd *p, struct request *r)
{
    inhibits_acquire(p->inhibits, r);
}

void handle_inhibit_release(struct pockd *p, struct request *r)
{
    inhibits_release(p->inhibits, r);
}

void handle_events_watch(struct pockd *p, struct request *r)
{
    // Behind the events that happened before, which pockd writes itself.
    dbthread_set_lane(p->dbthread, 0);
    events_watch(p, r);
}
