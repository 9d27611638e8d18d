// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/dbcall.h"
#include "daemon/handlers.h"
#include "daemon/model_pick.h"
#include "daemon/pockd.h"
#include "daemon/times_file.h"
#include "daemon/tools.h"
#include "daemon/train_recipe.h"
#include "daemon/training.h"

// Measuring, or looking at what was measured: the model and the table are
// opened, a tool worker does the rest, a new table is kept.
struct tuning {
    struct pockd *p;
    struct request *r;
    bool is_measuring;
    bool is_forced;
    double seconds;
    int model_fd;
    int times_fd;
    int file_fd;
    char model[STORE_NAME_SIZE];
    char recipe[TRAIN_RECIPE_BYTES];
    char device[TRAIN_DEVICE_BYTES]; // the policy's
    struct worker_tuned tuned;
};

static void close_fd(int fd)
{
    if (fd >= 0)
        (void) close(fd);
}

static void free_tuning(void *data)
{
    struct tuning *x = data;

    close_fd(x->model_fd);
    close_fd(x->times_fd);
    close_fd(x->file_fd);
    free(x);
}

static int run_open(struct store *s, struct dbcall *c, struct error *err)
{
    struct tuning *x = c->data;
    int rc = train_recipe_resolve(x->recipe, s, err);

    if (rc < 0)
        return rc;
    x->times_fd = times_file_open(&c->p->paths);
    return model_pick(x->model, &x->model_fd, s, c, err);
}

static int keep(const struct tuning *x, const struct paths *paths,
                struct error *err)
{
    if (x->file_fd >= 0)
        return times_file_save(paths, x->file_fd, err);
    // Said once: whoever looks next finds none.
    if (x->tuned.drop_times)
        (void) times_file_drop(paths);
    return 0;
}

static int run_answer(struct store *s, struct dbcall *c, struct error *err)
{
    const struct tuning *x = c->data;
    const struct worker_tuned *t = &x->tuned;
    struct encoder *e = &c->out;
    int rc = keep(x, &c->p->paths, err);

    if (rc < 0)
        return rc;
    encoder_put_cstr(e, "model", x->model);
    encoder_put_bool(e, "used", t->rows > 0);
    encoder_put_cstr(e, "text",
                     t->rows == 0 && !t->msg[0]
                         ? "kernels were not timed on this device"
                         : t->msg);
    if (t->rows > 0) {
        encoder_put_cstr(e, "device", t->device);
        encoder_put_int(e, "threads", t->threads);
        encoder_put_int(e, "shapes", t->rows);
        encoder_put_int(e, "time", (int64_t) t->when * 1000);
        encoder_put_float(e, "wake_us", t->wake_us);
        encoder_put_cstr(e, "kernels", t->kernels);
    }
    if (x->is_measuring) {
        encoder_put_int(e, "wanted", t->shapes);
        encoder_put_int(e, "timed", t->timed);
        encoder_put_int(e, "left", t->left);
        encoder_put_float(e, "seconds", t->seconds);
    }
    return 0;
}

static void on_tuned(void *arg, int rc, struct worker_msg *m,
                     const struct error *err)
{
    struct tuning *x = arg;
    struct request *r = x->r;

    if (rc < 0 || m->type != WORKER_MSG_tuned ||
        x->is_measuring != (m->tuned.file_fd >= 0)) {
        free_tuning(x);
        tools_fail(r, rc, err);
        return;
    }
    x->file_fd = worker_fd_take(&m->tuned.file_fd);
    x->tuned = m->tuned;
    dbcall_start(x->p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_ALONE,
                                         .run = run_answer,
                                         .data = x,
                                         .free_data = free_tuning});
}

static void after_open(struct dbcall *c)
{
    struct tuning *x = c->data;
    struct worker_msg m;

    x->r = dbcall_take(c);
    worker_msg_init(&m, WORKER_MSG_tune);
    m.tune.req = 1;
    _Static_assert(sizeof(m.tune.recipe) >= TRAIN_RECIPE_BYTES, "a recipe");
    memcpy(m.tune.recipe, x->recipe, sizeof(x->recipe));
    // Where a job with that recipe would run.
    if (!train_recipe_take_device(m.tune.device, m.tune.recipe))
        (void) snprintf(m.tune.device, sizeof(m.tune.device), "%s", x->device);
    m.tune.is_measuring = x->is_measuring;
    m.tune.seconds = x->seconds;
    m.tune.is_forced = x->is_forced;
    m.tune.model_fd = x->model_fd;
    m.tune.times_fd = x->times_fd;
    (void) tools_call(x->p->tools, x->r, &m, on_tuned, x, free_tuning);
}

static int take_params(struct tuning *x, struct pockd *p, struct error *err)
{
    const msgpack_object *params = request_params(x->r);
    const msgpack_object *recipe = codec_find(params, "recipe");

    if (codec_get_cstr(params, "model", x->model, sizeof(x->model), err) ==
        -EINVAL)
        return -EINVAL;
    x->seconds = codec_float(params, "seconds", 0);
    x->is_forced = codec_bool(params, "force", false);
    if (codec_find(params, "seconds") &&
        !(x->seconds >= 1 && x->seconds <= 600))
        return error_set(err, -EINVAL,
                         "seconds is %g, but must be from 1 to 600",
                         x->seconds);
    (void) snprintf(x->device, sizeof(x->device), "%.60s",
                    p->policy.device[0] ? p->policy.device : "auto");
    return train_recipe_make(x->recipe, recipe, &p->policy, err);
}

static void start(struct pockd *p, struct request *r, bool is_measuring)
{
    struct tuning *x = calloc(1, sizeof(*x));
    struct error err = {0};

    if (!x) {
        request_fail(r, RPC_ERROR_BUSY, "out of memory");
        return;
    }
    *x = (struct tuning){
        .p = p,
        .r = r,
        .is_measuring = is_measuring,
        .model_fd = -1,
        .times_fd = -1,
        .file_fd = -1,
    };
    if (take_params(x, p, &err) < 0) {
        free_tuning(x);
        request_fail(r, RPC_ERROR_BAD_PARAMS, "%s", err.text);
        return;
    }
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_ALONE,
                                         .run = run_open,
                                         .after = after_open,
                                         .data = x,
                                         .free_data = free_tuning});
}

void handle_tune_run(struct pockd *p, struct request *r)
{
    if (!training_is_quiet(p->training)) {
        request_fail(r, RPC_ERROR_BUSY,
                     "a job trains now, and times measured beside it would be "
                     "wrong: try again when it is done, or `pockctl train "
                     "pause` first");
        return;
    }
    start(p, r, true);
}

void handle_tune_show(struct pockd *p, struct request *r)
{
    start(p, r, false);
}
