// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/devices.h"

#include "engine/base/error.h"
#include "engine/device.h"
#include "engine/engine.h"
#include "engine/rates.h"
#ifdef POCK_VULKAN
#include "engine/vulkan/vk_list.h"
#endif

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const double MEASURE_S = 0.3; // each

static void look(struct device_seen *s, const struct device_params *params,
                 bool measures)
{
    struct device_opened d;
    struct error err = {0};
    struct rates r;
    int rc = device_open(&d, s->name, params, &err);

    s->flops = s->bytes_s = (double) NAN;
    if (rc == 0)
        (void) snprintf(s->text, sizeof(s->text), "%s",
                        d.backend->describe(d.dev));
    if (rc == 0 && measures &&
        (rc = rates_measure(&r, d.backend, d.dev, MEASURE_S, &err)) == 0) {
        s->flops = r.flops;
        s->bytes_s = r.bytes_s;
    }
    if (rc < 0)
        (void) snprintf(s->fault, sizeof(s->fault), "%.255s", err.text);
    device_close(&d);
}

#ifdef POCK_VULKAN
static void look_at_vulkan(struct devices *out,
                           const struct device_params *params, bool measures)
{
    struct vulkan_seen seen[DEVICES_MAX];
    struct error err = {0};
    const int n = vulkan_list(seen, DEVICES_MAX - 1, &err);

    if (n <= 0)
        (void) snprintf(out->none, sizeof(out->none), "%.150s",
                        n < 0 ? err.text : "Vulkan has no device here");
    for (int i = 0; i < n; i++) {
        struct device_seen *s = &out->list[out->n++];
        (void) snprintf(s->name, sizeof(s->name), "vulkan:%d", i);
        (void) snprintf(s->text, sizeof(s->text), "vulkan %.140s",
                        seen[i].name);
        s->is_player = seen[i].is_player;
        look(s, params, measures);
    }
}
#else
static void look_at_vulkan(struct devices *out,
                           const struct device_params *params, bool measures)
{
    (void) params;
    (void) measures;
    (void) snprintf(out->none, sizeof(out->none),
                    "this pockd was built without Vulkan");
}
#endif

int devices_look(struct devices *out, const struct engine_params *params,
                 bool measures, struct error *err)
{
    const struct device_params p = {.threads = params->threads,
                                    .stop = params->stop};
    struct device_opened chosen;
    struct error why = {0};

    memset(out, 0, sizeof(*out));
    (void) snprintf(out->list[0].name, sizeof(out->list[0].name), "cpu");
    out->n = 1;
    look(&out->list[0], &p, measures);
    if (out->list[0].fault[0])
        return error_set(err, -ENOMEM, "%s", out->list[0].fault);
    look_at_vulkan(out, &p, measures);
    if (device_open(&chosen, params->device, &p, &why) < 0) {
        (void) snprintf(out->chosen, sizeof(out->chosen), "%s",
                        out->list[0].text);
        (void) snprintf(out->why, sizeof(out->why), "%.300s", why.text);
        return 0;
    }
    (void) snprintf(out->chosen, sizeof(out->chosen), "%s",
                    chosen.backend->describe(chosen.dev));
    (void) snprintf(out->why, sizeof(out->why), "%s", chosen.why);
    device_close(&chosen);
    return 0;
}
