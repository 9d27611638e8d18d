// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/model_keep.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/fdio.h"

enum { PROGRESS_MS = 200 };

struct model_keep {
    struct model_keep_params params;
    uv_work_t work;
    uv_timer_t timer;
    atomic_ullong done;
    atomic_bool stop;
    // Of the thread that works, until it is done
    bool is_clone;
    int rc;
    struct error err;
};

static void on_work(uv_work_t *w)
{
    struct model_keep *k = w->data;
    const struct model_keep_params *p = &k->params;

    if (p->bytes > 0)
        k->rc = fdio_clone(p->to, p->from, p->bytes, &k->done, &k->stop,
                           &k->is_clone, &k->err);
    else if (fsync(p->to) < 0)
        k->rc = error_set(&k->err, -errno, "the file cannot be written");
}

static void on_timer(uv_timer_t *t)
{
    struct model_keep *k = t->data;

    if (k->params.on_progress && k->params.bytes > 0)
        k->params.on_progress(k->params.arg, atomic_load(&k->done),
                              k->params.bytes);
}

static void on_closed(uv_handle_t *h)
{
    free(h->data);
}

static void after_work(uv_work_t *w, int status)
{
    struct model_keep *k = w->data;

    if (status < 0)
        k->rc = error_set(&k->err, -ECANCELED, "pockd is stopping");
    k->params.on_done(k->params.arg, k->rc, k->is_clone, &k->err);
    uv_close((uv_handle_t *) &k->timer, on_closed);
}

int model_keep_start(struct model_keep **out, uv_loop_t *loop,
                     const struct model_keep_params *params, struct error *err)
{
    struct model_keep *k = calloc(1, sizeof(*k));

    if (!k)
        return error_set(err, -ENOMEM, "out of memory");
    k->params = *params;
    k->work.data = k;
    k->timer.data = k;
    (void) uv_timer_init(loop, &k->timer);
    (void) uv_timer_start(&k->timer, on_timer, PROGRESS_MS, PROGRESS_MS);
    (void) uv_queue_work(loop, &k->work, on_work, after_work);
    *out = k;
    return 0;
}

void model_keep_cancel(struct model_keep *k)
{
    atomic_store(&k->stop, true);
}
