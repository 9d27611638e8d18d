// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/dbcall.h"
#include "daemon/handlers.h"
#include "daemon/times_file.h"
#include "daemon/tools.h"
#include "daemon/train_job.h"
#include "daemon/train_recipe.h"
#include "daemon/train_store.h"
#include "engine/base/clock.h"
#include "ipc/rpc_record.h"
#include "storage/store_scheme.h"

// A search: records and model are gathered as for a job, a tool worker
// measures and chooses, the answer is stored and encoded.
struct searching {
    struct pockd *p;
    struct request *r;
    struct train_job job;
    struct train_input input;
    int64_t memory_mib; // 0: that of the recipe
    double seconds;
    int64_t samples;
    char save[STORE_NAME_SIZE];
    int64_t records;
    struct worker_found found;
};

static void free_searching(void *data)
{
    struct searching *x = data;

    train_input_finish(&x->input);
    free(x);
}

static int run_gather(struct store *s, struct dbcall *c, struct error *err)
{
    struct searching *x = c->data;
    int rc = train_job_find(&x->job, s, err);

    c->code = x->job.code;
    if (rc < 0)
        return rc;
    // A second try begins anew.
    train_input_finish(&x->input);
    x->input.times_fd = times_file_open(&c->p->paths);
    rc = train_input_gather_records(&x->input, s, &x->job.row, err);
    if (rc == -ENODATA)
        c->code = RPC_ERROR_NOT_FOUND;
    x->records = (int64_t) x->input.count;
    if (x->memory_mib == 0)
        x->memory_mib = train_recipe_int(x->job.row.recipe, "memory_mib");
    return rc;
}

// What activations may take, so that with the state it is what was asked for.
static int64_t recipe_memory_mib(const struct searching *x)
{
    const int64_t bytes =
        (x->memory_mib << 20) - (int64_t) x->found.state_bytes;

    return bytes < (16 << 20) ? 16 : bytes >> 20;
}

static int run_answer(struct store *s, struct dbcall *c, struct error *err)
{
    const struct searching *x = c->data;
    const struct worker_found *f = &x->found;
    struct store_scheme sc = {.made_ms = clock_unix_ms()};
    struct encoder *e = &c->out;
    int rc;

    if (x->save[0]) {
        memcpy(sc.name, x->save, sizeof(sc.name));
        memcpy(sc.model, x->job.row.model, sizeof(sc.model));
        _Static_assert(sizeof(sc.json) >= sizeof(f->scheme), "a scheme");
        memcpy(sc.json, f->scheme, sizeof(f->scheme));
        if ((rc = store_scheme_put(s, &sc, err)) < 0)
            return rc;
        encoder_put_cstr(e, "saved", x->save);
    }
    encoder_put_cstr(e, "model", x->job.row.model);
    encoder_put_cstr(e, "scheme", f->scheme);
    encoder_put_int(e, "records", x->records);
    encoder_put_int(e, "params", (int64_t) f->params);
    encoder_put_float(e, "gain", f->gain);
    encoder_put_int(e, "memory_mib", recipe_memory_mib(x));
    encoder_put_int(e, "arena_bytes", (int64_t) f->arena_bytes);
    encoder_put_int(e, "state_bytes", (int64_t) f->state_bytes);
    encoder_put_int(e, "recomputed", f->recomputed);
    encoder_put_float(e, "seconds", f->seconds);
    encoder_put_float(e, "search_seconds", f->search_seconds);
    return 0;
}

static void on_found(void *arg, int rc, struct worker_msg *m,
                     const struct error *err)
{
    struct searching *x = arg;
    struct request *r = x->r;

    if (rc < 0 || m->type != WORKER_MSG_found) {
        free_searching(x);
        tools_fail(r, rc, err);
        return;
    }
    x->found = m->found;
    dbcall_start(x->p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_WRITE,
                                         .run = run_answer,
                                         .data = x,
                                         .free_data = free_searching});
}

static void after_gather(struct dbcall *c)
{
    struct searching *x = c->data;
    struct worker_msg m;

    x->r = dbcall_take(c);
    // The records passed through our memory once; give it back.
    (void) malloc_trim(0);
    worker_msg_init(&m, WORKER_MSG_search);
    m.search.req = 1;
    _Static_assert(sizeof(m.search.recipe) >= TRAIN_RECIPE_BYTES, "a recipe");
    snprintf(m.search.recipe, sizeof(m.search.recipe), "%s", x->job.row.recipe);
    // It is searched on the CPU, wherever it runs.
    (void) train_recipe_take_device((char[TRAIN_DEVICE_BYTES]){0},
                                    m.search.recipe);
    m.search.memory_bytes = (uint64_t) x->memory_mib << 20;
    m.search.seconds = x->seconds;
    m.search.samples = (uint32_t) x->samples;
    m.search.model_fd = x->input.model_fd;
    m.search.records_fd = x->input.records_fd;
    m.search.times_fd = x->input.times_fd;
    memcpy(m.search.chat, x->input.chat, sizeof(m.search.chat));
    if (tools_call(x->p->tools, x->r, &m, on_found, x, free_searching) < 0)
        return;
    // The worker has them.
    train_input_finish(&x->input);
}

static int take_params(struct searching *x, struct pockd *p, struct error *err)
{
    const msgpack_object *params = request_params(x->r);

    if (train_job_init(&x->job, params, &p->policy, err) < 0)
        return -EINVAL;
    x->memory_mib = codec_int(params, "memory_mib", 0);
    x->samples = codec_int(params, "samples", 0);
    x->seconds = codec_float(params, "seconds", 0);
    if (codec_find(params, "seconds") && x->seconds <= 0)
        return error_set(err, -EINVAL, "seconds is %g, but must be above 0",
                         x->seconds);
    if (codec_get_cstr(params, "save", x->save, sizeof(x->save), err) ==
        -EINVAL)
        return -EINVAL;
    if (x->save[0] && !rpc_record_name_is_valid(x->save, strlen(x->save)))
        return error_set(err, -EINVAL,
                         "save %s: a name has letters a-z, digits, . _ -",
                         x->save);
    return 0;
}

void handle_scheme_search(struct pockd *p, struct request *r)
{
    struct searching *x = calloc(1, sizeof(*x));
    struct error err = {0};

    if (!x) {
        request_fail(r, RPC_ERROR_BUSY, "out of memory");
        return;
    }
    x->p = p;
    x->r = r;
    train_input_init(&x->input);
    if (take_params(x, p, &err) < 0) {
        free_searching(x);
        request_fail(r, RPC_ERROR_BAD_PARAMS, "%s", err.text);
        return;
    }
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_ALONE,
                                         .run = run_gather,
                                         .after = after_gather,
                                         .data = x,
                                         .free_data = free_searching});
}

static int put_scheme(const struct store_scheme *sc, void *user)
{
    struct encoder *e = user;

    encoder_open_map(e);
    encoder_put_cstr(e, "name", sc->name);
    encoder_put_cstr(e, "model", sc->model);
    encoder_put_int(e, "created", sc->made_ms);
    encoder_put_cstr(e, "scheme", sc->json);
    encoder_close(e);
    return 0;
}

static int run_list(struct store *s, struct dbcall *c, struct error *err)
{
    encoder_put_array(&c->out, "schemes");
    int rc = store_scheme_each(s, put_scheme, &c->out, err);
    encoder_close(&c->out);
    return rc;
}

void handle_scheme_list(struct pockd *p, struct request *r)
{
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_READ,
                                         .run = run_list});
}

static int run_remove(struct store *s, struct dbcall *c, struct error *err)
{
    char name[STORE_NAME_SIZE];
    int rc = codec_get_cstr(c->params, "scheme", name, sizeof(name), err);

    return rc < 0 ? rc : store_scheme_remove(s, name, err);
}

void handle_scheme_remove(struct pockd *p, struct request *r)
{
    const char *used = p->policy.train_scheme;
    struct codec_bytes name = codec_str(request_params(r), "scheme");

    if (*used == '@' && codec_bytes_equal(name, used + 1)) {
        request_fail(r, RPC_ERROR_CONFLICT,
                     "automatic jobs learn by the scheme %s: `pockctl policy "
                     "set train_scheme=` first",
                     used + 1);
        return;
    }
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_WRITE,
                                         .run = run_remove});
}
