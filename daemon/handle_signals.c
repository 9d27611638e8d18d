// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * signals.get: what is known of the machine, once or at each change. A stream
 * gets what differs from what it was sent last, so that one that reads slowly
 * misses steps, never the outcome.
 */

#include <stdlib.h>

#include "daemon/handlers.h"
#include "daemon/pockd.h"
#include "daemon/signal_table.h"
#include "daemon/signal_watch.h"
#include "engine/base/clock.h"

enum { BACKLOG_MAX = 64 << 10 };

struct signal_watch {
    struct signal_watch *next;
    struct pockd *p;
    struct request *r;
    struct snapshot sent;
};

static void encode_value(struct encoder *e, const struct signal_value *v)
{
    switch (v->type) {
    case SIGNAL_TYPE_NONE:
        return;
    case SIGNAL_TYPE_BOOL:
        encoder_put_bool(e, "value", v->flag);
        return;
    case SIGNAL_TYPE_INT:
        encoder_put_int(e, "value", v->integer);
        return;
    case SIGNAL_TYPE_NUM:
        encoder_put_float(e, "value", v->number);
        return;
    case SIGNAL_TYPE_TEXT:
        encoder_put_cstr(e, "value", v->text);
        return;
    }
}

static bool is_news(const struct snapshot *s, const struct snapshot *sent,
                    enum signal g)
{
    return s->source[g] != sent->source[g] || !signal_is_same(s, sent, g);
}

// Those that differ from `sent`; all of them when it is NULL.
static void encode(struct encoder *e, const struct snapshot *s,
                   const struct snapshot *sent)
{
    char text[SIGNAL_TEXT_BYTES];
    int64_t now_ms = pockd_now_ms();

    encoder_put_array(e, "signals");
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        enum signal g = (enum signal) i;
        struct signal_value v = signal_get(s, g);
        if (sent && !is_news(s, sent, g))
            continue;
        encoder_open_map(e);
        encoder_put_cstr(e, "name", signal_name(g));
        encode_value(e, &v);
        encoder_put_cstr(e, "text", signal_text(text, s, g, now_ms));
        if (*signal_unit(g))
            encoder_put_cstr(e, "unit", signal_unit(g));
        encoder_put_cstr(e, "source", signal_source_name(s->source[g]));
        encoder_put_int(e, "since", s->since_ms[g]);
        encoder_close(e);
    }
    encoder_close(e);
    encoder_put_int(e, "monotonic", now_ms);
    encoder_put_int(e, "time", clock_unix_ms());
}

static void tell(struct signal_watch *w, bool is_first)
{
    const struct snapshot *s = signals_snapshot(w->p->signals);
    bool has_news = is_first;

    for (int i = 0; i < SIGNAL_COUNT && !has_news; i++)
        has_news = is_news(s, &w->sent, (enum signal) i);
    if (!has_news || request_backlog(w->r) > BACKLOG_MAX)
        return;
    encode(request_begin_item(w->r, "signals"), s, is_first ? NULL : &w->sent);
    request_end_item(w->r);
    w->sent = *s;
}

static void drop(struct signal_watch *w)
{
    struct signal_watch **at = &w->p->signal_watches;

    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    free(w);
}

static void on_cancel(struct request *r)
{
    drop(request_user(r));
    request_fail(r, RPC_ERROR_CANCELLED, "the watch was cancelled");
}

void signal_watch_tell(struct pockd *p)
{
    for (struct signal_watch *w = p->signal_watches; w; w = w->next)
        tell(w, false);
}

void signal_watch_end(struct pockd *p)
{
    while (p->signal_watches) {
        struct request *r = p->signal_watches->r;
        drop(p->signal_watches);
        request_fail(r, RPC_ERROR_SHUTTING_DOWN, "pockd is stopping");
    }
}

static void watch(struct pockd *p, struct request *r)
{
    struct signal_watch *w = calloc(1, sizeof(*w));

    if (!w) {
        request_fail(r, RPC_ERROR_BUSY, "out of memory");
        return;
    }
    w->p = p;
    w->r = r;
    w->next = p->signal_watches;
    p->signal_watches = w;
    request_set_user(r, w, on_cancel);
    tell(w, true);
}

void handle_signals_get(struct pockd *p, struct request *r)
{
    signals_refresh(p->signals);
    signal_watch_tell(p);
    if (request_is_stream(r)) {
        watch(p, r);
        return;
    }
    encode(request_begin(r), signals_snapshot(p->signals), NULL);
    request_end(r);
    pockd_reconsider(p);
}
