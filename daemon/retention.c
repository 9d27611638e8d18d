// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#define LOG_MODULE "retention"

#include "daemon/retention.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/dbcall.h"
#include "daemon/events.h"
#include "daemon/handlers.h"
#include "daemon/training.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "storage/store_erase.h"
#include "storage/store_stream.h"

enum {
    FIRST_MS = 10 * 60 * 1000,
    SOON_MS = 100,
    PERIOD_MS = 6 * 3600 * 1000,
    RETRY_MS = 5 * 60 * 1000,
};

struct retention {
    struct pockd *p;
    uv_timer_t timer;
};

// On its way through the database thread.
struct running {
    struct pockd *p;
    int days;
    bool takes_versions;
    struct store_erased erased;
    struct store_job *jobs;
    size_t job_count;
};

static int run(struct store *s, void *arg, struct error *err)
{
    struct running *r = arg;
    int rc = store_retention_run(s, r->days, r->takes_versions, clock_unix_ms(),
                                 &r->erased, err);

    if (rc == 0)
        store_erased_jobs(s, &r->erased, &r->jobs, &r->job_count);
    return rc;
}

static void done(void *arg, int rc, const struct error *err)
{
    struct running *r = arg;
    char text[120];

    if (rc < 0)
        log_error("event=retention_failed text=%s", err->text);
    training_take_in(r->p, r->jobs, r->job_count);
    training_erase_ended(r->p);
    if (rc == 0 && r->erased.records > 0) {
        snprintf(text, sizeof(text),
                 "%lld records were erased, whose time was up; %u versions "
                 "retired",
                 (long long) r->erased.records, r->erased.versions);
        events_emit(r->p, &(struct event_params){.kind = "records_erased",
                                                 .text = text});
        facts_refresh(r->p);
    }
    free(r->jobs);
    free(r);
}

static void on_timer(uv_timer_t *timer)
{
    struct retention *t = timer->data;
    struct pockd *p = t->p;
    struct running *r = NULL;

    if (p->is_stopping || p->is_degraded || !p->dbthread)
        return;
    if (!training_hold_for_erase(p) || !(r = calloc(1, sizeof(*r)))) {
        (void) uv_timer_start(&t->timer, on_timer, RETRY_MS, PERIOD_MS);
        return;
    }
    r->p = p;
    r->days = (int) p->policy.retention_days;
    r->takes_versions = p->policy.retention_versions;
    if (dbthread_submit_own(p->dbthread, DBTHREAD_ALONE, run, done, r) < 0) {
        free(r);
        training_erase_ended(p);
    }
}

int retention_create(struct retention **out, struct pockd *p)
{
    struct retention *t = calloc(1, sizeof(*t));

    if (!t)
        return -ENOMEM;
    t->p = p;
    (void) uv_timer_init(&p->loop, &t->timer);
    t->timer.data = t;
    (void) uv_timer_start(&t->timer, on_timer, FIRST_MS, PERIOD_MS);
    *out = t;
    return 0;
}

static void on_closed(uv_handle_t *h)
{
    free(h->data);
}

void retention_destroy(struct retention *t)
{
    if (t)
        uv_close((uv_handle_t *) &t->timer, on_closed);
}

void retention_changed(struct retention *t)
{
    (void) uv_timer_start(&t->timer, on_timer, SOON_MS, PERIOD_MS);
}

/*
 * data.retention
 */

struct listing {
    struct dbcall *c;
    int days;
};

static int put_stream(const char *app, const char *stream, int days, void *user)
{
    struct listing *l = user;
    struct encoder *e = &l->c->out;

    encoder_open_map(e);
    encoder_put_cstr(e, "stream", stream);
    encoder_put_int(e, "days", days < 0 ? l->days : days);
    encoder_put_bool(e, "own", days >= 0);
    encoder_close(e);
    return 0;
}

static int run_days(struct store *s, struct dbcall *c, struct error *err)
{
    struct listing l = {.c = c, .days = *(int *) c->data};
    char stream[STORE_NAME_SIZE] = "";
    const bool has_days = codec_find(c->params, "days") != NULL;
    int rc = codec_get_cstr(c->params, "stream", stream, sizeof(stream), err);

    if (rc == -EINVAL)
        return rc;
    if (has_days != (stream[0] != '\0'))
        return error_set(err, -EINVAL, "give stream and days, or neither");
    if (has_days &&
        (rc = store_retention_set(s, STORE_APP_HOST, stream,
                                  (int) codec_int(c->params, "days", 0), err)) <
            0)
        return rc;
    encoder_put_array(&c->out, "streams");
    rc = store_retention_each(s, put_stream, &l, err);
    encoder_close(&c->out);
    return rc;
}

static void after_days(struct dbcall *c)
{
    if (codec_find(c->params, "days"))
        retention_changed(c->p->retention);
}

void handle_data_retention(struct pockd *p, struct request *r)
{
    int *days = malloc(sizeof(*days));

    if (!days) {
        request_fail(r, RPC_ERROR_BUSY, "out of memory");
        return;
    }
    *days = (int) p->policy.retention_days;
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_WRITE,
                                         .run = run_days,
                                         .after = after_days,
                                         .data = days});
}
