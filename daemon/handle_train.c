// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <math.h>
#include <string.h>

#include "daemon/dbcall.h"
#include "daemon/handlers.h"
#include "daemon/training.h"
#include "daemon/watchers.h"
#include "storage/store_adapter.h"
#include "storage/store_metric.h"
#include "storage/store_run.h"

enum {
    CURVE_POINTS = 1000,
    HISTORY_DEFAULT = 20,
};

void handle_train_start(struct pockd *p, struct request *r)
{
    training_start(p, r);
}

void handle_train_cancel(struct pockd *p, struct request *r)
{
    training_cancel(p, r);
}

void handle_train_pause(struct pockd *p, struct request *r)
{
    training_pause(p, r);
}

void handle_train_resume(struct pockd *p, struct request *r)
{
    training_resume(p, r);
}

static int put_point(const struct store_point *pt, void *user)
{
    struct encoder *e = user;

    encoder_open_map(e);
    encoder_put_int(e, "step", pt->step);
    encoder_put_int(e, "time", pt->time_ms);
    encoder_put_int(e, "tokens", pt->tokens);
    if (isfinite(pt->loss))
        encoder_put_float(e, "loss", pt->loss);
    if (isfinite(pt->heldout))
        encoder_put_float(e, "heldout", pt->heldout);
    if (isfinite(pt->rate))
        encoder_put_float(e, "lr", pt->rate);
    encoder_close(e);
    return 0;
}

static int run_status(struct store *s, struct dbcall *c, struct error *err)
{
    int64_t id = codec_int(c->params, "job", 0);
    struct store_job job;
    int rc = store_job_get(s, id, &job, err);

    if (rc < 0)
        return error_set(err, rc, "there is no job %lld", (long long) id);
    encoder_put_array(&c->out, "jobs");
    training_encode_row(&c->out, &job, NULL);
    encoder_close(&c->out);
    if (!codec_bool(c->params, "curve", false))
        return 0;
    encoder_put_array(&c->out, "curve");
    rc = store_metric_each(s, id, CURVE_POINTS, put_point, &c->out, err);
    encoder_close(&c->out);
    return rc;
}

void handle_train_status(struct pockd *p, struct request *r)
{
    int64_t id = codec_int(request_params(r), "job", 0);
    bool has_curve = codec_bool(request_params(r), "curve", false);
    bool is_alive = training_has_job(p->training, id);

    if (request_is_stream(r) && id == 0)
        id = training_current(p->training);
    if (request_is_stream(r) && id && training_has_job(p->training, id)) {
        watchers_add(p->watchers, r, id);
    } else if (id && (has_curve || !is_alive)) {
        dbcall_start(p, r,
                     &(struct dbcall_params){.kind = DBTHREAD_READ,
                                             .run = run_status});
    } else {
        struct encoder *e = request_begin(r);
        if (id) {
            encoder_put_array(e, "jobs");
            training_encode_job(e, p, id);
            encoder_close(e);
        } else {
            training_encode_all(e, p);
        }
        request_end(r);
    }
}

struct history {
    struct dbcall *c;
    int64_t limit;
    int64_t count;
    int64_t last;
    bool has_more;
};

static int put_job(const struct store_job *j, void *user)
{
    struct history *h = user;

    if (h->count == h->limit) {
        h->has_more = true;
        return 1;
    }
    h->count++;
    h->last = j->id;
    training_encode_row(&h->c->out, j, NULL);
    return 0;
}

static int put_night(const struct store_night *n, void *user)
{
    struct encoder *e = user;

    encoder_open_map(e);
    encoder_put_int(e, "night", n->night);
    encoder_put_int(e, "started", n->started_ms);
    encoder_put_int(e, "runs", n->runs);
    encoder_put_int(e, "slices", n->slices);
    encoder_put_int(e, "run_ms", n->run_ms);
    encoder_put_int(e, "steps", n->steps);
    encoder_put_cstr(e, "stopped_by", n->stopped_by);
    if (isfinite(n->energy_j))
        encoder_put_float(e, "energy_wh", n->energy_j / 3600);
    if (isfinite(n->heldout_before))
        encoder_put_float(e, "heldout_before", n->heldout_before);
    if (isfinite(n->heldout_after))
        encoder_put_float(e, "heldout_after", n->heldout_after);
    encoder_put_int(e, "versions", n->versions);
    encoder_close(e);
    return 0;
}

// With the newest jobs, not with older pages of them.
static int put_nights(struct store *s, struct dbcall *c, int64_t limit,
                      struct error *err)
{
    if (codec_int(c->params, "cursor", 0) != 0)
        return 0;
    encoder_put_array(&c->out, "nights");
    int rc = store_night_each(s, limit, put_night, &c->out, err);
    encoder_close(&c->out);
    return rc < 0 ? rc : 0;
}

static int run_history(struct store *s, struct dbcall *c, struct error *err)
{
    char name[STORE_NAME_SIZE] = "";
    struct store_adapter a = {.id = 0};
    struct history h = {.c = c,
                        .limit =
                            codec_int(c->params, "limit", HISTORY_DEFAULT)};
    int rc = codec_get_cstr(c->params, "adapter", name, sizeof(name), err);

    if (rc == -EINVAL)
        return rc;
    if (name[0] && (rc = store_adapter_get(s, name, &a, err)) < 0)
        return error_set(err, rc, "there is no adapter %s", name);
    encoder_put_array(&c->out, "jobs");
    rc = store_job_each(s, a.id, codec_int(c->params, "cursor", 0), h.limit + 1,
                        put_job, &h, err);
    encoder_close(&c->out);
    if (rc >= 0 && h.has_more)
        encoder_put_int(&c->out, "next", h.last);
    return rc < 0 ? rc : put_nights(s, c, h.limit, err);
}

void handle_train_history(struct pockd *p, struct request *r)
{
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_READ,
                                         .run = run_history});
}
