// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#define LOG_MODULE "events"

#include "daemon/events.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/dbcall.h"
#include "daemon/pockd.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"

enum {
    KINDS_MAX = 32,
    KIND_BYTES = 32,
    RECORDS_PERIOD_MS = 1000,
    WATCHER_BACKLOG_MAX = 4 << 20,
};

struct watcher {
    struct events *events;
    struct watcher *next;
    struct request *r;
    int64_t after; // events up to here were sent, or are not wanted
    bool is_ready; // what was stored before has been sent
    char kinds[KINDS_MAX][KIND_BYTES];
    size_t kind_count;
};

struct events {
    struct pockd *p;
    struct watcher *watchers;
    uv_timer_t timer;
    int64_t added; // records, not told yet
    int handles;
};

void event_encode(struct encoder *e, const struct store_event *ev)
{
    encoder_open_map(e);
    encoder_put_int(e, "id", ev->id);
    encoder_put_int(e, "time", ev->time_ms);
    encoder_put_cstr(e, "kind", ev->kind);
    if (ev->job_id)
        encoder_put_int(e, "job", ev->job_id);
    if (ev->adapter[0])
        encoder_put_cstr(e, "adapter", ev->adapter);
    if (ev->version)
        encoder_put_int(e, "version", ev->version);
    if (ev->reason[0])
        encoder_put_cstr(e, "reason", ev->reason);
    encoder_put_cstr(e, "text", ev->text);
    encoder_close(e);
}

static bool wants(const struct watcher *w, const char *kind)
{
    for (size_t i = 0; i < w->kind_count; i++)
        if (strcmp(w->kinds[i], kind) == 0)
            return true;
    return w->kind_count == 0;
}

static void tell(struct watcher *w, const struct store_event *ev)
{
    if (!w->is_ready || ev->id <= w->after || !wants(w, ev->kind))
        return;
    w->after = ev->id;
    // The session closes a client that never reads; until then it misses
    // events rather than filling our memory.
    if (request_backlog(w->r) > WATCHER_BACKLOG_MAX)
        return;
    struct encoder *e = request_begin_item(w->r, "event");
    encoder_key(e, "event");
    event_encode(e, ev);
    request_end_item(w->r);
}

struct emission {
    struct pockd *p;
    struct store_event event;
};

static int run_emit(struct store *s, void *arg, struct error *err)
{
    struct emission *m = arg;

    return store_event_add(s, &m->event, &m->event.id, err);
}

static void done_emit(void *arg, int rc, const struct error *err)
{
    struct emission *m = arg;

    if (rc < 0) {
        log_warn("event=event_lost kind=%s text=%s", m->event.kind, err->text);
    } else if (m->p->events) {
        for (struct watcher *w = m->p->events->watchers; w; w = w->next)
            tell(w, &m->event);
    }
    free(m);
}

static void copy(char *to, size_t size, const char *from)
{
    (void) snprintf(to, size, "%s", from ? from : "");
}

void events_emit(struct pockd *p, const struct event_params *in)
{
    struct emission *m = calloc(1, sizeof(*m));

    log_info("event=%s job=%lld adapter=%s version=%u reason=%s", in->kind,
             (long long) in->job, in->adapter ? in->adapter : "", in->version,
             in->reason ? in->reason : "");
    if (!m)
        return;
    m->p = p;
    m->event.time_ms = clock_unix_ms();
    m->event.job_id = in->job;
    m->event.version = in->version;
    copy(m->event.kind, sizeof(m->event.kind), in->kind);
    copy(m->event.adapter, sizeof(m->event.adapter), in->adapter);
    copy(m->event.reason, sizeof(m->event.reason), in->reason);
    copy(m->event.text, sizeof(m->event.text), in->text);
    if (dbthread_submit_own(p->dbthread, DBTHREAD_WRITE, run_emit, done_emit,
                            m) < 0)
        free(m);
}

static void on_timer(uv_timer_t *t)
{
    struct events *e = t->data;
    char text[64];

    snprintf(text, sizeof(text), "%lld records were added",
             (long long) e->added);
    e->added = 0;
    events_emit(e->p,
                &(struct event_params){.kind = "records_added", .text = text});
}

void events_records_added(struct pockd *p, int64_t count)
{
    struct events *e = p->events;

    e->added += count;
    if (e->added > 0 && !uv_is_active((uv_handle_t *) &e->timer))
        (void) uv_timer_start(&e->timer, on_timer, RECORDS_PERIOD_MS, 0);
}

static void unlink_watcher(struct watcher *w)
{
    struct watcher **at = &w->events->watchers;

    while (*at && *at != w)
        at = &(*at)->next;
    if (*at)
        *at = w->next;
    free(w);
}

static void on_cancel(struct request *r)
{
    struct watcher *w = request_user(r);

    // While the backlog is read, the call of the store still has it.
    if (!w->is_ready)
        return;
    unlink_watcher(w);
    request_fail(r, RPC_ERROR_CANCELLED, "the watch was cancelled");
}

struct listing {
    struct encoder *out;
    int64_t last;
};

static int put_event(const struct store_event *ev, void *user)
{
    struct listing *l = user;

    event_encode(l->out, ev);
    l->last = ev->id;
    return 0;
}

static size_t list_kinds(const msgpack_object *params,
                         char kinds[KINDS_MAX][KIND_BYTES])
{
    const msgpack_object *list = codec_find(params, "kinds");
    size_t n = 0;

    for (uint32_t i = 0; i < codec_count(list) && n < KINDS_MAX; i++) {
        struct codec_bytes b;
        if (!codec_as_str(codec_at(list, i), &b) || b.bytes >= KIND_BYTES)
            continue;
        memcpy(kinds[n], b.data, b.bytes);
        kinds[n++][b.bytes] = '\0';
    }
    return n;
}

static int run_list(struct store *s, struct dbcall *c, struct error *err)
{
    char kinds[KINDS_MAX][KIND_BYTES];
    const char *names[KINDS_MAX];
    int64_t after = codec_int(c->params, "after", 0);
    int64_t oldest = 0;
    struct listing l = {.out = &c->out};
    size_t n = list_kinds(c->params, kinds);

    for (size_t i = 0; i < n; i++)
        names[i] = kinds[i];
    encoder_put_array(&c->out, "events");
    int rc =
        store_event_each(s, after, names, n, codec_int(c->params, "limit", 100),
                         put_event, &l, &oldest, err);
    encoder_close(&c->out);
    if (oldest > after + 1 && after > 0)
        encoder_put_bool(&c->out, "lost", true);
    return rc;
}

// The watcher's backlog: what was stored after `after`.
struct backlog {
    struct watcher *w;
    struct store_event *events;
    size_t count;
    size_t size;
};

static int keep_event(const struct store_event *ev, void *user)
{
    struct backlog *b = user;

    if (b->count == b->size) {
        size_t size = b->size ? 2 * b->size : 64;
        struct store_event *more = realloc(b->events, size * sizeof(*more));
        if (!more)
            return -ENOMEM;
        b->events = more;
        b->size = size;
    }
    b->events[b->count++] = *ev;
    return 0;
}

static int run_backlog(struct store *s, void *arg, struct error *err)
{
    struct backlog *b = arg;

    b->count = 0;
    return b->w->after < 0 ? 0
                           : store_event_each(s, b->w->after, NULL, 0, 1000,
                                              keep_event, b, NULL, err);
}

static void done_backlog(void *arg, int rc, const struct error *err)
{
    struct backlog *b = arg;
    struct watcher *w = b->w;

    w->is_ready = true;
    if (rc < 0 || request_ended(w->r) != REQUEST_END_NONE) {
        struct request *r = w->r;
        unlink_watcher(w);
        if (rc < 0)
            request_fail_errno(r, rc, err);
        else
            request_fail(r, RPC_ERROR_CANCELLED, "the watch was cancelled");
    } else {
        for (size_t i = 0; i < b->count; i++)
            tell(w, &b->events[i]);
    }
    free(b->events);
    free(b);
}

static void watch(struct pockd *p, struct request *r)
{
    struct watcher *w = calloc(1, sizeof(*w));
    struct backlog *b = calloc(1, sizeof(*b));

    if (!w || !b) {
        free(w);
        free(b);
        request_fail(r, RPC_ERROR_BUSY, "out of memory");
        return;
    }
    w->events = p->events;
    w->r = r;
    w->after = codec_int(request_params(r), "after", -1);
    w->kind_count = list_kinds(request_params(r), w->kinds);
    w->next = p->events->watchers;
    p->events->watchers = w;
    request_set_user(r, w, on_cancel);
    b->w = w;
    if (dbthread_submit_own(p->dbthread, DBTHREAD_READ, run_backlog,
                            done_backlog, b) < 0) {
        free(b);
        unlink_watcher(w);
        request_fail(r, RPC_ERROR_SHUTTING_DOWN, "pockd is stopping");
    }
}

void events_watch(struct pockd *p, struct request *r)
{
    if (request_is_stream(r))
        watch(p, r);
    else
        dbcall_start(p, r,
                     &(struct dbcall_params){.kind = DBTHREAD_READ,
                                             .run = run_list});
}

int events_create(struct events **out, struct pockd *p)
{
    struct events *e = calloc(1, sizeof(*e));

    if (!e)
        return -ENOMEM;
    e->p = p;
    (void) uv_timer_init(&p->loop, &e->timer);
    e->timer.data = e;
    *out = e;
    return 0;
}

static void on_closed(uv_handle_t *h)
{
    free(h->data);
}

void events_destroy(struct events *e)
{
    if (!e)
        return;
    while (e->watchers) {
        struct request *r = e->watchers->r;
        unlink_watcher(e->watchers);
        request_fail(r, RPC_ERROR_SHUTTING_DOWN, "pockd is stopping");
    }
    uv_close((uv_handle_t *) &e->timer, on_closed);
}
