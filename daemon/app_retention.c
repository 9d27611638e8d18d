// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#define LOG_MODULE "app_retention"

#include "daemon/app_retention.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/consent.h"
#include "daemon/events.h"
#include "daemon/pockd.h"
#include "daemon/training.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "storage/store_job.h"
#include "storage/store_record.h"

#define DAY_MS INT64_C(86400000)

struct sweep {
    struct pockd *p;
    bool dry_run;
    int64_t now_ms;
    int64_t records;
    uint32_t versions;
    struct store_job *jobs;
    size_t job_count;
    size_t count;
    struct {
        char app[STORE_NAME_SIZE];
        int64_t before_ms;
    } due[CONSENT_APPS_MAX];
};

// NULL: no grant has an end of that kind, or there is no memory.
static struct sweep *collect(struct pockd *p, bool dry_run)
{
    struct sweep *s = calloc(1, sizeof(*s));
    const struct store_app *a;

    if (!s)
        return NULL;
    s->p = p;
    s->dry_run = dry_run;
    s->now_ms = clock_unix_ms();
    for (size_t i = 0; (a = consent_at(p->consent, i)); i++) {
        if (a->retention_days <= 0)
            continue;
        memcpy(s->due[s->count].app, a->name, sizeof(a->name));
        s->due[s->count++].before_ms = s->now_ms - a->retention_days * DAY_MS;
    }
    if (s->count > 0)
        return s;
    free(s);
    return NULL;
}

static int run(struct store *store, void *arg, struct error *err)
{
    struct sweep *s = arg;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < s->count; i++) {
        struct store_erased erased = {0};
        struct store_filter f = {.app = s->due[i].app,
                                 .added_before_ms = s->due[i].before_ms};
        rc = store_record_erase(store, &f, s->dry_run, s->now_ms, &erased, NULL,
                                NULL, err);
        s->records += erased.records;
        s->versions += erased.versions;
        if (rc == 0 && !s->dry_run)
            store_erased_jobs(store, &erased, &s->jobs, &s->job_count);
    }
    return rc;
}

static void done_erase(void *arg, int rc, const struct error *err)
{
    struct sweep *s = arg;
    char text[120];

    if (rc < 0)
        log_warn("event=retention_failed text=%s", err->text);
    if (s->records > 0) {
        snprintf(text, sizeof(text),
                 "%lld records were erased, %u versions retired: their time "
                 "has passed",
                 (long long) s->records, s->versions);
        events_emit(s->p, &(struct event_params){.kind = "records_erased",
                                                 .text = text});
        facts_refresh(s->p);
    }
    training_take_in(s->p, s->jobs, s->job_count);
    training_erase_ended(s->p);
    free(s->jobs);
    free(s);
}

static void start_erase(struct pockd *p, struct request *r)
{
    struct sweep *s = collect(p, false);

    if (s && dbthread_submit_own(p->dbthread, DBTHREAD_ALONE, run, done_erase,
                                 s) == 0)
        return;
    free(s);
    training_erase_ended(p);
}

static void done_look(void *arg, int rc, const struct error *err)
{
    struct sweep *s = arg;

    if (rc < 0)
        log_warn("event=retention_failed text=%s", err->text);
    if (s->records > 0 && !s->p->is_stopping)
        training_before_erase(s->p, NULL, start_erase);
    free(s);
}

void app_retention_look(struct pockd *p)
{
    struct sweep *s = collect(p, true);

    if (s &&
        dbthread_submit_own(p->dbthread, DBTHREAD_ALONE, run, done_look, s) < 0)
        free(s);
}
