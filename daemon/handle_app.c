// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/consent.h"
#include "daemon/dbcall.h"
#include "daemon/events.h"
#include "daemon/handlers.h"
#include "daemon/purpose.h"
#include "daemon/server.h"
#include "daemon/training.h"
#include "engine/base/clock.h"
#include "engine/base/peer.h"
#include "ipc/rpc_record.h"
#include "storage/store_app.h"
#include "storage/store_policy.h"

enum {
    KINDS = RPC_RECORD_KIND_FEEDBACK, // the last of them
};

static const char *strength_name(uint32_t strength)
{
    return strength == PEER_STRENGTH_SANDBOXED ? "sandboxed"
           : strength == PEER_STRENGTH_SCOPE   ? "scope"
                                               : "uid";
}

static void put_kinds(struct encoder *e, uint32_t kinds)
{
    encoder_put_array(e, "kinds");
    for (uint32_t k = 0; k < KINDS; k++)
        if (kinds >> k & 1)
            encoder_cstr(e,
                         rpc_record_kind_name((enum rpc_record_kind)(k + 1)));
    encoder_close(e);
}

static void put_streams(struct encoder *e, const char *names)
{
    encoder_put_array(e, "streams");
    while (*names) {
        size_t n = strcspn(names, " ");
        encoder_str(e, names, n);
        names += n + (names[n] == ' ');
    }
    encoder_close(e);
}

// The keys of an app, into an open map.
static void encode_app(struct encoder *e, const struct store_app *a,
                       const struct store_app_use *use)
{
    int64_t now = clock_unix_ms();

    encoder_put_cstr(e, "name", a->name);
    encoder_put_cstr(e, "strength", strength_name(a->strength));
    encoder_put_cstr(e, "state", consent_state_name(a, now));
    purpose_put(e, "purposes", consent_purposes(a, now));
    purpose_put(e, "wants", a->wanted);
    if (a->kinds)
        put_kinds(e, a->kinds);
    if (a->streams[0])
        put_streams(e, a->streams);
    if (a->retention_days > 0)
        encoder_put_int(e, "retention_days", a->retention_days);
    if (a->expires_ms > 0)
        encoder_put_int(e, "expires", a->expires_ms);
    encoder_put_cstr(e, "client", a->client);
    encoder_put_int(e, "asked", a->first_ms);
    encoder_put_int(e, "changed", a->changed_ms);
    encoder_put_int(e, "records", use ? use->records : 0);
    encoder_put_int(e, "bytes", use ? use->bytes : 0);
    if (use && use->last_ms > 0)
        encoder_put_int(e, "last", use->last_ms);
}

/*
 * app.list
 */

struct listing {
    struct store_app_use use[CONSENT_APPS_MAX];
    size_t count;
    struct encoder *out;
    bool is_off;
};

static int keep_use(const struct store_app_use *u, void *user)
{
    struct listing *l = user;

    if (l->count < CONSENT_APPS_MAX)
        l->use[l->count++] = *u;
    return 0;
}

static int list_app(const struct store_app *a, void *user)
{
    struct listing *l = user;
    const struct store_app_use *use = NULL;

    for (size_t i = 0; i < l->count && !use; i++)
        if (strcmp(l->use[i].name, a->name) == 0)
            use = &l->use[i];
    encoder_open_map(l->out);
    encode_app(l->out, a, use);
    encoder_close(l->out);
    return 0;
}

static int run_list(struct store *s, struct dbcall *c, struct error *err)
{
    struct listing *l = c->data;
    int rc;

    l->out = &c->out;
    l->count = 0;
    encoder_put_array(&c->out, "apps");
    if ((rc = store_app_use_each(s, keep_use, l, err)) < 0 ||
        (rc = store_app_each(s, list_app, l, err)) < 0)
        return rc;
    encoder_close(&c->out);
    encoder_put_bool(&c->out, "off", l->is_off);
    return 0;
}

void handle_app_list(struct pockd *p, struct request *r)
{
    struct listing *l = calloc(1, sizeof(*l));

    if (!l) {
        request_fail(r, RPC_ERROR_BUSY, "out of memory");
        return;
    }
    l->is_off = consent_is_off(p->consent);
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_READ,
                                         .run = run_list,
                                         .data = l});
}

/*
 * app.grant, app.revoke
 */

// The app that the request names; a whole name may be new.
static int find_app(struct store_app *out, struct pockd *p, struct request *r,
                    bool may_be_new, enum rpc_error *code, struct error *err)
{
    char name[STORE_NAME_SIZE];
    int rc = codec_get_cstr(request_params(r), "app", name, sizeof(name), err);

    *code = RPC_ERROR_BAD_PARAMS;
    if (rc < 0)
        return rc;
    enum appid_kind kind = appid_kind_of(name);
    rc = consent_find(p->consent, name, out, err);
    *code = rc == -ENOTUNIQ ? RPC_ERROR_CONFLICT : RPC_ERROR_NOT_FOUND;
    if (rc != -ENOENT || !may_be_new || kind == APPID_NONE)
        return rc;
    *out = (struct store_app){.strength = peer_strength_of(kind),
                              .first_ms = clock_unix_ms()};
    memcpy(out->name, name, sizeof(out->name));
    return 0;
}

static int read_kinds(uint32_t *out, const msgpack_object *list,
                      struct error *err)
{
    uint32_t bits = 0;

    for (uint32_t i = 0; i < codec_count(list); i++) {
        struct codec_bytes name = {"", 0};
        uint32_t k = 1;
        (void) codec_as_str(codec_at(list, i), &name);
        while (k <= KINDS &&
               !codec_bytes_equal(name, rpc_record_kind_name(
                                            (enum rpc_record_kind) k)))
            k++;
        if (k > KINDS)
            return error_set(err, -EINVAL,
                             "there is no kind of records %.*s: there are "
                             "text, pair, chat and feedback",
                             name.bytes < 32 ? (int) name.bytes : 32,
                             name.data);
        bits |= 1u << (k - 1);
    }
    *out = bits;
    return 0;
}

static int read_streams(char out[STORE_TEXT_SIZE], const msgpack_object *list,
                        struct error *err)
{
    size_t at = 0;

    out[0] = '\0';
    for (uint32_t i = 0; i < codec_count(list); i++) {
        struct codec_bytes name = {"", 0};
        (void) codec_as_str(codec_at(list, i), &name);
        if (name.bytes == 0 || name.bytes >= STORE_NAME_SIZE ||
            memchr(name.data, ' ', name.bytes) ||
            at + name.bytes + 2 > STORE_TEXT_SIZE)
            return error_set(err, -EINVAL, "streams[%u] is no stream's name",
                             i);
        at += (size_t) snprintf(out + at, STORE_TEXT_SIZE - at, "%s%.*s",
                                at ? " " : "", (int) name.bytes, name.data);
    }
    return 0;
}

static int fill_grant(struct store_app *a, const msgpack_object *params,
                      struct error *err)
{
    int64_t now = clock_unix_ms();
    int64_t duration = codec_int(params, "duration_ms", 0);
    uint32_t purposes;
    int rc;

    if ((rc = purpose_read(&purposes, codec_find(params, "purposes"), err)) <
            0 ||
        (rc = read_kinds(&a->kinds, codec_find(params, "kinds"), err)) < 0 ||
        (rc = read_streams(a->streams, codec_find(params, "streams"), err)) < 0)
        return rc;
    // Nothing that has ended comes back with it.
    a->purposes = consent_purposes(a, now) | purposes;
    a->wanted |= purposes;
    a->state = STORE_APP_GRANTED;
    a->expires_ms = duration > 0 ? now + duration : 0;
    a->retention_days = codec_int(params, "retention_days", 0);
    a->changed_ms = now;
    return 0;
}

static int run_app(struct store *s, struct dbcall *c, struct error *err)
{
    const struct store_app *a = c->data;
    int rc = store_app_put(s, a, err);

    encoder_put_map(&c->out, "app");
    encode_app(&c->out, a, NULL);
    encoder_close(&c->out);
    return rc;
}

static void tell(struct pockd *p, const struct store_app *a, const char *kind)
{
    char text[160];

    snprintf(text, sizeof(text), "%s: %s", a->name,
             consent_state_name(a, clock_unix_ms()));
    events_emit(p, &(struct event_params){.kind = kind, .text = text});
    facts_refresh(p);
}

static int check_room(const struct pockd *p, const struct store_app *a,
                      struct error *err)
{
    struct store_app old;

    if (consent_count(p->consent) < CONSENT_APPS_MAX ||
        consent_find(p->consent, a->name, &old, NULL) == 0)
        return 0;
    return error_set(err, -ENOSPC, "%d apps are known, and no more can be",
                     CONSENT_APPS_MAX);
}

// The row that the request asks for, in place of `before`.
static int make_grant(struct store_app *before, struct store_app *a,
                      struct pockd *p, struct request *r, enum rpc_error *code,
                      struct error *err)
{
    int rc = find_app(before, p, r, true, code, err);

    if (rc < 0)
        return rc;
    *a = *before;
    *code = RPC_ERROR_BAD_PARAMS;
    if ((rc = fill_grant(a, request_params(r), err)) < 0)
        return rc;
    *code = RPC_ERROR_QUOTA;
    return check_room(p, a, err);
}

// A row on its way into the store.
struct change {
    struct store_app row; // first: what run_app() and tell() get
    struct pockd *p;
    uint32_t said;
    bool is_held; // training waits for it
};

static void change_ended(void *arg)
{
    struct change *c = arg;

    if (c->is_held)
        training_erase_ended(c->p);
    free(c);
}

static void after_grant(struct dbcall *c)
{
    const struct change *x = c->data;

    if (consent_set(c->p->consent, &x->row, x->said) == 0)
        tell(c->p, &x->row, "app_granted");
}

// When the owner said it; kept with the request while training comes to rest.
static uint32_t said_by(const struct request *r)
{
    return (uint32_t) (uintptr_t) request_user(r);
}

static void say(struct pockd *p, struct request *r, const char *app)
{
    const uint32_t said = consent_say(p->consent, app);

    request_set_user(r, (void *) (uintptr_t) said, NULL);
}

static void fail_overtaken(struct request *r, const char *app)
{
    request_fail(r, RPC_ERROR_CONFLICT,
                 "something else was said of %s meanwhile, and holds", app);
}

// In the order in which things are said, whoever says them.
static void store_app(struct pockd *p, struct request *r,
                      const struct store_app *a, bool is_held,
                      void (*after)(struct dbcall *c))
{
    struct change *c = malloc(sizeof(*c));

    if (!c) {
        if (is_held)
            training_erase_ended(p);
        request_fail(r, RPC_ERROR_BUSY, "out of memory");
        return;
    }
    *c = (struct change){.row = *a,
                         .p = p,
                         .said = said_by(r),
                         .is_held = is_held};
    dbthread_set_lane(p->dbthread, 0);
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_WRITE,
                                         .run = run_app,
                                         .after = after,
                                         .data = c,
                                         .free_data = change_ended});
}

// The store's part, once no job reads the app's records; none starts again
// before it is done.
static void store_grant(struct pockd *p, struct request *r)
{
    struct store_app before;
    struct store_app a;
    struct error err = {0};
    enum rpc_error code;

    if (make_grant(&before, &a, p, r, &code, &err) < 0) {
        training_erase_ended(p);
        request_fail(r, code, "%s", err.text);
    } else if (!consent_is_last(p->consent, a.name, said_by(r))) {
        training_erase_ended(p);
        fail_overtaken(r, a.name);
    } else {
        store_app(p, r, &a, true, after_grant);
    }
}

void handle_app_grant(struct pockd *p, struct request *r)
{
    struct store_app before;
    struct store_app a;
    struct error err = {0};
    enum rpc_error code;

    if (make_grant(&before, &a, p, r, &code, &err) < 0) {
        request_fail(r, code, "%s", err.text);
        return;
    }
    say(p, r, a.name);
    if (consent_takes_records(&before, &a)) {
        // What it takes away holds at once, what it gives when it is stored.
        struct store_app less = before;
        less.kinds = a.kinds;
        memcpy(less.streams, a.streams, sizeof(less.streams));
        (void) consent_set(p->consent, &less, said_by(r));
        training_before_erase(p, r, store_grant);
    } else {
        store_app(p, r, &a, false, after_grant);
    }
}

static int make_revoked(struct store_app *before, struct store_app *a,
                        struct pockd *p, struct request *r,
                        enum rpc_error *code, struct error *err)
{
    const msgpack_object *list = codec_find(request_params(r), "purposes");
    uint32_t purposes = STORE_PURPOSE_ALL;
    int rc = find_app(before, p, r, false, code, err);

    if (rc < 0)
        return rc;
    *code = RPC_ERROR_BAD_PARAMS;
    if (list && (rc = purpose_read(&purposes, list, err)) < 0)
        return rc;
    *a = *before;
    a->purposes = consent_purposes(a, clock_unix_ms()) & ~purposes;
    if (a->purposes == 0) {
        a->state = STORE_APP_REVOKED;
        a->expires_ms = 0;
    }
    a->changed_ms = clock_unix_ms();
    return 0;
}

static void after_revoke(struct dbcall *c)
{
    tell(c->p, c->data, "app_revoked");
}

static void store_revoked(struct pockd *p, struct request *r)
{
    struct store_app a;
    struct error err = {0};
    enum rpc_error code;

    if (find_app(&a, p, r, false, &code, &err) < 0) {
        training_erase_ended(p);
        request_fail(r, code, "%s", err.text);
    } else if (!consent_is_last(p->consent, a.name, said_by(r))) {
        training_erase_ended(p);
        fail_overtaken(r, a.name);
    } else {
        store_app(p, r, &a, true, after_revoke);
    }
}

// A revocation holds from here on; what follows makes it last.
void handle_app_revoke(struct pockd *p, struct request *r)
{
    struct store_app before;
    struct store_app a;
    struct error err = {0};
    enum rpc_error code;

    if (make_revoked(&before, &a, p, r, &code, &err) < 0) {
        request_fail(r, code, "%s", err.text);
        return;
    }
    say(p, r, a.name);
    (void) consent_set(p->consent, &a, said_by(r));
    server_stop_app(p->server, a.name);
    if (consent_takes_records(&before, &a))
        training_before_erase(p, r, store_revoked);
    else
        store_app(p, r, &a, false, after_revoke);
}

/*
 * app.switch
 */

static int run_switch(struct store *s, struct dbcall *c, struct error *err)
{
    bool is_off = codec_bool(c->params, "off", false);
    int rc = store_policy_set(s, CONSENT_OFF_KEY, is_off ? "1" : "0",
                              clock_unix_ms(), err);

    encoder_put_bool(&c->out, "off", is_off);
    return rc;
}

static void after_switch(struct dbcall *c)
{
    bool is_off = codec_bool(c->params, "off", false);

    // Opened only when that will last; closed before.
    consent_switch(c->p->consent, is_off, said_by(c->r));
    events_emit(c->p, &(struct event_params){
                          .kind = is_off ? "switched_off" : "switched_on",
                          .text = is_off ? "the owner switched pockd off"
                                         : "the owner switched pockd on"});
    pockd_reconsider(c->p);
}

void handle_app_switch(struct pockd *p, struct request *r)
{
    say(p, r, NULL);
    if (codec_bool(request_params(r), "off", false)) {
        consent_switch(p->consent, true, said_by(r));
        server_stop_app(p->server, NULL);
        pockd_reconsider(p);
    }
    dbthread_set_lane(p->dbthread, 0);
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_WRITE,
                                         .run = run_switch,
                                         .after = after_switch});
}

/*
 * app.attest
 */

void handle_app_attest(struct pockd *p, struct request *r)
{
    bool is_named = codec_find(request_params(r), "app") != NULL;
    char name[STORE_NAME_SIZE] = "";
    struct error err = {0};
    struct appid app = {.kind = APPID_NONE};

    (void) codec_get_cstr(request_params(r), "app", name, sizeof(name), NULL);
    app.kind = appid_kind_of(name);
    memcpy(app.name, name, sizeof(app.name));
    if (is_named && app.kind != APPID_FLATPAK) {
        request_fail(r, RPC_ERROR_BAD_PARAMS, "`app` must be flatpak:ID");
        return;
    }
    if (server_adopt(p->server, request_take_fd(r), is_named ? &app : NULL,
                     &err) < 0) {
        request_fail(r, RPC_ERROR_BAD_PARAMS, "%s", err.text);
        return;
    }
    (void) request_begin(r);
    request_end(r);
}
