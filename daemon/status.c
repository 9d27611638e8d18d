// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/status.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "daemon/consent.h"
#include "daemon/inhibits.h"
#include "daemon/pockd.h"
#include "daemon/record_filter.h"
#include "daemon/remerge.h"
#include "daemon/training.h"
#include "engine/base/clock.h"

void status_encode_gates(struct encoder *e, const char *key,
                         const struct gate *gates, bool only_closed)
{
    encoder_put_array(e, key);
    for (int i = 0; i < CONDITION_COUNT; i++) {
        const struct gate *g = &gates[i];
        bool is_ok = g->is_ok || g->is_set_aside;
        if (only_closed && is_ok)
            continue;
        encoder_open_map(e);
        encoder_put_cstr(e, "gate", condition_name((enum condition) i));
        encoder_put_bool(e, "ok", is_ok);
        encoder_put_cstr(e, "value", g->value);
        encoder_put_cstr(e, "threshold", g->threshold);
        if (g->since_ms)
            encoder_put_int(e, "since", g->since_ms);
        encoder_put_cstr(e, "source", g->source);
        encoder_close(e);
    }
    encoder_close(e);
}

void status_why(char *out, size_t size, const struct gate *gates)
{
    enum condition c = condition_blocking(gates);
    int64_t opens_ms = condition_opens_in(gates);

    if (c == CONDITION_COUNT)
        snprintf(out, size, "nothing blocks training");
    else if (opens_ms >= 0)
        snprintf(out, size, "blocked by %s: %s, but needs %s; opens in %lld s",
                 condition_name(c), gates[c].value, gates[c].threshold,
                 (long long) ((opens_ms + 999) / 1000));
    else
        snprintf(out, size, "blocked by %s: %s, but needs %s",
                 condition_name(c), gates[c].value, gates[c].threshold);
}

static void encode_adapters(struct encoder *e, const struct facts *f)
{
    encoder_put_array(e, "adapters");
    for (size_t i = 0; i < f->adapter_count; i++) {
        const struct facts_adapter *a = &f->adapters[i];
        encoder_open_map(e);
        encoder_put_cstr(e, "adapter", a->name);
        encoder_put_int(e, "version", a->version);
        encoder_put_int(e, "created", a->created_ms);
        if (isfinite(a->heldout_before))
            encoder_put_float(e, "heldout_before", a->heldout_before);
        if (isfinite(a->heldout_after))
            encoder_put_float(e, "heldout_after", a->heldout_after);
        encoder_close(e);
    }
    encoder_close(e);
}

static void encode_store(struct encoder *e, const struct pockd *p)
{
    const struct facts *f = &p->facts;
    const struct snapshot *s = signals_snapshot(p->signals);

    encode_adapters(e, f);
    encoder_put_int(e, "records", f->records);
    encoder_put_array(e, "streams");
    for (size_t i = 0; i < f->stream_count; i++)
        record_stream_encode(e, &f->streams[i]);
    encoder_close(e);
    encoder_put_int(e, "models", f->models);
    encoder_put_int(e, "store_bytes", f->store_bytes);
    encoder_put_int(e, "adapter_bytes", f->adapter_bytes);
    encoder_put_int(e, "prefix_bytes", f->prefix_bytes);
    encoder_put_int(e, "free_bytes",
                    s->disk_free_bytes < 0 ? 0 : s->disk_free_bytes);
}

void status_encode(struct encoder *e, const struct pockd *p)
{
    char line[400];
    const char *state = training_state_line(p, line, sizeof(line));
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    encoder_put_cstr(e, "state", state);
    encoder_put_cstr(e, "line", line);
    encoder_put_bool(e, "degraded", p->problem[0] != '\0');
    encoder_put_array(e, "problems");
    if (p->problem[0])
        encoder_cstr(e, p->problem);
    encoder_close(e);
    encoder_put_bool(e, "paused", p->is_paused);
    encoder_put_bool(e, "off", consent_is_off(p->consent));
    encoder_put_int(e, "apps_pending", (int64_t) consent_pending(p->consent));
    int64_t job = training_current(p->training);
    if (job) {
        encoder_key(e, "job");
        training_encode_job(e, p, job);
    }
    remerge_encode(e, &p->facts);
    encoder_put_int(e, "queue", training_queue_length(p->training));
    status_encode_gates(e, "gates", p->gates, true);
    inhibits_encode(e, p->inhibits);
    encode_store(e, p);
    encoder_put_cstr(e, "device",
                     p->policy.device[0] ? p->policy.device : "auto");
    encoder_put_int(e, "threads",
                    p->config->threads ? p->config->threads : cores);
    encoder_put_cstr(e, "version", POCK_VERSION);
    encoder_put_int(e, "uptime_s",
                    (int64_t) ((clock_monotonic_ns() - p->started_ns) /
                               1000000000u));
}
