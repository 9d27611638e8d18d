// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#define LOG_MODULE "facts"

#include "daemon/facts.h"

#include <errno.h>
#include <malloc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/pockd.h"
#include "daemon/prefix_file.h"
#include "daemon/remerge.h"
#include "daemon/train_store.h"
#include "daemon/watchers.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "storage/store_adapter.h"
#include "storage/store_lineage.h"
#include "storage/store_model.h"
#include "storage/store_remerge.h"

enum {
    STREAMS_MAX = 4096,
    // Counting costs time that grows with the store: spend a twentieth of it.
    REST_FACTOR = 20,
};

struct reading {
    struct pockd *p;
    struct facts facts;
    struct store_adapter adapter; // whose versions are being read
    uint64_t ns;
};

static int count_model(const struct store_model *m, void *user)
{
    struct facts *f = user;

    f->models++;
    if (m->is_default) {
        f->has_default_model = m->state == STORE_MODEL_READY;
        f->model_bytes = m->bytes;
    }
    return 0;
}

static int keep_stream(const struct store_stream *st, void *user)
{
    struct facts *f = user;

    f->records += st->records;
    if (f->stream_count == STREAMS_MAX)
        return 0;
    if (f->stream_count % 16 == 0) {
        struct store_stream *more =
            realloc(f->streams, (f->stream_count + 16) * sizeof(*f->streams));
        if (!more)
            return -ENOMEM;
        f->streams = more;
    }
    f->streams[f->stream_count++] = *st;
    return 0;
}

static int see_version(const struct store_version *v, void *user)
{
    struct reading *r = user;
    struct facts *f = &r->facts;

    if (v->state != STORE_VERSION_RETIRED)
        f->adapter_bytes += v->bytes;
    if (v->version != r->adapter.active ||
        f->adapter_count == FACTS_ADAPTERS_MAX)
        return 0;
    struct facts_adapter *a = &f->adapters[f->adapter_count++];
    memcpy(a->name, r->adapter.name, sizeof(a->name));
    a->version = v->version;
    a->created_ms = v->created_ms;
    a->heldout_before = v->heldout_before;
    a->heldout_after = v->heldout_after;
    return 0;
}

struct adapter_ids {
    int64_t ids[1024];
    size_t count;
};

static int see_adapter(const struct store_adapter *a, void *user)
{
    struct adapter_ids *ids = user;

    if (ids->count < sizeof(ids->ids) / sizeof(ids->ids[0]))
        ids->ids[ids->count++] = a->id;
    return 0;
}

static int read_adapters(struct store *s, struct reading *r, struct error *err)
{
    struct adapter_ids ids = {.count = 0};
    int rc = store_adapter_each(s, see_adapter, &ids, err);

    for (size_t i = 0; rc == 0 && i < ids.count; i++) {
        rc = store_adapter_get_id(s, ids.ids[i], &r->adapter, err);
        if (rc == 0)
            rc = store_version_each(s, ids.ids[i], see_version, r, err);
    }
    return rc;
}

static int keep_remerge(const struct store_remerge *m, void *user)
{
    struct facts *f = user;
    struct facts_remerge *r = &f->remerges[f->remerge_count++];

    memcpy(r->adapter, m->adapter, sizeof(r->adapter));
    r->version = m->version;
    r->was_active = m->was_active;
    memcpy(r->waits_for, m->waits_for, sizeof(r->waits_for));
    return f->remerge_count == FACTS_REMERGES_MAX;
}

static int read_new_records(struct store *s, struct facts *f, struct error *err)
{
    struct store_filter all = {.trainable_ms = clock_unix_ms()};
    struct store_adapter a;
    int rc = store_adapter_get(s, "default", &a, err);

    // No adapter has seen any.
    if (rc == -ENOENT)
        return store_lineage_unseen(s, 0, &all, &f->new_records, err);
    if (rc < 0 ||
        (rc = store_lineage_unseen(s, a.id, &all, &f->new_records, err)) < 0)
        return rc;
    // Held-out records are never trained on, and are not news for ever.
    f->new_records -= train_known_records(s, a.id);
    if (f->new_records < 0)
        f->new_records = 0;
    return 0;
}

static int run(struct store *s, void *arg, struct error *err)
{
    struct reading *r = arg;
    uint64_t start = clock_monotonic_ns();
    int rc;

    if ((rc = store_model_each(s, count_model, &r->facts, err)) < 0 ||
        (rc = store_record_count(s, NULL, keep_stream, &r->facts, err)) < 0 ||
        (rc = read_adapters(s, r, err)) < 0 ||
        (rc = read_new_records(s, &r->facts, err)) < 0 ||
        (rc = store_remerge_each(s, keep_remerge, &r->facts, err)) < 0)
        return rc;
    r->facts.store_bytes = store_bytes(s);
    r->facts.prefix_bytes = prefix_file_bytes(&r->p->paths);
    r->ns = clock_monotonic_ns() - start;
    return 0;
}

static void take(struct pockd *p, struct facts *from)
{
    struct facts *f = &p->facts;

    free(f->streams);
    f->streams = from->streams;
    f->stream_count = from->stream_count;
    f->models = from->models;
    f->has_default_model = from->has_default_model;
    f->model_bytes = from->model_bytes;
    f->new_records = from->new_records;
    f->records = from->records;
    memcpy(f->adapters, from->adapters, sizeof(f->adapters));
    f->adapter_count = from->adapter_count;
    memcpy(f->remerges, from->remerges, sizeof(f->remerges));
    f->remerge_count = from->remerge_count;
    f->store_bytes = from->store_bytes;
    f->adapter_bytes = from->adapter_bytes;
    f->prefix_bytes = from->prefix_bytes;
    f->is_loaded = true;
}

static void done(void *arg, int rc, const struct error *err)
{
    struct reading *r = arg;
    struct pockd *p = r->p;

    p->facts.is_reading = false;
    p->facts.read_at_ms = uv_now(&p->loop);
    p->facts.read_ns = r->ns;
    if (rc == 0) {
        take(p, &r->facts);
        watchers_status_changed(p);
        pockd_reconsider(p);
        if (p->facts.remerge_count > 0)
            remerge_look(p->remerge);
    } else {
        log_warn("event=facts_failed text=%s", err->text);
        free(r->facts.streams);
    }
    free(r);
    // After a burst, give back what it needed.
    if (!p->is_stopping)
        (void) malloc_trim(0);
    if (p->facts.is_stale && !p->is_stopping)
        facts_refresh(p);
}

static void start_reading(struct pockd *p)
{
    struct reading *r = calloc(1, sizeof(*r));

    p->facts.is_stale = false;
    if (!r)
        return;
    r->p = p;
    p->facts.is_reading = true;
    if (dbthread_submit_own(p->dbthread, DBTHREAD_READ, run, done, r) < 0) {
        p->facts.is_reading = false;
        free(r);
    }
}

static void on_timer(uv_timer_t *t)
{
    start_reading(t->data);
}

void facts_refresh(struct pockd *p)
{
    struct facts *f = &p->facts;

    f->is_stale = true;
    if (f->is_reading || p->is_stopping ||
        uv_is_active((uv_handle_t *) &f->timer))
        return;
    uint64_t rest_ms = f->read_ns * REST_FACTOR / 1000000;
    uint64_t due = f->read_at_ms + rest_ms;
    uint64_t now = uv_now(&p->loop);
    if (due > now)
        (void) uv_timer_start(&f->timer, on_timer, due - now, 0);
    else
        start_reading(p);
}

void facts_init(struct pockd *p)
{
    (void) uv_timer_init(&p->loop, &p->facts.timer);
    p->facts.timer.data = p;
}

void facts_finish(struct pockd *p)
{
    uv_close((uv_handle_t *) &p->facts.timer, NULL);
    free(p->facts.streams);
    p->facts.streams = NULL;
    p->facts.stream_count = 0;
}
