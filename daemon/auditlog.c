// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/auditlog.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/dbcall.h"
#include "daemon/pockd.h"
#include "engine/base/clock.h"

enum {
    FLUSH_MS = 5000,
    DAY_MS = 24 * 60 * 60 * 1000,
    COUNTED_MAX = 64,
};

// How a method is told of; what is not here is told of nowhere.
enum way {
    WAY_NONE,
    WAY_WRITE, // with its transaction
    WAY_READ,  // when the store has answered
    WAY_CALL,  // when it comes
};

static const struct {
    enum way way;
    const char *action; // NULL: the method's name
} ways[METHOD_COUNT] = {
    [METHOD_app_grant] = {WAY_CALL, NULL},
    [METHOD_app_revoke] = {WAY_CALL, NULL},
    [METHOD_app_switch] = {WAY_CALL, NULL},
    [METHOD_data_put] = {WAY_WRITE, NULL},
    [METHOD_data_put_many] = {WAY_WRITE, "data.put"},
    [METHOD_data_erase] = {WAY_WRITE, NULL},
    [METHOD_data_list] = {WAY_READ, NULL},
    [METHOD_data_get] = {WAY_READ, NULL},
    [METHOD_data_mask] = {WAY_CALL, NULL},
    [METHOD_data_export] = {WAY_CALL, NULL},
    [METHOD_data_retention] = {WAY_CALL, NULL},
    [METHOD_key_rotate] = {WAY_CALL, NULL},
    [METHOD_train_start] = {WAY_CALL, NULL},
    [METHOD_train_cancel] = {WAY_CALL, NULL},
    [METHOD_scheme_search] = {WAY_CALL, NULL},
    [METHOD_adapter_activate] = {WAY_WRITE, NULL},
    [METHOD_adapter_rollback] = {WAY_WRITE, NULL},
    [METHOD_adapter_export] = {WAY_CALL, NULL},
    [METHOD_adapter_prove] = {WAY_READ, NULL},
    [METHOD_adapter_import] = {WAY_WRITE, NULL},
    [METHOD_adapter_merge] = {WAY_WRITE, NULL},
    [METHOD_adapter_delete] = {WAY_WRITE, NULL},
    [METHOD_archive_export] = {WAY_CALL, NULL},
    [METHOD_gen_start] = {WAY_CALL, NULL},
    [METHOD_score] = {WAY_CALL, NULL},
    [METHOD_policy_set] = {WAY_WRITE, NULL},
    [METHOD_model_add] = {WAY_CALL, NULL},
    [METHOD_model_remove] = {WAY_CALL, NULL},
};

struct auditlog {
    struct pockd *p;
    uv_timer_t *timer; // outlives us while it closes
    struct store_audit counted[COUNTED_MAX];
    size_t count;
};

static void on_closed(uv_handle_t *h)
{
    free(h);
}

int auditlog_create(struct auditlog **out, struct pockd *p)
{
    struct auditlog *a = calloc(1, sizeof(*a));

    if (!a || !(a->timer = calloc(1, sizeof(*a->timer)))) {
        free(a);
        return -ENOMEM;
    }
    a->p = p;
    (void) uv_timer_init(&p->loop, a->timer);
    a->timer->data = a;
    *out = a;
    return 0;
}

static struct store_audit entry_of(const struct request *r, int64_t count)
{
    const enum method m = request_method(r);
    struct store_audit e = {.time_ms = clock_unix_ms(),
                            .uid = request_uid(r),
                            .pid = request_pid(r),
                            .count = count};

    (void) snprintf(e.app, sizeof(e.app), "%s", request_app(r));
    (void) snprintf(e.action, sizeof(e.action), "%s",
                    ways[m].action ? ways[m].action : method_infos[m].name);
    return e;
}

/*
 * What only reads
 */

struct batch {
    size_t count;
    int64_t keep_ms;
    struct store_audit list[];
};

static int run_batch(struct store *s, void *arg, struct error *err)
{
    const struct batch *b = arg;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < b->count; i++)
        rc = store_audit_note(s, &b->list[i], err);
    return rc < 0
               ? rc
               : store_audit_flush(s, clock_unix_ms(), b->keep_ms, false, err);
}

static void done_batch(void *arg, int rc, const struct error *err)
{
    free(arg);
}

static struct batch *take_batch(struct auditlog *a)
{
    const size_t bytes = a->count * sizeof(a->counted[0]);
    struct batch *b = malloc(sizeof(*b) + bytes);

    if (!b)
        return NULL;
    b->count = a->count;
    b->keep_ms = clock_unix_ms() - (int64_t) a->p->policy.audit_days * DAY_MS;
    memcpy(b->list, a->counted, bytes);
    a->count = 0;
    return b;
}

static void flush(struct auditlog *a)
{
    struct batch *b = a->count > 0 ? take_batch(a) : NULL;

    if (b && dbthread_submit_own(a->p->dbthread, DBTHREAD_WRITE, run_batch,
                                 done_batch, b) < 0)
        free(b);
}

static void on_timer(uv_timer_t *t)
{
    if (t->data)
        flush(t->data);
}

static void count(struct auditlog *a, const struct store_audit *e)
{
    if (a->count == COUNTED_MAX)
        flush(a);
    for (size_t i = 0; i < a->count; i++) {
        struct store_audit *b = &a->counted[i];
        if (b->uid == e->uid && b->pid == e->pid &&
            strcmp(b->action, e->action) == 0 && strcmp(b->app, e->app) == 0) {
            b->count += e->count;
            return;
        }
    }
    if (a->count == COUNTED_MAX)
        return; // no memory for a batch
    a->counted[a->count++] = *e;
    if (!uv_is_active((uv_handle_t *) a->timer))
        (void) uv_timer_start(a->timer, on_timer, FLUSH_MS, 0);
}

void auditlog_on_request(struct pockd *p, const struct request *r)
{
    if (ways[request_method(r)].way != WAY_CALL)
        return;
    const struct store_audit e = entry_of(r, 1);
    count(p->audit, &e);
}

void auditlog_on_read(struct pockd *p, const struct request *r, int64_t n)
{
    if (ways[request_method(r)].way != WAY_READ || n == 0)
        return;
    const struct store_audit e = entry_of(r, n);
    count(p->audit, &e);
}

void auditlog_destroy(struct auditlog *a)
{
    struct batch *b;

    if (!a)
        return;
    if (a->count > 0 && a->p->store && (b = take_batch(a))) {
        (void) run_batch(a->p->store, b, NULL);
        free(b);
    }
    a->timer->data = NULL;
    uv_close((uv_handle_t *) a->timer, on_closed);
    free(a);
}

/*
 * What writes
 */

int auditlog_before(struct store *s, const struct dbcall *c, bool is_alone,
                    struct error *err)
{
    if (!is_alone || ways[request_method(c->r)].way != WAY_WRITE)
        return 0;
    const struct store_audit e = entry_of(c->r, 0);
    return store_audit_note(s, &e, err);
}

int auditlog_after(struct store *s, const struct dbcall *c, bool is_alone,
                   int rc, struct error *err)
{
    if (ways[request_method(c->r)].way != WAY_WRITE)
        return rc;
    if (rc < 0 || c->audited == 0) {
        // In a transaction of others it is forgotten with that.
        if (is_alone)
            store_audit_forget(s);
        return rc;
    }
    struct store_audit e = entry_of(c->r, c->audited);
    (void) snprintf(e.text, sizeof(e.text), "%s", c->audit_text);
    rc = store_audit_note(s, &e, err);
    return rc < 0 || !is_alone ? rc
                               : store_audit_flush(s, e.time_ms, 0, false, err);
}

int auditlog_note(struct store *s, const struct request *r, int64_t n,
                  struct error *err)
{
    const struct store_audit e = entry_of(r, n);

    return store_audit_note(s, &e, err);
}

int auditlog_own(struct store *s, const char *action, int64_t n,
                 const char *text, int64_t now_ms, struct error *err)
{
    struct store_audit e = {.time_ms = now_ms,
                            .uid = (int64_t) geteuid(),
                            .count = n};

    (void) snprintf(e.app, sizeof(e.app), "pockd");
    (void) snprintf(e.action, sizeof(e.action), "%s", action);
    (void) snprintf(e.text, sizeof(e.text), "%s", text);
    return store_audit_add(s, &e, err);
}
