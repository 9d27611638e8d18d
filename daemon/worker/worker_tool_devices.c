// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/worker/worker_tool_inside.h"

#include "engine/devices.h"
#include "engine/engine.h"

#include <stdio.h>
#include <string.h>

int tool_devices(struct tool *t, const struct worker_look *q)
{
    const struct engine_params params = {
        .threads = t->threads,
        .device = q->device,
        .stop = worker_control_stop_flag(t->control),
    };
    struct devices seen;
    struct worker_msg m;
    int rc = devices_look(&seen, &params, q->is_measuring, &t->failure.err);

    if (rc < 0)
        return worker_failure_set(&t->failure, rc, "INTERNAL",
                                  WORKER_SEVERITY_TRANSIENT);
    _Static_assert((int) WORKER_DEVICES_MAX >= (int) DEVICES_MAX, "room");
    worker_msg_init(&m, WORKER_MSG_devices);
    m.devices.req = q->req;
    (void) snprintf(m.devices.none, sizeof(m.devices.none), "%s", seen.none);
    (void) snprintf(m.devices.chosen, sizeof(m.devices.chosen), "%s",
                    seen.chosen);
    (void) snprintf(m.devices.why, sizeof(m.devices.why), "%s", seen.why);
    m.devices.n_list = seen.n;
    for (uint32_t i = 0; i < seen.n; i++) {
        struct worker_device_seen *to = &m.devices.list[i];
        const struct device_seen *from = &seen.list[i];
        memcpy(to->name, from->name, sizeof(from->name));
        memcpy(to->text, from->text, sizeof(from->text));
        memcpy(to->fault, from->fault, sizeof(from->fault));
        to->is_player = from->is_player;
        to->flops = from->flops;
        to->bytes_s = from->bytes_s;
    }
    return worker_control_send(t->control, &m);
}
