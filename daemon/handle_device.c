// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/handlers.h"
#include "daemon/pockd.h"
#include "daemon/request.h"
#include "daemon/tools.h"
#include "daemon/training.h"

static void put_device(struct encoder *e, const struct worker_device_seen *d)
{
    encoder_open_map(e);
    encoder_put_cstr(e, "name", d->name);
    encoder_put_cstr(e, "text", d->text);
    encoder_put_bool(e, "usable", !d->fault[0]);
    encoder_put_cstr(e, "fault", d->fault);
    encoder_put_bool(e, "is_cpu", d->is_player || d->name[0] == 'c');
    if (isfinite(d->flops) && isfinite(d->bytes_s)) {
        encoder_put_float(e, "gflops", d->flops / 1e9);
        encoder_put_float(e, "gbytes_s", d->bytes_s / 1e9);
    }
    encoder_close(e);
}

static void on_looked(void *arg, int rc, struct worker_msg *m,
                      const struct error *err)
{
    struct request *r = arg;

    if (rc < 0 || m->type != WORKER_MSG_devices) {
        tools_fail(r, rc, err);
        return;
    }
    struct encoder *e = request_begin(r);
    encoder_put_array(e, "devices");
    for (uint32_t i = 0; i < m->devices.n_list; i++)
        put_device(e, &m->devices.list[i]);
    encoder_close(e);
    encoder_put_cstr(e, "none", m->devices.none);
    encoder_put_cstr(e, "chosen", m->devices.chosen);
    encoder_put_cstr(e, "why", m->devices.why);
    request_end(r);
}

void handle_device_list(struct pockd *p, struct request *r)
{
    struct worker_msg m;
    struct error err = {0};

    worker_msg_init(&m, WORKER_MSG_look);
    m.look.req = 1;
    // Beside a job figures would be wrong, and would cost it time.
    m.look.is_measuring = training_is_quiet(p->training);
    snprintf(m.look.device, sizeof(m.look.device), "%.60s",
             p->policy.device[0] ? p->policy.device : "auto");
    int rc = tools_run(p->tools, &m, on_looked, r, &err);
    if (rc < 0)
        request_fail_errno(r, rc, &err);
}
