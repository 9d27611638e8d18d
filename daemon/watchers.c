// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/watchers.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/pockd.h"
#include "daemon/status.h"
#include "daemon/training.h"

enum {
    PERIOD_MS = 250,
    BACKLOG_MAX = 64 << 10,
};

struct watcher {
    struct watcher *next;
    struct request *r;
    int64_t job;      // 0: the whole status
    int64_t job_step; // of the last point that was sent
};

struct watchers {
    struct pockd *p;
    struct watcher *first;
    uv_timer_t timer;
    uint64_t told_at_ms;
};

static void tell(struct watchers *ws, struct watcher *w)
{
    if (request_backlog(w->r) > BACKLOG_MAX)
        return;
    struct encoder *e = request_begin_item(w->r, "status");
    if (w->job == 0) {
        encoder_put_map(e, "status");
        status_encode(e, ws->p);
        encoder_close(e);
    } else {
        encoder_key(e, "job");
        training_encode_job(e, ws->p, w->job);
        training_encode_point(e, ws->p, w->job, &w->job_step);
    }
    request_end_item(w->r);
}

static void on_timer(uv_timer_t *t)
{
    struct watchers *ws = t->data;

    ws->told_at_ms = uv_now(&ws->p->loop);
    for (struct watcher *w = ws->first; w; w = w->next)
        if (w->job == 0 || training_has_job(ws->p->training, w->job))
            tell(ws, w);
}

void watchers_status_changed(struct pockd *p)
{
    struct watchers *ws = p->watchers;

    if (!ws || !ws->first || uv_is_active((uv_handle_t *) &ws->timer))
        return;
    uint64_t due = ws->told_at_ms + PERIOD_MS;
    uint64_t now = uv_now(&p->loop);
    (void) uv_timer_start(&ws->timer, on_timer, due > now ? due - now : 0, 0);
}

static void drop(struct watchers *ws, struct watcher *w)
{
    struct watcher **at = &ws->first;

    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    free(w);
}

static void on_cancel(struct request *r)
{
    struct watchers *ws = request_user(r);

    for (struct watcher *w = ws->first; w; w = w->next)
        if (w->r == r) {
            drop(ws, w);
            break;
        }
    request_fail(r, RPC_ERROR_CANCELLED, "the watch was cancelled");
}

void watchers_add(struct watchers *ws, struct request *r, int64_t job)
{
    struct watcher *w = calloc(1, sizeof(*w));

    if (!w) {
        request_fail(r, RPC_ERROR_BUSY, "out of memory");
        return;
    }
    w->r = r;
    w->job = job;
    w->job_step = -1;
    w->next = ws->first;
    ws->first = w;
    request_set_user(r, ws, on_cancel);
    tell(ws, w);
}

void watchers_job_ended(struct pockd *p, int64_t job)
{
    struct watchers *ws = p->watchers;

    for (struct watcher *w = ws ? ws->first : NULL, *next; w; w = next) {
        next = w->next;
        if (w->job != job)
            continue;
        struct request *r = w->r;
        drop(ws, w);
        struct encoder *e = request_begin(r);
        encoder_put_array(e, "jobs");
        training_encode_job(e, p, job);
        encoder_close(e);
        request_end(r);
    }
}

int watchers_create(struct watchers **out, struct pockd *p)
{
    struct watchers *ws = calloc(1, sizeof(*ws));

    if (!ws)
        return -ENOMEM;
    ws->p = p;
    (void) uv_timer_init(&p->loop, &ws->timer);
    ws->timer.data = ws;
    *out = ws;
    return 0;
}

static void on_closed(uv_handle_t *h)
{
    free(h->data);
}

void watchers_destroy(struct watchers *ws)
{
    if (!ws)
        return;
    while (ws->first) {
        struct request *r = ws->first->r;
        drop(ws, ws->first);
        request_fail(r, RPC_ERROR_SHUTTING_DOWN, "pockd is stopping");
    }
    uv_close((uv_handle_t *) &ws->timer, on_closed);
}
