// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#define LOG_MODULE "remerge"

#include "daemon/remerge.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/adapter_transfer.h"
#include "daemon/auditlog.h"
#include "daemon/events.h"
#include "daemon/manifest.h"
#include "daemon/model_pick.h"
#include "daemon/pockd.h"
#include "daemon/reload.h"
#include "daemon/tools.h"
#include "engine/base/clock.h"
#include "engine/base/fault.h"
#include "engine/base/log.h"
#include "storage/blob.h"
#include "storage/store_model.h"
#include "storage/store_remerge.h"

enum {
    FAILED_MAX = 16,
    BUSY_MS = 5 * 1000,   // other tools run
    RETRY_MS = 30 * 1000, // doubled each time
    RETRIES_MAX = 9,      // which is four hours
    RANK_DEFAULT = 8,
};

struct remerge {
    struct pockd *p;
    uv_timer_t timer;
    bool is_busy;
    bool is_wanted;             // look again after that
    int64_t failed[FAILED_MAX]; // left alone until the timer
    size_t n_failed;
    int retries;
};

// One of them, on its way through the database thread, a worker, and back.
struct merging {
    struct remerge *all;
    int64_t but[FAILED_MAX]; // left alone
    size_t n_but;
    struct store_remerge what; // id 0: nothing is due
    int model_fd;
    int fds[STORE_REMERGE_PARTS];
    int file_fd; // the worker's
    uint32_t made;
    bool is_active;
};

static void look(struct remerge *m);

static void free_merging(struct merging *x)
{
    adapter_close_merge(x->model_fd, x->fds, STORE_REMERGE_PARTS, x->file_fd);
    free(x);
}

static void on_timer(uv_timer_t *t)
{
    struct remerge *m = t->data;

    m->n_failed = 0;
    look(m);
}

static void rest(struct remerge *m)
{
    m->is_busy = false;
    if (m->is_wanted) {
        look(m);
    } else if (m->n_failed == 0) {
        m->retries = 0;
    } else if (!uv_is_active((uv_handle_t *) &m->timer)) {
        (void) uv_timer_start(&m->timer, on_timer,
                              (uint64_t) RETRY_MS << m->retries, 0);
        m->retries += m->retries < RETRIES_MAX;
    }
}

static void again(struct merging *x)
{
    struct remerge *m = x->all;

    free_merging(x);
    m->is_busy = false;
    look(m);
}

static void fail(struct merging *x, const struct error *err)
{
    struct remerge *m = x->all;
    char text[STORE_TEXT_SIZE];

    if (m->p->is_stopping) {
        free_merging(x);
        return;
    }
    log_warn("event=remerge_failed text=%s", err->text);
    if (x->what.id == 0 || m->n_failed == FAILED_MAX) {
        m->is_wanted = false;
        free_merging(x);
        rest(m);
        return;
    }
    m->failed[m->n_failed++] = x->what.id;
    snprintf(text, sizeof(text),
             "version %u of %s, which an erase took, could not be merged "
             "again: %.300s; it is tried again later",
             x->what.version, x->what.adapter, err->text);
    if (m->retries == 0)
        events_emit(m->p, &(struct event_params){.kind = "job_notice",
                                                 .adapter = x->what.adapter,
                                                 .version = x->what.version,
                                                 .text = text});
    again(x);
}

/*
 * In the store, before and after
 */

static int open_part(struct merging *x, struct store *s, size_t i,
                     struct error *err)
{
    const struct store_part *p = &x->what.parts[i];
    struct store_version v;
    int rc = store_version_get(s, p->adapter_id, p->version, &v, err);

    if (rc < 0)
        return rc;
    if (x->what.rank == 0)
        x->what.rank = v.rank;
    x->fds[i] = store_blob_open(s, v.sha256, (uint64_t) v.bytes, err);
    return x->fds[i] < 0 ? x->fds[i] : 0;
}

static int account(struct merging *x, struct store *s, int64_t now_ms,
                   struct error *err)
{
    char text[96];
    int rc;

    snprintf(text, sizeof(text), "%s:%u", x->what.adapter, x->made);
    rc = auditlog_own(s, "adapter.merge", x->made > 0, text, now_ms, err);
    return rc < 0 || !x->is_active
               ? rc
               : auditlog_own(s, "adapter.activate", 1, text, now_ms, err);
}

static int finish(struct merging *x, struct store *s, int64_t now_ms,
                  struct error *err)
{
    int rc =
        store_remerge_finish(s, &x->what, x->made, now_ms, &x->is_active, err);

    return rc < 0 ? rc : account(x, s, now_ms, err);
}

// Of none of its parts anything is left.
static int give_up(struct merging *x, struct store *s, struct error *err)
{
    int rc = store_begin(s, err);

    if (rc < 0)
        return rc;
    if ((rc = finish(x, s, clock_unix_ms(), err)) == 0)
        rc = store_commit(s, err);
    if (rc < 0)
        store_rollback(s);
    return rc;
}

static int run_open(struct store *s, void *arg, struct error *err)
{
    struct merging *x = arg;
    struct store_model m;
    int rc = store_remerge_next(s, x->but, x->n_but, &x->what, err);

    if (rc <= 0) {
        x->what.id = 0;
        return rc;
    }
    if (x->what.n_parts == 0)
        return give_up(x, s, err);
    if ((rc = store_model_get_id(s, x->what.model_id, &m, err)) < 0)
        return rc;
    for (size_t i = 0; i < x->what.n_parts; i++)
        if ((rc = open_part(x, s, i, err)) < 0)
            return rc;
    if (x->what.rank == 0)
        x->what.rank = RANK_DEFAULT;
    x->model_fd = model_open(&m, err);
    return x->model_fd < 0 ? x->model_fd : 0;
}

// All of it or nothing: the version, its parts, lineage and manifest, that it
// took the place of the old one, and that it is active.
static int add(struct merging *x, struct store *s,
               const struct store_version *v, struct error *err)
{
    const struct store_remerge *w = &x->what;
    int rc = store_begin(s, err);

    if (rc < 0)
        return rc;
    rc = store_merge_add(s, v, w->parts, w->n_parts, &x->made, err);
    if (rc == 0)
        rc =
            manifest_make(s, &x->all->p->identity,
                          &(struct manifest_params){.adapter_id = w->adapter_id,
                                                    .version = x->made,
                                                    .parts = w->parts,
                                                    .n_parts = w->n_parts},
                          err);
    // -EEXIST: its owner merged the same meanwhile.
    if (rc == 0 || rc == -EEXIST)
        rc = finish(x, s, v->created_ms, err);
    if (rc == 0)
        rc = store_commit(s, err);
    if (rc < 0)
        store_rollback(s);
    return rc;
}

static int run_add(struct store *s, void *arg, struct error *err)
{
    struct merging *x = arg;
    struct store_version v;
    uint64_t bytes = 0;
    int rc;

    store_version_init(&v);
    v.adapter_id = x->what.adapter_id;
    v.rank = x->what.rank;
    v.created_ms = clock_unix_ms();
    fault_step();
    if ((rc = store_blob_put_fd(s, x->file_fd, WORKER_FILE_BYTES_MAX, v.sha256,
                                &bytes, err)) < 0)
        return rc;
    fault_step();
    v.bytes = (int64_t) bytes;
    rc = add(x, s, &v, err);
    fault_step();
    return rc;
}

/*
 * What is told
 */

static void name_parts(char *out, size_t size, const struct store_remerge *w)
{
    size_t at = 0;

    out[0] = '\0';
    for (size_t i = 0; i < w->n_parts && at < size; i++)
        at += (size_t) snprintf(out + at, size - at, "%s%s:%u", i ? ", " : "",
                                w->parts[i].adapter, w->parts[i].version);
}

static void tell(const struct merging *x)
{
    const struct store_remerge *w = &x->what;
    struct pockd *p = x->all->p;
    char parts[300], text[STORE_TEXT_SIZE];

    name_parts(parts, sizeof(parts), w);
    if (x->made > 0)
        snprintf(text, sizeof(text),
                 "merged again of %s%s%.100s in place of version %u, which an "
                 "erase took",
                 parts, w->without[0] ? ", without " : "", w->without,
                 w->version);
    else
        snprintf(text, sizeof(text),
                 "nothing is left of what version %u was merged of: it is not "
                 "merged again",
                 w->version);
    events_emit(p, &(struct event_params){.kind = x->made > 0 ? "version_made"
                                                              : "job_notice",
                                          .adapter = w->adapter,
                                          .version = x->made,
                                          .text = text});
    if (x->is_active) {
        events_emit(p, &(struct event_params){.kind = "version_activated",
                                              .adapter = w->adapter,
                                              .version = x->made,
                                              .text = text});
        reload_run(p->reload, w->adapter, x->made);
    }
    facts_refresh(p);
}

/*
 * The way
 */

static void done_add(void *arg, int rc, const struct error *err)
{
    struct merging *x = arg;

    if (rc == 0)
        tell(x);
    // A part was erased, or what waited was deleted, while it was merged.
    if (rc == 0 || rc == -ESTALE)
        again(x);
    else
        fail(x, err);
}

static void on_answer(void *arg, int rc, struct worker_msg *msg,
                      const struct error *err)
{
    struct merging *x = arg;
    struct error own = {0};

    if (rc == 0 && msg->type == WORKER_MSG_converted) {
        x->file_fd = worker_fd_take(&msg->converted.file_fd);
        rc = dbthread_submit_own(x->all->p->dbthread, DBTHREAD_ALONE, run_add,
                                 done_add, x);
        if (rc == 0)
            return;
        (void) error_set(&own, rc, "the store is busy");
        err = &own;
    } else if (rc == 0) {
        (void) error_set(&own, -EPIPE, "the worker answered nonsense");
        err = &own;
    }
    fail(x, err);
}

static void merge(struct merging *x)
{
    struct remerge *m = x->all;
    struct worker_msg msg;
    struct error err = {0};

    worker_msg_init(&msg, WORKER_MSG_merge);
    adapter_fill_merge(&msg.merge, x->what.rank, x->model_fd, x->fds,
                       x->what.parts, x->what.n_parts);
    const int rc = tools_run(m->p->tools, &msg, on_answer, x, &err);
    if (rc == -EBUSY) {
        free_merging(x);
        m->is_busy = m->is_wanted = false;
        (void) uv_timer_start(&m->timer, on_timer, BUSY_MS, 0);
    } else if (rc < 0) {
        fail(x, &err);
    }
}

static void done_open(void *arg, int rc, const struct error *err)
{
    struct merging *x = arg;
    struct remerge *m = x->all;

    if (rc < 0 || m->p->is_stopping) {
        fail(x, err);
    } else if (x->what.id == 0) {
        free_merging(x);
        rest(m);
    } else if (x->what.n_parts == 0) {
        tell(x);
        again(x);
    } else {
        merge(x);
    }
}

static void look(struct remerge *m)
{
    struct merging *x;

    m->is_wanted = m->is_busy;
    if (m->is_busy || m->p->is_stopping || m->p->is_degraded ||
        !(x = calloc(1, sizeof(*x))))
        return;
    x->all = m;
    memcpy(x->but, m->failed, sizeof(x->but));
    x->n_but = m->n_failed;
    x->model_fd = x->file_fd = -1;
    for (size_t i = 0; i < STORE_REMERGE_PARTS; i++)
        x->fds[i] = -1;
    m->is_busy = dbthread_submit_own(m->p->dbthread, DBTHREAD_ALONE, run_open,
                                     done_open, x) == 0;
    if (!m->is_busy)
        free(x);
}

void remerge_look(struct remerge *m)
{
    look(m);
}

int remerge_create(struct remerge **out, struct pockd *p)
{
    struct remerge *m = calloc(1, sizeof(*m));

    if (!m)
        return -ENOMEM;
    m->p = p;
    (void) uv_timer_init(&p->loop, &m->timer);
    m->timer.data = m;
    *out = m;
    return 0;
}

static void on_closed(uv_handle_t *h)
{
    free(h->data);
}

void remerge_destroy(struct remerge *m)
{
    if (m)
        uv_close((uv_handle_t *) &m->timer, on_closed);
}

void remerge_encode(struct encoder *e, const struct facts *f)
{
    encoder_put_array(e, "remerges");
    for (size_t i = 0; i < f->remerge_count; i++) {
        const struct facts_remerge *r = &f->remerges[i];
        encoder_open_map(e);
        encoder_put_cstr(e, "adapter", r->adapter);
        encoder_put_int(e, "version", r->version);
        encoder_put_bool(e, "active", r->was_active);
        if (r->waits_for[0])
            encoder_put_cstr(e, "waits_for", r->waits_for);
        encoder_close(e);
    }
    encoder_close(e);
}
