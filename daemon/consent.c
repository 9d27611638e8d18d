// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#define LOG_MODULE "consent"

#include "daemon/consent.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/app_retention.h"
#include "daemon/bucket.h"
#include "daemon/events.h"
#include "daemon/greeting.h"
#include "daemon/pockd.h"
#include "daemon/purpose.h"
#include "daemon/training.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "storage/store_policy.h"

/*
 * Invariants
 * 1. Rows are in the order of their names, each name once.
 * 2. What a row allows is never more than what the owner said last: a
 *    revocation holds here before it is in the store, a grant after. What was
 *    said later holds, whichever of the two comes back from the store first.
 * 3. Whatever becomes less moves `closings` on, before its own write is handed
 *    to the store: what the store does after that write is judged anew.
 * 4. The timer runs only while a grant has an end, or its records have one.
 */

enum {
    LOOK_MS_MAX = 21600000, // the timer does not count while the machine sleeps
    PENDING_MAX = 64,
};

struct entry {
    struct store_app row;
    uint32_t said; // when the owner spoke of it last
    struct bucket score;
    struct bucket generate;
};

struct consent {
    struct pockd *p;
    struct entry *apps;
    size_t count;
    uint32_t said;
    uint32_t said_switch;      // when it was switched last
    _Atomic uint32_t closings; // read by the database thread
    bool is_off;
    bool asks;
    uv_timer_t *timer; // outlives us while it closes
};

static bool has_ended(const struct store_app *a, int64_t unix_ms)
{
    return a->expires_ms > 0 && a->expires_ms <= unix_ms;
}

uint32_t consent_purposes(const struct store_app *a, int64_t unix_ms)
{
    return a->state == STORE_APP_GRANTED && !has_ended(a, unix_ms) ? a->purposes
                                                                   : 0;
}

const char *consent_state_name(const struct store_app *a, int64_t unix_ms)
{
    switch (a->state) {
    case STORE_APP_PENDING:
        return "pending";
    case STORE_APP_GRANTED:
        return has_ended(a, unix_ms) ? "expired" : "granted";
    case STORE_APP_REVOKED:
        break;
    }
    return has_ended(a, unix_ms) ? "expired" : "revoked";
}

// Where the name is, or belongs.
static size_t place_of(const struct consent *c, const char *name)
{
    size_t i = 0;

    while (i < c->count && strcmp(c->apps[i].row.name, name) < 0)
        i++;
    return i;
}

static struct entry *find(const struct consent *c, const char *name)
{
    size_t i = place_of(c, name);

    return i < c->count && strcmp(c->apps[i].row.name, name) == 0 ? &c->apps[i]
                                                                  : NULL;
}

const struct store_app *consent_of(const struct consent *c,
                                   const struct request *r)
{
    const struct entry *e =
        request_is_owner(r) ? NULL : find(c, request_app(r));

    return e ? &e->row : NULL;
}

int consent_find(const struct consent *c, const char *name,
                 struct store_app *out, struct error *err)
{
    const struct entry *e = find(c, name);
    size_t hits = 0;

    for (size_t i = 0; !strchr(name, ':') && i < c->count; i++) {
        const char *colon = strchr(c->apps[i].row.name, ':');
        if (!colon || strcmp(colon + 1, name) != 0)
            continue;
        e = &c->apps[i];
        hits++;
    }
    if (hits > 1)
        return error_set(err, -ENOTUNIQ,
                         "%.64s may be %.64s or another app: give its whole "
                         "name, as `pockctl apps` shows it",
                         name, e->row.name);
    if (!e)
        return error_set(err, -ENOENT,
                         "there is no app %.64s: `pockctl apps` lists those "
                         "that asked",
                         name);
    *out = e->row;
    return 0;
}

const struct store_app *consent_at(const struct consent *c, size_t i)
{
    return i < c->count ? &c->apps[i].row : NULL;
}

size_t consent_count(const struct consent *c)
{
    return c->count;
}

size_t consent_pending(const struct consent *c)
{
    size_t n = 0;

    for (size_t i = 0; i < c->count; i++)
        n += c->apps[i].row.state == STORE_APP_PENDING;
    return n;
}

bool consent_is_off(const struct consent *c)
{
    return c->is_off;
}

/*
 * Time limits
 */

static void let_go(struct pockd *p, struct request *r)
{
    training_erase_ended(p);
}

static int run_meet(struct store *s, void *arg, struct error *err)
{
    return store_app_meet(s, arg, err);
}

static int run_end(struct store *s, void *arg, struct error *err)
{
    const struct store_app *a = arg;

    return store_app_end(s, a->name, a->expires_ms, a->changed_ms, err);
}

static void done_put(void *arg, int rc, const struct error *err)
{
    if (rc < 0)
        log_warn("event=app_not_stored text=%s", err->text);
    free(arg);
}

// pockd's own write of a row, in the order of all that is said of apps.
static void keep(struct consent *c, const struct store_app *row,
                 dbthread_run_fn run)
{
    struct store_app *copy = malloc(sizeof(*copy));

    if (!copy)
        return;
    *copy = *row;
    dbthread_set_lane(c->p->dbthread, 0);
    if (dbthread_submit_own(c->p->dbthread, DBTHREAD_WRITE, run, done_put,
                            copy) < 0)
        free(copy);
}

static void on_timer(uv_timer_t *t);

static void set_timer(struct consent *c)
{
    int64_t now = clock_unix_ms();
    int64_t due = INT64_MAX;

    for (size_t i = 0; i < c->count; i++) {
        const struct store_app *a = &c->apps[i].row;
        if (a->state == STORE_APP_GRANTED && a->expires_ms > 0 &&
            a->expires_ms < due)
            due = a->expires_ms;
        if (a->retention_days > 0 && due > now + LOOK_MS_MAX)
            due = now + LOOK_MS_MAX;
    }
    if (due == INT64_MAX) {
        (void) uv_timer_stop(c->timer);
        return;
    }
    int64_t wait = due > now ? due - now : 0;
    if (wait > LOOK_MS_MAX)
        wait = LOOK_MS_MAX;
    (void) uv_timer_start(c->timer, on_timer, (uint64_t) wait, 0);
}

// Grants whose time has ended become revocations, so that it is done once.
// Jobs must not go on with what they were given.
void consent_start(struct consent *c)
{
    int64_t now = clock_unix_ms();
    bool was_trained = false;

    for (size_t i = 0; i < c->count; i++) {
        struct store_app *a = &c->apps[i].row;
        char text[160];
        if (a->state != STORE_APP_GRANTED || !has_ended(a, now))
            continue;
        was_trained |= (a->purposes & STORE_PURPOSE_TRAIN) != 0;
        a->state = STORE_APP_REVOKED;
        a->purposes = 0;
        a->changed_ms = now;
        atomic_fetch_add(&c->closings, 1);
        keep(c, a, run_end);
        server_stop_app(c->p->server, a->name);
        snprintf(text, sizeof(text), "the time of %s has ended", a->name);
        events_emit(c->p, &(struct event_params){.kind = "grant_expired",
                                                 .text = text});
    }
    if (was_trained)
        training_before_erase(c->p, NULL, let_go);
    app_retention_look(c->p);
    set_timer(c);
}

static void on_timer(uv_timer_t *t)
{
    if (t->data)
        consent_start(t->data);
}

/*
 * Rows
 */

static int add(struct consent *c, const struct store_app *row)
{
    size_t at = place_of(c, row->name);

    if (c->count == CONSENT_APPS_MAX)
        return -ENOSPC;
    if (c->count % 16 == 0) {
        struct entry *more =
            realloc(c->apps, (c->count + 16) * sizeof(*c->apps));
        if (!more)
            return -ENOMEM;
        c->apps = more;
    }
    memmove(c->apps + at + 1, c->apps + at, (c->count - at) * sizeof(*c->apps));
    c->apps[at] = (struct entry){.row = *row};
    c->count++;
    return 0;
}

// What its records may be used for becomes less.
static bool is_less(const struct store_app *before,
                    const struct store_app *after)
{
    return consent_takes_records(before, after) ||
           (before->state == STORE_APP_GRANTED &&
            after->state != STORE_APP_GRANTED);
}

bool consent_takes_records(const struct store_app *before,
                           const struct store_app *after)
{
    if (!(before->purposes & STORE_PURPOSE_TRAIN))
        return false;
    return !(after->purposes & STORE_PURPOSE_TRAIN) ||
           before->kinds != after->kinds ||
           strcmp(before->streams, after->streams) != 0;
}

static int set(struct consent *c, const struct store_app *row, uint32_t said)
{
    struct entry *e = find(c, row->name);
    int rc = 0;

    if (!e && (rc = add(c, row)) == 0)
        e = find(c, row->name);
    if (!e)
        return rc;
    if (is_less(&e->row, row))
        atomic_fetch_add(&c->closings, 1);
    e->row = *row;
    e->said = said;
    set_timer(c);
    return 0;
}

uint32_t consent_say(struct consent *c, const char *name)
{
    struct entry *e = name ? find(c, name) : NULL;

    c->said++;
    if (e)
        e->said = c->said;
    else if (!name)
        c->said_switch = c->said;
    return c->said;
}

bool consent_is_last(const struct consent *c, const char *name, uint32_t said)
{
    const struct entry *e = find(c, name);

    return !e || e->said <= said;
}

int consent_set(struct consent *c, const struct store_app *row, uint32_t said)
{
    const struct entry *e = find(c, row->name);
    struct store_app last = *row;

    if (!consent_is_last(c, row->name, said))
        return -ESTALE;
    // It may have asked for more meanwhile.
    last.wanted |= e ? e->row.wanted : 0;
    return set(c, &last, said);
}

void consent_switch(struct consent *c, bool is_off, uint32_t said)
{
    if (said < c->said_switch)
        return;
    if (is_off)
        atomic_fetch_add(&c->closings, 1);
    c->is_off = is_off;
}

uint32_t consent_closings(const struct consent *c)
{
    return atomic_load(&c->closings);
}

/*
 * hello
 */

static void ask_owner(struct consent *c, const struct store_app *a)
{
    char text[200];

    snprintf(text, sizeof(text),
             "%s asks to be let in: `pockctl grant %s train` or `pockctl "
             "revoke %s`",
             a->name, a->name, a->name);
    events_emit(c->p,
                &(struct event_params){.kind = "app_pending", .text = text});
    log_info("event=app_pending app=%s strength=%u", a->name, a->strength);
}

// A program that names itself anew each time must not fill the table.
static bool has_room(const struct consent *c)
{
    return c->count < CONSENT_APPS_MAX && consent_pending(c) < PENDING_MAX;
}

// A new app, or one that asks for more than before.
static int fill_row(struct consent *c, struct store_app *row,
                    const struct greeting *g, const struct request *r,
                    struct error *err)
{
    int64_t now = clock_unix_ms();
    const struct entry *e = find(c, g->app.name);

    if (e) {
        *row = e->row;
        row->wanted |= g->wants;
        return 0;
    }
    if (!has_room(c))
        return error_set(err, -ENOSPC,
                         "too many apps are known or wait for an answer: see "
                         "`pockctl apps`");
    *row = (struct store_app){.strength = g->strength,
                              .wanted = g->wants,
                              .first_ms = now,
                              .changed_ms = now};
    memcpy(row->name, g->app.name, sizeof(row->name));
    (void) codec_get_cstr(request_params(r), "client", row->client,
                          sizeof(row->client), NULL);
    if (g->is_trusted) {
        row->state = STORE_APP_GRANTED;
        row->purposes = STORE_PURPOSE_ALL;
    }
    return 0;
}

static int meet_app(struct consent *c, const struct greeting *g,
                    const struct request *r, struct error *err)
{
    const struct entry *e = find(c, g->app.name);
    struct store_app row;
    int rc;

    if (e && (e->row.wanted | g->wants) == e->row.wanted)
        return 0;
    if ((rc = fill_row(c, &row, g, r, err)) < 0)
        return rc;
    if ((rc = set(c, &row, e ? e->said : 0)) < 0)
        return error_set(err, rc, "out of memory");
    keep(c, &row, run_meet);
    if (row.state == STORE_APP_PENDING)
        ask_owner(c, &row);
    return 0;
}

int consent_meet(struct consent *c, struct request *r, enum rpc_error *code,
                 struct error *err)
{
    struct greeting g;
    int rc;

    if (request_is_settled(r))
        return 0;
    rc = greeting_read(&g, request_peer(r), request_may_own(r), c->asks,
                       request_params(r), code, err);
    if (rc == 0 && !g.is_owner) {
        *code = RPC_ERROR_QUOTA;
        rc = meet_app(c, &g, r, err);
    }
    if (rc == 0)
        request_settle(r, g.is_owner ? STORE_APP_HOST : g.app.name, g.is_owner);
    return rc;
}

/*
 * Requests
 */

// What a method of scope APP needs. Those that are not named need a grant, of
// whatever it may be.
enum need {
    NEED_GRANT,
    NEED_NOTHING,
    NEED_TRAIN,
    NEED_GENERATE,
    NEED_SCORE,
};

static const enum need needs[METHOD_COUNT] = {
    [METHOD_hello] = NEED_NOTHING,
    [METHOD_ping] = NEED_NOTHING,
    [METHOD_server_info] = NEED_NOTHING,
    // An app may always take back what it gave.
    [METHOD_data_erase] = NEED_NOTHING,
    [METHOD_data_put] = NEED_TRAIN,
    [METHOD_data_put_many] = NEED_TRAIN,
    [METHOD_gen_start] = NEED_GENERATE,
    [METHOD_score] = NEED_SCORE,
};

static uint32_t bits_of(enum need n)
{
    switch (n) {
    case NEED_TRAIN:
        return STORE_PURPOSE_TRAIN;
    case NEED_GENERATE:
        return STORE_PURPOSE_GENERATE;
    case NEED_SCORE:
        return STORE_PURPOSE_SCORE;
    case NEED_GRANT:
    case NEED_NOTHING:
        break;
    }
    return STORE_PURPOSE_ALL;
}

static const char *word_of(enum need n)
{
    return purpose_word(bits_of(n));
}

static void refuse(const struct store_app *a, struct request *r, enum need need)
{
    const char *name = request_app(r);
    const char *state = a ? consent_state_name(a, clock_unix_ms()) : "unknown";
    char text[400];

    snprintf(text, sizeof(text),
             "the owner has not granted %s to %s (%s): `pockctl grant %s %s` "
             "does",
             word_of(need), name, state, name, word_of(need));
    struct encoder *e =
        request_begin_error(r, RPC_ERROR_NOT_CONSENTED, text, 0);
    encoder_put_cstr(e, "app", name);
    encoder_put_cstr(e, "state", state);
    encoder_put_cstr(e, "purpose", word_of(need));
    request_end(r);
}

// What is asked for, in texts or answers.
static double cost_of(const struct request *r)
{
    const msgpack_object *params = request_params(r);
    uint32_t n = codec_count(codec_find(params, "texts")) +
                 codec_count(codec_find(params, "pairs"));

    return n > 0 ? n : 1;
}

static bool admits_rate(struct consent *c, struct entry *e, struct request *r,
                        enum need need)
{
    const struct policy *policy = &c->p->policy;
    bool is_score = need == NEED_SCORE;
    double hour = (double) (is_score ? policy->app_scores_hour
                                     : policy->app_answers_hour);
    char text[300];

    if (need != NEED_SCORE && need != NEED_GENERATE)
        return true;
    int64_t wait = bucket_take(is_score ? &e->score : &e->generate, cost_of(r),
                               hour, pockd_now_ms());
    if (wait == 0)
        return true;
    snprintf(text, sizeof(text),
             "%s may ask for %.0f %s an hour%s: the owner changes that with "
             "`pockctl policy set %s=N`",
             e->row.name, hour, is_score ? "scores" : "answers",
             wait < 0 ? ", and this is more at once" : "",
             is_score ? "app_scores_hour" : "app_answers_hour");
    (void) request_begin_error(r, RPC_ERROR_QUOTA, text, wait > 0 ? wait : 0);
    request_end(r);
    return false;
}

bool consent_judges(const struct request *r)
{
    const enum need need = needs[request_method(r)];

    return need == NEED_TRAIN || (!request_is_owner(r) && need != NEED_NOTHING);
}

bool consent_admits(struct consent *c, struct request *r)
{
    enum need need = needs[request_method(r)];

    if (c->is_off && consent_judges(r)) {
        request_fail(r, RPC_ERROR_NOT_CONSENTED,
                     "the owner has switched pockd off: `pockctl on` opens it "
                     "again");
        return false;
    }
    if (request_is_owner(r) || need == NEED_NOTHING)
        return true;
    struct entry *e = find(c, request_app(r));
    if (!e || !(consent_purposes(&e->row, clock_unix_ms()) & bits_of(need))) {
        refuse(e ? &e->row : NULL, r, need);
        return false;
    }
    return admits_rate(c, e, r, need);
}

static bool names_stream(const char *names, const char *stream, size_t bytes)
{
    for (const char *at = names; *at;) {
        size_t n = strcspn(at, " ");
        if (n == bytes && memcmp(at, stream, n) == 0)
            return true;
        at += n + (at[n] == ' ');
    }
    return names[0] == '\0';
}

int consent_admits_record(const struct consent *c, const struct request *r,
                          uint32_t kind, const char *stream, size_t bytes,
                          struct error *err)
{
    const struct store_app *a = consent_of(c, r);

    if (!a)
        return 0;
    if (a->kinds && !(a->kinds >> (kind - 1) & 1))
        return error_set(err, -EACCES,
                         "the owner granted %s other kinds of records than "
                         "this one",
                         a->name);
    return names_stream(a->streams, stream, bytes)
               ? 0
               : error_set(err, -EACCES,
                           "the owner granted %s the streams %.200s, and not "
                           "%.*s",
                           a->name, a->streams, (int) bytes, stream);
}

/*
 * Start and end
 */

static int load(const struct store_app *a, void *user)
{
    return add(user, a);
}

static bool wants_to_ask(const struct config *c)
{
    bool is_system = !c->is_user && !c->dir[0];

    return c->consent[0] ? strcmp(c->consent, "ask") == 0 : is_system;
}

int consent_create(struct consent **out, struct pockd *p, struct error *err)
{
    const char *mode = p->config->consent;
    struct consent *c;
    char text[8];
    int rc;

    if (mode[0] && strcmp(mode, "ask") != 0 && strcmp(mode, "trust") != 0)
        return error_set(err, -EINVAL,
                         "option consent is %.32s, but must be ask or trust",
                         mode);
    c = calloc(1, sizeof(*c));
    if (!c || !(c->timer = calloc(1, sizeof(*c->timer)))) {
        free(c);
        return error_set(err, -ENOMEM, "out of memory");
    }
    c->p = p;
    c->asks = wants_to_ask(p->config);
    (void) uv_timer_init(&p->loop, c->timer);
    c->timer->data = c;
    *out = c;
    if ((rc = store_app_each(p->store, load, c, err)) < 0)
        return rc;
    c->is_off = store_policy_get(p->store, CONSENT_OFF_KEY, text, sizeof(text),
                                 NULL) == 0 &&
                text[0] == '1';
    return 0;
}

static void on_closed(uv_handle_t *h)
{
    free(h);
}

void consent_destroy(struct consent *c)
{
    if (!c)
        return;
    c->timer->data = NULL;
    uv_close((uv_handle_t *) c->timer, on_closed);
    free(c->apps);
    free(c);
}
