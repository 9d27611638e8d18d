// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/inhibits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/events.h"
#include "daemon/places.h"
#include "daemon/pockd.h"
#include "daemon/training.h"
#include "engine/base/clock.h"

enum {
    INHIBITS_MAX = 256,
    INHIBITS_OWNER = 64, // of these: for the owner's own tools
    INHIBITS_APP_MAX = 16,
    WHO_BYTES = 65,
    WHY_BYTES = 257,
};

struct inhibit {
    struct inhibit *next;
    int64_t token;
    uint64_t session;
    struct request *waiting; // not answered yet
    int64_t since_ms;
    bool is_owner;
    char app[APPID_SIZE];
    char who[WHO_BYTES];
    char why[WHY_BYTES];
};

struct inhibits {
    struct pockd *p;
    struct inhibit *first;
    int64_t last_token;
    int count;
};

int inhibits_create(struct inhibits **out, struct pockd *p)
{
    struct inhibits *i = calloc(1, sizeof(*i));

    if (!i)
        return -ENOMEM;
    i->p = p;
    *out = i;
    return 0;
}

static void answer(struct inhibit *h)
{
    struct request *r = h->waiting;

    h->waiting = NULL;
    struct encoder *e = request_begin(r);
    encoder_put_int(e, "token", h->token);
    request_end(r);
}

static void end(struct inhibits *i, struct inhibit *h)
{
    struct inhibit **at = &i->first;

    while (*at != h)
        at = &(*at)->next;
    *at = h->next;
    i->count--;
    if (!i->p->is_stopping)
        events_emit(i->p, &(struct event_params){
                              .kind = "inhibit_ended",
                              .text = "a program allows training again"});
    free(h);
    pockd_reconsider(i->p);
}

static void on_cancel(struct request *r)
{
    struct inhibits *i = request_user(r);

    for (struct inhibit *h = i->first; h; h = h->next)
        if (h->waiting == r) {
            end(i, h);
            break;
        }
    request_fail(r, RPC_ERROR_CANCELLED, "cancelled");
}

static bool has_room(const struct inhibits *i, const struct request *r)
{
    struct places places = {.r = r};

    for (const struct inhibit *h = i->first; h; h = h->next)
        places_count(&places, h->is_owner, h->app);
    return places_are_left(&places, INHIBITS_MAX, INHIBITS_OWNER,
                           INHIBITS_APP_MAX);
}

void inhibits_acquire(struct inhibits *i, struct request *r)
{
    const msgpack_object *params = request_params(r);
    struct inhibit *h;

    if (!has_room(i, r) || !(h = calloc(1, sizeof(*h)))) {
        request_fail(r, RPC_ERROR_QUOTA, "too many inhibitions");
        return;
    }
    h->token = ++i->last_token;
    h->session = request_session(r);
    h->is_owner = request_is_owner(r);
    snprintf(h->app, sizeof(h->app), "%s", request_app(r));
    h->since_ms = clock_unix_ms();
    (void) codec_get_cstr(params, "who", h->who, sizeof(h->who), NULL);
    (void) codec_get_cstr(params, "why", h->why, sizeof(h->why), NULL);
    h->waiting = r;
    h->next = i->first;
    i->first = h;
    i->count++;
    request_set_user(r, i, on_cancel);
    events_emit(i->p,
                &(struct event_params){.kind = "inhibited",
                                       .text = "a program allows no training"});
    pockd_reconsider(i->p);
    if (training_is_quiet(i->p->training))
        answer(h);
}

void inhibits_on_quiet(struct inhibits *i)
{
    for (struct inhibit *h = i->first; h; h = h->next)
        if (h->waiting)
            answer(h);
}

void inhibits_release(struct inhibits *i, struct request *r)
{
    int64_t token = codec_int(request_params(r), "token", 0);

    for (struct inhibit *h = i->first; h; h = h->next)
        if (h->token == token && h->session == request_session(r) &&
            !h->waiting) {
            end(i, h);
            (void) request_begin(r);
            request_end(r);
            return;
        }
    request_fail(r, RPC_ERROR_NOT_FOUND,
                 "this connection holds no inhibition %lld", (long long) token);
}

void inhibits_on_session_end(struct inhibits *i, uint64_t session)
{
    for (struct inhibit *h = i->first, *next; h; h = next) {
        next = h->next;
        if (h->session == session && !h->waiting)
            end(i, h);
    }
}

int inhibits_count(const struct inhibits *i)
{
    return i->count;
}

void inhibits_encode(struct encoder *e, const struct inhibits *i)
{
    encoder_put_array(e, "inhibitors");
    for (const struct inhibit *h = i->first; h; h = h->next) {
        encoder_open_map(e);
        encoder_put_int(e, "token", h->token);
        encoder_put_cstr(e, "who", h->who);
        encoder_put_cstr(e, "why", h->why);
        encoder_put_int(e, "since", h->since_ms);
        encoder_close(e);
    }
    encoder_close(e);
}

void inhibits_destroy(struct inhibits *i)
{
    if (!i)
        return;
    while (i->first) {
        struct inhibit *h = i->first;
        i->first = h->next;
        if (h->waiting)
            request_fail(h->waiting, RPC_ERROR_SHUTTING_DOWN,
                         "pockd is stopping");
        free(h);
    }
    free(i);
}
