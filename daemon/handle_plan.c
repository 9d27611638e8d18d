// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/dbcall.h"
#include "daemon/fdio.h"
#include "daemon/handlers.h"
#include "daemon/model_pick.h"
#include "daemon/times_file.h"
#include "daemon/tools.h"
#include "daemon/train_recipe.h"

// A plan: the model is found and opened, a tool worker compiles, the answer is
// encoded and the drawing copied where the client wants it.
struct planning {
    struct pockd *p;
    struct request *r;
    int model_fd;
    int file_fd;
    int times_fd;
    char model[STORE_NAME_SIZE];
    char recipe[TRAIN_RECIPE_BYTES];
    struct worker_planned plan;
};

static void free_planning(void *data)
{
    struct planning *x = data;

    if (x->model_fd >= 0)
        (void) close(x->model_fd);
    if (x->file_fd >= 0)
        (void) close(x->file_fd);
    if (x->times_fd >= 0)
        (void) close(x->times_fd);
    free(x);
}

static int run_open(struct store *s, struct dbcall *c, struct error *err)
{
    struct planning *x = c->data;
    int rc;

    if (request_fd(c->r) >= 0 &&
        (rc = fdio_check_writable(request_fd(c->r), err)) < 0)
        return rc;
    if ((rc = train_recipe_resolve(x->recipe, s, err)) < 0)
        return rc;
    x->times_fd = times_file_open(&c->p->paths);
    return model_pick(x->model, &x->model_fd, s, c, err);
}

static void put_groups(struct encoder *e, const char *key,
                       const struct worker_plan_group *g, uint32_t n)
{
    encoder_put_array(e, key);
    for (uint32_t i = 0; i < n; i++) {
        encoder_open_map(e);
        encoder_put_cstr(e, "what", g[i].what);
        encoder_put_cstr(e, "kind", g[i].kind);
        encoder_put_int(e, "count", g[i].count);
        encoder_put_int(e, "bytes", (int64_t) g[i].bytes);
        encoder_close(e);
    }
    encoder_close(e);
}

static void put_steps(struct encoder *e, const struct worker_planned *p)
{
    encoder_put_array(e, "steps");
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const struct worker_plan_step *s = &p->steps[i];
        encoder_open_map(e);
        encoder_put_cstr(e, "what", s->what);
        encoder_put_int(e, "count", s->count);
        encoder_put_bool(e, "measured", s->is_measured);
        encoder_put_cstr(e, "kernel", s->kernel);
        encoder_put_int(e, "threads", s->threads);
        encoder_put_float(e, "ms", s->ms);
        if (s->other_threads > 0) {
            encoder_put_cstr(e, "other_kernel", s->other_kernel);
            encoder_put_int(e, "other_threads", s->other_threads);
            encoder_put_float(e, "other_ms", s->other_ms);
        }
        encoder_close(e);
    }
    encoder_close(e);
}

static void put_times(struct encoder *e, const struct planning *x)
{
    const struct worker_planned *p = &x->plan;

    if (isfinite(p->step_ms))
        encoder_put_float(e, "step_ms", p->step_ms);
    encoder_put_int(e, "measured", p->measured);
    encoder_put_cstr(e, "times",
                     x->times_fd < 0
                         ? "Kernels were not timed on this device: `pockctl "
                           "doctor --tune` does it."
                         : p->times);
    put_steps(e, p);
}

static int run_answer(struct store *s, struct dbcall *c, struct error *err)
{
    const struct planning *x = c->data;
    const struct worker_planned *p = &x->plan;
    struct encoder *e = &c->out;
    uint64_t bytes = 0;
    int rc;

    if (x->file_fd >= 0) {
        rc = fdio_copy(request_fd(c->r), x->file_fd, &bytes, err);
        if (rc < 0)
            return rc;
        encoder_put_int(e, "drawing_bytes", (int64_t) bytes);
    }
    encoder_put_cstr(e, "model", x->model);
    train_recipe_encode(e, x->recipe);
    encoder_put_int(e, "tensors", p->tensors);
    encoder_put_int(e, "params", (int64_t) p->params);
    encoder_put_int(e, "first_block", p->first_block);
    encoder_put_int(e, "blocks", p->n_blocks);
    encoder_put_int(e, "rows", p->rows);
    encoder_put_int(e, "micro_batches", p->micro_batches);
    encoder_put_int(e, "length", p->length);
    encoder_put_float(e, "flops_token", p->flops_token);
    encoder_put_float(e, "again_pct", p->again_pct);
    encoder_put_int(e, "arena_bytes", (int64_t) p->arena_bytes);
    encoder_put_int(e, "live_bytes", (int64_t) p->live_bytes);
    encoder_put_int(e, "kept_bytes", (int64_t) p->kept_bytes);
    encoder_put_int(e, "state_bytes", (int64_t) p->state_bytes);
    encoder_put_int(e, "instructions", p->instructions);
    encoder_put_int(e, "compile_us", (int64_t) p->compile_us);
    encoder_put_cstr(e, "why", p->why);
    put_groups(e, "largest", p->largest, p->n_largest);
    put_groups(e, "again", p->again, p->n_again);
    put_times(e, x);
    // Said once: the next plan finds none.
    if (p->drop_times)
        (void) times_file_drop(&c->p->paths);
    return 0;
}

static void on_planned(void *arg, int rc, struct worker_msg *m,
                       const struct error *err)
{
    struct planning *x = arg;
    struct request *r = x->r;
    const bool has_drawing = request_fd(r) >= 0;

    if (rc < 0 || m->type != WORKER_MSG_planned ||
        has_drawing != (m->planned.file_fd >= 0)) {
        free_planning(x);
        tools_fail(r, rc, err);
        return;
    }
    x->file_fd = worker_fd_take(&m->planned.file_fd);
    x->plan = m->planned;
    dbcall_start(x->p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_ALONE,
                                         .run = run_answer,
                                         .data = x,
                                         .free_data = free_planning});
}

static void after_open(struct dbcall *c)
{
    struct planning *x = c->data;
    struct worker_msg m;

    x->r = dbcall_take(c);
    worker_msg_init(&m, WORKER_MSG_plan);
    m.plan.req = 1;
    _Static_assert(sizeof(m.plan.recipe) >= TRAIN_RECIPE_BYTES, "a recipe");
    memcpy(m.plan.recipe, x->recipe, sizeof(x->recipe));
    // It is planned on the CPU, wherever it runs.
    (void) train_recipe_take_device((char[TRAIN_DEVICE_BYTES]){0},
                                    m.plan.recipe);
    m.plan.has_drawing = request_fd(x->r) >= 0;
    m.plan.model_fd = x->model_fd;
    m.plan.times_fd = x->times_fd;
    (void) tools_call(x->p->tools, x->r, &m, on_planned, x, free_planning);
}

static int take_params(struct planning *x, struct pockd *p, struct error *err)
{
    const msgpack_object *params = request_params(x->r);
    const msgpack_object *recipe = codec_find(params, "recipe");

    if (codec_get_cstr(params, "model", x->model, sizeof(x->model), err) ==
        -EINVAL)
        return -EINVAL;
    return train_recipe_make(x->recipe, recipe, &p->policy, err);
}

void handle_plan(struct pockd *p, struct request *r)
{
    struct planning *x = calloc(1, sizeof(*x));
    struct error err = {0};

    if (!x) {
        request_fail(r, RPC_ERROR_BUSY, "out of memory");
        return;
    }
    x->p = p;
    x->r = r;
    x->model_fd = -1;
    x->file_fd = -1;
    x->times_fd = -1;
    if (take_params(x, p, &err) < 0) {
        free_planning(x);
        request_fail(r, RPC_ERROR_BAD_PARAMS, "%s", err.text);
        return;
    }
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_ALONE,
                                         .run = run_open,
                                         .after = after_open,
                                         .data = x,
                                         .free_data = free_planning});
}
