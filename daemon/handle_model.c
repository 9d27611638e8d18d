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
#include "daemon/fdio.h"
#include "daemon/handlers.h"
#include "daemon/prefix_file.h"
#include "daemon/tools.h"
#include "engine/base/clock.h"
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

static void encode_model(struct encoder *e, const struct store_model *m)
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
    encoder_close(e);
}

// A model on its way into the store: opened, inspected by a worker, added.
struct adding {
    struct pockd *p;
    struct request *r;
    int fd;
    bool wants_default;
    char want_sha256[HASH_HEX];
    struct store_model model;
};

static void free_adding(void *data)
{
    struct adding *a = data;

    if (a->fd >= 0)
        (void) close(a->fd);
    free(a);
}

static bool is_name(const char *s)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

    return s[0] && strspn(s, allowed) == strlen(s) && strcmp(s, "none") != 0;
}

// The file's name without .gguf, with - for what a name cannot hold.
static void name_from_path(char out[STORE_NAME_SIZE], const char *path)
{
    const char *slash = strrchr(path, '/');

    snprintf(out, STORE_NAME_SIZE, "%.64s", slash ? slash + 1 : path);
    char *dot = strstr(out, ".gguf");
    if (dot)
        *dot = '\0';
    for (char *p = out; *p; p++) {
        char one[2] = {*p, '\0'};
        if (!is_name(one))
            *p = '-';
    }
    if (!out[0])
        snprintf(out, STORE_NAME_SIZE, "model");
}

static int take_params(struct adding *a, struct request *r, struct error *err)
{
    const msgpack_object *params = request_params(r);
    int rc = codec_get_cstr(params, "path", a->model.path,
                            sizeof(a->model.path), err);

    if (rc < 0)
        return rc;
    if (a->model.path[0] != '/')
        return error_set(err, -EINVAL, "path %.200s is not absolute",
                         a->model.path);
    name_from_path(a->model.name, a->model.path);
    if (codec_get_cstr(params, "name", a->model.name, sizeof(a->model.name),
                       err) == -EINVAL ||
        codec_get_cstr(params, "sha256", a->want_sha256, sizeof(a->want_sha256),
                       err) == -EINVAL)
        return -EINVAL;
    if (!is_name(a->model.name))
        return error_set(err, -EINVAL,
                         "model name %s: letters, digits, . _ - are allowed",
                         a->model.name);
    a->wants_default = codec_bool(params, "default", false);
    return 0;
}

static int run_open(struct store *s, struct dbcall *c, struct error *err)
{
    struct adding *a = c->data;
    struct stat st;
    int rc;

    if (a->fd < 0) {
        // Not blocking on a FIFO somebody left there.
        a->fd = open(a->model.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (a->fd < 0)
            return error_set(err, -errno, "cannot open %.300s: %s",
                             a->model.path, strerror(errno));
    }
    if ((rc = fdio_check_readable(a->fd, INT64_MAX, err)) < 0)
        return error_prefix(err, rc, "cannot use %.300s", a->model.path);
    if (fstat(a->fd, &st) == 0)
        a->model.bytes = st.st_size;
    return 0;
}

static int find_known(struct adding *a, struct store *s, bool *is_known,
                      struct error *err)
{
    struct store_model old;
    int rc = store_model_get_hash(s, a->model.sha256, &old, err);

    *is_known = rc == 0;
    if (rc == -ENOENT)
        return 0;
    if (rc < 0)
        return rc;
    // The same bytes: remember where they are now.
    if (strcmp(old.path, a->model.path) != 0 &&
        (rc = store_model_set_path(s, old.id, a->model.path, err)) < 0)
        return rc;
    if (old.state != STORE_MODEL_READY &&
        (rc = store_model_set_state(s, old.id, STORE_MODEL_READY, err)) < 0)
        return rc;
    snprintf(a->model.name, sizeof(a->model.name), "%s", old.name);
    return 0;
}

static int run_add(struct store *s, struct dbcall *c, struct error *err)
{
    struct adding *a = c->data;
    struct store_model m;
    bool is_known = false;
    int64_t id;
    int rc;

    if ((rc = find_known(a, s, &is_known, err)) < 0)
        return rc;
    if (!is_known && (rc = store_model_add(s, &a->model, &id, err)) < 0)
        return rc;
    if (a->wants_default &&
        (rc = store_model_set_default(s, a->model.name, err)) < 0)
        return rc;
    if ((rc = store_model_get(s, a->model.name, &m, err)) < 0)
        return rc;
    encoder_key(&c->out, "model");
    encode_model(&c->out, &m);
    encoder_put_bool(&c->out, "new", !is_known);
    snprintf(c->text, sizeof(c->text), "model %s was added", m.name);
    c->number[0] = !is_known;
    return 0;
}

static void after_add(struct dbcall *c)
{
    if (c->number[0])
        events_emit(c->p, &(struct event_params){.kind = "model_added",
                                                 .text = c->text});
    // Whoever reads this answer may ask for training at once: the first model
    // is the default one before the facts were read again.
    if (c->number[0] && c->p->facts.models++ == 0)
        c->p->facts.has_default_model = true;
    facts_refresh(c->p);
}

static void take_info(struct store_model *m, const struct worker_model_info *i)
{
    memcpy(m->sha256, i->sha256, sizeof(m->sha256));
    m->bytes = (int64_t) i->bytes;
    m->state = STORE_MODEL_READY;
    m->added_ms = clock_unix_ms();
    snprintf(m->arch, sizeof(m->arch), "%s", i->arch);
    // "Q8_0:127 F32:17": the first is the type of most weights.
    snprintf(m->quant, sizeof(m->quant), "%.*s", (int) strcspn(i->types, " :,"),
             i->types);
    m->params = (int64_t) i->params;
    m->context = i->context;
    m->vocab = i->n_vocab;
    m->layers = i->n_blocks;
    m->width = i->width;
}

static void on_inspected(void *arg, int rc, struct worker_msg *m,
                         const struct error *err)
{
    struct adding *a = arg;
    struct request *r = a->r;
    char hex[HASH_HEX];

    if (rc < 0 || m->type != WORKER_MSG_model_info) {
        free_adding(a);
        tools_fail(r, rc, err);
        return;
    }
    take_info(&a->model, &m->model_info);
    hash_to_hex(hex, a->model.sha256);
    if (a->want_sha256[0] && strcmp(a->want_sha256, hex) != 0) {
        request_fail(r, RPC_ERROR_CONFLICT,
                     "%.300s is another file: its SHA-256 is %s, but %s was "
                     "expected",
                     a->model.path, hex, a->want_sha256);
        free_adding(a);
        return;
    }
    dbcall_start(a->p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_WRITE,
                                         .run = run_add,
                                         .after = after_add,
                                         .data = a,
                                         .free_data = free_adding});
}

static void after_open(struct dbcall *c)
{
    struct adding *a = c->data;
    struct worker_msg m;

    a->r = dbcall_take(c);
    worker_msg_init(&m, WORKER_MSG_inspect_model);
    m.inspect_model.req = 1;
    m.inspect_model.model_fd = a->fd;
    (void) tools_call(c->p->tools, a->r, &m, on_inspected, a, free_adding);
}

void handle_model_add(struct pockd *p, struct request *r)
{
    struct adding *a = calloc(1, sizeof(*a));
    struct error err = {0};

    if (!a) {
        request_fail(r, RPC_ERROR_BUSY, "out of memory");
        return;
    }
    a->p = p;
    a->fd = request_take_fd(r);
    if (take_params(a, r, &err) < 0) {
        free_adding(a);
        request_fail(r, RPC_ERROR_BAD_PARAMS, "%s", err.text);
        return;
    }
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_ALONE,
                                         .run = run_open,
                                         .after = after_open,
                                         .data = a,
                                         .free_data = free_adding});
}

static int put_model(const struct store_model *m, void *user)
{
    encode_model(user, m);
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

static int run_show(struct store *s, struct dbcall *c, struct error *err)
{
    char name[STORE_NAME_SIZE] = "";
    struct store_model m;
    int rc = codec_get_cstr(c->params, "model", name, sizeof(name), err);

    if (rc < 0)
        return rc;
    if ((rc = store_model_get(s, name, &m, err)) < 0)
        return error_set(err, rc, "there is no model %s", name);
    struct users u = {.out = &c->out, .model_id = m.id};
    encoder_key(&c->out, "model");
    encode_model(&c->out, &m);
    encoder_put_array(&c->out, "adapters");
    rc = store_adapter_each(s, put_user, &u, err);
    encoder_close(&c->out);
    return rc;
}

void handle_model_show(struct pockd *p, struct request *r)
{
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_READ,
                                         .run = run_show});
}

static int run_remove(struct store *s, struct dbcall *c, struct error *err)
{
    char name[STORE_NAME_SIZE] = "";
    int rc = codec_get_cstr(c->params, "model", name, sizeof(name), err);

    if (rc < 0)
        return rc;
    rc = store_model_remove(s, name, err);
    if (rc == 0)
        (void) prefix_file_drop(&c->p->paths);
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
