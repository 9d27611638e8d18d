// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#define LOG_MODULE "device"

#include "daemon/worker/worker_device.h"

#include "engine/base/error.h"
#include "engine/base/log.h"
#include "engine/engine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    SLICE_US = 16000, // from which the first loss halves
    SLICE_US_MIN = 500,
};

void worker_device_init(struct worker_device *d, struct worker_control *c,
                        const struct worker_hello *hello)
{
    *d = (struct worker_device){.control = c, .hello = hello};
}

static int open_named(struct worker_device *d, const char *name,
                      struct error *err)
{
    const struct engine_params params = {
        .threads = d->hello->threads,
        .device = name,
        .stop = worker_control_stop_flag(d->control),
        .manners = worker_control_manners(d->control),
        .slice_us = d->slice_us,
        .has_cache = d->hello->cache_fd >= 0,
        .cache_fd = d->hello->cache_fd,
    };
    return engine_create(&d->engine, &params, err);
}

// "auto" explains itself; of a GPU its owner hears in any case.
static void tell(struct worker_device *d)
{
    const char *name = engine_describe(d->engine);
    const char *why = engine_why(d->engine);
    const char *notice = engine_notice(d->engine);
    const bool is_cpu = engine_is_cpu(d->engine);

    log_info("event=device device=\"%s\" text=%s%s%s", name, why,
             why[0] && notice[0] ? "; " : "", notice);
    if (d->notice[0])
        return;
    if (!is_cpu)
        (void) snprintf(d->notice, sizeof(d->notice), "on %.200s%s%.250s", name,
                        notice[0] ? ": " : "", notice);
    else if (engine_was_refused(d->engine))
        (void) snprintf(d->notice, sizeof(d->notice), "on the CPU: %.400s",
                        why);
}

int worker_device_open(struct worker_device *d, struct error *err)
{
    const char *name =
        d->is_cpu_only || !d->hello->device[0] ? "cpu" : d->hello->device;
    int rc = open_named(d, name, err);

    if (rc < 0 && strcmp(name, "cpu") != 0) {
        (void) snprintf(d->notice, sizeof(d->notice),
                        "%.400s: the CPU takes its place", err->text);
        log_warn("event=device_refused device=\"%s\" text=%s", name, err->text);
        d->is_cpu_only = true;
        rc = open_named(d, "cpu", err);
    }
    if (rc == 0)
        tell(d);
    return rc;
}

void worker_device_close(struct worker_device *d)
{
    engine_destroy(d->engine);
    d->engine = NULL;
}

bool worker_device_can_recover(struct worker_device *d, int rc,
                               const char *what, const char *why)
{
    const bool is_lost = rc == -EIO;
    const char *then;

    if (!d->engine || engine_is_cpu(d->engine) ||
        (rc != -EIO && rc != -ENOMEM && rc != -ENOTSUP))
        return false;
    const char *name = engine_describe(d->engine);
    d->losses += is_lost;
    if (!is_lost || d->losses >= WORKER_LOSSES_MAX) {
        d->is_cpu_only = true;
        then = "the CPU goes on";
    } else {
        const uint32_t now = d->slice_us ? d->slice_us : SLICE_US;
        d->slice_us = now / 2 > SLICE_US_MIN ? now / 2 : SLICE_US_MIN;
        then = "it is opened again, with shorter slices";
    }
    if (is_lost)
        (void) snprintf(d->notice, sizeof(d->notice),
                        "%.160s was lost during %s, for the %u%s time: %s",
                        name, what, d->losses,
                        d->losses == 1   ? "st"
                        : d->losses == 2 ? "nd"
                                         : "rd",
                        then);
    else
        (void) snprintf(d->notice, sizeof(d->notice),
                        "%.160s %s during %s (%.160s): %s", name,
                        rc == -ENOMEM ? "ran out of memory"
                                      : "cannot do what is needed",
                        what, why, then);
    log_warn("event=device_lost losses=%u slice_us=%u text=%s", d->losses,
             d->slice_us, d->notice);
    return true;
}
