// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/dbcall.h"
#include "daemon/events.h"
#include "daemon/handlers.h"
#include "daemon/model_intake.h"
#include "daemon/prefix_file.h"
#include "daemon/tools.h"
#include "daemon/train_recipe.h"
#include "engine/base/hash.h"
#include "storage/store_adapter.h"
#include "storage/store_model.h"

static void put_text(struct encoder *e, const char *key, const char *text)
{
    if (text[0])
        encoder_put_cstr(e, key, text);
}

static void put_count(struct encoder *e, const char *key, int64_t v)
{
    if (v > 0)
        encoder_put_int(e, key, v);
}

void model_encode(struct encoder *e, const struct store_model *m)
{
    char hex[HASH_HEX];

    hash_to_hex(hex, m->sha256);
    encoder_open_map(e);
    encoder_put_cstr(e, "name", m->name);
    encoder_put_cstr(e, "path", m->path);
    encoder_put_cstr(e, "sha256", hex);
    encoder_put_int(e, "bytes", m->bytes);
    encoder_put_cstr(e, "state", store_model_state_name(m->state));
    encoder_put_bool(e, "default", m->is_default);
    encoder_put_int(e, "added", m->added_ms);
    put_text(e, "arch", m->arch);
    put_text(e, "quant", m->quant);
    put_count(e, "params", m->params);
    put_count(e, "context", m->context);
    put_count(e, "vocab", m->vocab);
    put_count(e, "layers", m->layers);
    put_count(e, "width", m->width);
    put_text(e, "license", m->license);
    put_text(e, "chat", m->chat_set[0] ? m->chat_set : m->chat);
    if (m->chat_set[0])
        put_text(e, "chat_of_file", m->chat);
    encoder_close(e);
}

static int put_model(const struct store_model *m, void *user)
{
    model_encode(user, m);
    return 0;
}

static int run_list(struct store *s, struct dbcall *c, struct error *err)
{
    encoder_put_array(&c->out, "models");
    int rc = store_model_each(s, put_model, &c->out, err);
    encoder_close(&c->out);
    return rc;
}

void handle_model_list(struct pockd *p, struct request *r)
{
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_READ,
                                         .run = run_list});
}

struct users {
    struct encoder *out;
    int64_t model_id;
};

static int put_user(const struct store_adapter *a, void *user)
{
    struct users *u = user;

    if (a->model_id == u->model_id)
        encoder_cstr(u->out, a->name);
    return 0;
}

// One model, as the store knows it and, where that is asked for, as its file
// says.
struct showing {
    struct pockd *p;
    struct request *r;
    int fd;
    bool wants_details;
    bool has_details;
    char why[512]; // there are none
    struct worker_model_details details;
};

static void free_showing(void *data)
{
    struct showing *x = data;

    if (x->fd >= 0)
        (void) close(x->fd);
    free(x);
}

static void put_specials(struct encoder *e,
                         const struct worker_model_details *d)
{
    encoder_put_array(e, "specials");
    for (uint32_t i = 0; i < d->n_specials; i++) {
        encoder_open_map(e);
        encoder_put_cstr(e, "role", d->specials[i].role);
        encoder_put_int(e, "id", d->specials[i].id);
        encoder_put_cstr(e, "text", d->specials[i].text);
        encoder_close(e);
    }
    encoder_close(e);
}

static void put_details(struct encoder *e, const struct worker_model_details *d)
{
    encoder_put_map(e, "details");
    model_encode_types(e, d->types, d->n_types);
    encoder_put_int(e, "heads", d->heads);
    encoder_put_int(e, "kv_heads", d->kv_heads);
    encoder_put_int(e, "head_dim", d->head_dim);
    encoder_put_int(e, "ffn_width", d->ffn_width);
    encoder_put_float(e, "rope_base", d->rope_base);
    encoder_put_bool(e, "tied", d->is_tied);
    encoder_put_cstr(e, "tokenizer", d->tokenizer);
    put_text(e, "license", d->license);
    put_specials(e, d);
    encoder_put_cstr(e, "chat", d->chat);
    encoder_put_int(e, "template_bytes", d->template_bytes);
    if (d->template_head.bytes > 0)
        encoder_put_str(e, "template_head", d->template_head.data,
                        d->template_head.bytes);
    put_count(e, "train_bytes", (int64_t) d->train_bytes);
    put_text(e, "train_why", d->train_why);
    encoder_put_int(e, "generate_bytes", (int64_t) d->generate_bytes);
    encoder_close(e);
}

static int find_shown(struct store_model *m, struct store *s, struct dbcall *c,
                      struct error *err)
{
    char name[STORE_NAME_SIZE] = "";
    int rc = codec_get_cstr(c->params, "model", name, sizeof(name), err);

    if (rc < 0)
        return rc;
    if ((rc = store_model_get(s, name, m, err)) < 0)
        return error_set(err, rc, "there is no model %s", name);
    return 0;
}

static int run_show(struct store *s, struct dbcall *c, struct error *err)
{
    const struct showing *x = c->data;
    struct store_model m;
    int rc = find_shown(&m, s, c, err);

    if (rc < 0)
        return rc;
    struct users u = {.out = &c->out, .model_id = m.id};
    encoder_key(&c->out, "model");
    model_encode(&c->out, &m);
    encoder_put_array(&c->out, "adapters");
    rc = store_adapter_each(s, put_user, &u, err);
    encoder_close(&c->out);
    if (x->has_details)
        put_details(&c->out, &x->details);
    put_text(&c->out, "why", x->why);
    return rc;
}

static void answer_show(struct showing *x)
{
    dbcall_start(x->p, x->r,
                 &(struct dbcall_params){.kind = DBTHREAD_READ,
                                         .run = run_show,
                                         .data = x,
                                         .free_data = free_showing});
}

static void on_details(void *arg, int rc, struct worker_msg *m,
                       const struct error *err)
{
    struct showing *x = arg;

    x->has_details = rc == 0 && m->type == WORKER_MSG_model_details;
    if (x->has_details)
        x->details = m->model_details;
    else
        snprintf(x->why, sizeof(x->why), "%.500s", err->text);
    answer_show(x);
}

static int run_show_open(struct store *s, struct dbcall *c, struct error *err)
{
    struct showing *x = c->data;
    struct store_model m;
    int rc = find_shown(&m, s, c, err);

    if (rc < 0)
        return rc;
    x->fd = open(m.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (x->fd < 0)
        snprintf(x->why, sizeof(x->why), "cannot open %.300s: %s", m.path,
                 strerror(errno));
    return 0;
}

static void after_show_open(struct dbcall *c)
{
    struct showing *x = c->data;
    struct error err = {0};
    struct worker_msg m;

    x->r = dbcall_take(c);
    if (x->fd < 0) {
        answer_show(x);
        return;
    }
    worker_msg_init(&m, WORKER_MSG_detail_model);
    m.detail_model.req = 1;
    m.detail_model.model_fd = x->fd;
    _Static_assert(sizeof(m.detail_model.recipe) >= TRAIN_RECIPE_BYTES, "room");
    if (train_recipe_make(m.detail_model.recipe, NULL, &x->p->policy, &err) < 0)
        m.detail_model.recipe[0] = '\0';
    int rc = tools_run(x->p->tools, &m, on_details, x, &err);
    if (rc < 0)
        on_details(x, rc, NULL, &err);
}

void handle_model_show(struct pockd *p, struct request *r)
{
    struct showing *x = calloc(1, sizeof(*x));

    if (!x) {
        request_fail(r, RPC_ERROR_BUSY, "out of memory");
        return;
    }
    x->p = p;
    x->r = r;
    x->fd = -1;
    x->wants_details = codec_bool(request_params(r), "details", false);
    if (!x->wants_details) {
        answer_show(x);
        return;
    }
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_ALONE,
                                         .run = run_show_open,
                                         .after = after_show_open,
                                         .data = x,
                                         .free_data = free_showing});
}

static bool is_own_copy(const struct paths *p, const char *path)
{
    const size_t n = strlen(p->models);

    return strncmp(path, p->models, n) == 0 && path[n] == '/';
}

static int run_remove(struct store *s, struct dbcall *c, struct error *err)
{
    char name[STORE_NAME_SIZE] = "";
    struct store_model m;
    int rc = codec_get_cstr(c->params, "model", name, sizeof(name), err);

    if (rc < 0)
        return rc;
    const bool is_found = store_model_get(s, name, &m, err) == 0;
    rc = store_model_remove(s, name, err);
    if (rc == 0)
        (void) prefix_file_drop(s, &c->p->paths);
    // Of a copy nobody else knows; what another owns stays.
    if (rc == 0 && is_found && is_own_copy(&c->p->paths, m.path)) {
        (void) unlink(m.path);
        c->number[0] = 1;
        encoder_put_bool(&c->out, "deleted", true);
    }
    if (rc == -ENOENT)
        return error_set(err, rc, "there is no model %s", name);
    if (rc == -EBUSY)
        c->code = RPC_ERROR_CONFLICT;
    snprintf(c->text, sizeof(c->text), "model %s was removed", name);
    return rc;
}

static void after_remove(struct dbcall *c)
{
    events_emit(c->p, &(struct event_params){.kind = "model_removed",
                                             .text = c->text});
    facts_refresh(c->p);
}

void handle_model_remove(struct pockd *p, struct request *r)
{
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_WRITE,
                                         .run = run_remove,
                                         .after = after_remove});
}
