// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/adapter_transfer.h"
#include "daemon/dbcall.h"
#include "daemon/events.h"
#include "daemon/fdio.h"
#include "daemon/manifest.h"
#include "daemon/tools.h"
#include "engine/base/clock.h"
#include "ipc/rpc_record.h"
#include "storage/blob.h"
#include "storage/store_model.h"

struct importing {
    struct pockd *p;
    struct request *r;
    char name[STORE_NAME_SIZE];
    char model_name[STORE_NAME_SIZE]; // "": the default one
    bool is_peft;
    int64_t model_id;
    int model_fd;
    int file_fd;   // the client's, then our copy, then what was converted
    int config_fd; // -1: GGUF
    struct store_version version;
};

static void free_importing(void *data)
{
    struct importing *x = data;
    int fds[] = {x->model_fd, x->file_fd, x->config_fd};

    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        if (fds[i] >= 0)
            (void) close(fds[i]);
    free(x);
}

static int find_model(struct importing *x, struct store *s, struct dbcall *c,
                      struct store_model *m, struct error *err)
{
    struct store_adapter a;
    int rc = store_adapter_get(s, x->name, &a, err);

    if (rc == 0 && x->model_name[0] && strcmp(x->model_name, a.model) != 0) {
        c->code = RPC_ERROR_CONFLICT;
        return error_set(err, -EINVAL, "adapter %s belongs to model %s, not %s",
                         a.name, a.model, x->model_name);
    }
    if (rc == 0)
        return store_model_get_id(s, a.model_id, m, err);
    if (rc != -ENOENT)
        return rc;
    if (x->model_name[0])
        return store_model_get(s, x->model_name, m, err);
    if ((rc = store_model_get_default(s, m, err)) == -ENOENT) {
        c->code = RPC_ERROR_NO_MODEL;
        return error_set(err, rc,
                         "there is no base model: register one with `pockctl "
                         "model add FILE`");
    }
    return rc;
}

// Our own copy of what the client gave, under its hash.
static int copy_in(struct importing *x, struct store *s, struct error *err)
{
    uint64_t bytes = 0;
    int rc = store_blob_put_fd(s, x->file_fd, WORKER_FILE_BYTES_MAX,
                               x->version.sha256, &bytes, err);

    if (rc < 0)
        return rc;
    x->version.bytes = (int64_t) bytes;
    if ((rc = store_blob_open(s, x->version.sha256, bytes, err)) < 0)
        return rc;
    (void) close(x->file_fd);
    x->file_fd = rc;
    return 0;
}

static int run_open(struct store *s, struct dbcall *c, struct error *err)
{
    struct importing *x = c->data;
    struct store_model m;
    int rc;

    c->audited = 0; // when it is a version
    if ((rc = fdio_check_readable(x->file_fd, WORKER_FILE_BYTES_MAX, err)) <
            0 ||
        (rc = find_model(x, s, c, &m, err)) < 0)
        return rc;
    x->model_id = m.id;
    x->model_fd = open(m.path, O_RDONLY | O_CLOEXEC);
    if (x->model_fd < 0)
        return error_set(err, -errno, "cannot open the model %s at %.300s",
                         m.name, m.path);
    return copy_in(x, s, err);
}

static int make_adapter(struct importing *x, struct store *s,
                        struct store_adapter *a, struct error *err)
{
    int64_t id;
    int rc = store_adapter_get(s, x->name, a, err);

    if (rc != -ENOENT)
        return rc;
    if ((rc = store_adapter_add(s, x->name, x->model_id, x->version.created_ms,
                                &id, err)) < 0)
        return rc;
    return store_adapter_get_id(s, id, a, err);
}

static int add_version(struct importing *x, struct store *s, struct dbcall *c,
                       struct error *err)
{
    struct store_adapter a;
    struct store_version v;
    uint32_t number = 0;
    int rc = store_begin(s, err);

    if (rc < 0)
        return rc;
    if ((rc = make_adapter(x, s, &a, err)) < 0)
        goto error;
    x->version.adapter_id = a.id;
    rc = store_version_add(s, &x->version, &number, err);
    bool is_new = rc == 0;
    if (rc < 0 && rc != -EEXIST)
        goto error;
    if (is_new &&
        (rc = manifest_make(s, &x->p->identity,
                            &(struct manifest_params){.adapter_id = a.id,
                                                      .version = number},
                            err)) < 0)
        goto error;
    if ((rc = store_commit(s, err)) < 0)
        goto error;
    if ((rc = store_version_get(s, a.id, number, &v, err)) < 0)
        return rc;
    encoder_put_cstr(&c->out, "adapter", a.name);
    encoder_key(&c->out, "version");
    adapter_encode_version(&c->out, &v);
    encoder_put_bool(&c->out, "new", is_new);
    snprintf(c->text, sizeof(c->text), "%s", a.name);
    snprintf(c->audit_text, sizeof(c->audit_text), "%s:%u", a.name, number);
    c->number[0] = is_new ? number : 0;
    return 0;

error:
    store_rollback(s);
    return rc;
}

static int run_add(struct store *s, struct dbcall *c, struct error *err)
{
    struct importing *x = c->data;
    // What was converted, or a copy that a sweep took meanwhile.
    int rc = copy_in(x, s, err);

    x->version.created_ms = clock_unix_ms();
    return rc < 0 ? rc : add_version(x, s, c, err);
}

static void after_add(struct dbcall *c)
{
    if (c->number[0])
        events_emit(c->p,
                    &(struct event_params){
                        .kind = "version_made",
                        .adapter = c->text,
                        .version = (uint32_t) c->number[0],
                        .text = "a version was imported; it is not active"});
    facts_refresh(c->p);
}

static void fail(struct importing *x, int rc, const struct error *err)
{
    struct request *r = x->r;

    free_importing(x);
    request_fail_errno(r, rc, err);
}

static void add(struct importing *x)
{
    dbcall_start(x->p, x->r,
                 &(struct dbcall_params){.kind = DBTHREAD_ALONE,
                                         .run = run_add,
                                         .after = after_add,
                                         .data = x,
                                         .free_data = free_importing});
}

static void on_converted(void *arg, int rc, struct worker_msg *m,
                         const struct error *err)
{
    struct importing *x = arg;
    struct error nonsense = {0};

    if (rc == 0 && m->type != WORKER_MSG_converted) {
        rc = error_set(&nonsense, -EPIPE, "the worker answered nonsense");
        err = &nonsense;
    }
    if (rc < 0) {
        fail(x, rc, err);
        return;
    }
    (void) close(x->file_fd);
    x->file_fd = worker_fd_take(&m->converted.file_fd);
    add(x);
}

static void convert(struct importing *x)
{
    struct error err = {0};
    struct worker_msg m;

    worker_msg_init(&m, WORKER_MSG_convert_adapter);
    m.convert_adapter.req = 1;
    memcpy(m.convert_adapter.to, "gguf", 5);
    m.convert_adapter.model_fd = x->model_fd;
    m.convert_adapter.adapter_fd = x->file_fd;
    m.convert_adapter.config_fd = x->config_fd;
    int rc = tools_run(x->p->tools, &m, on_converted, x, &err);
    if (rc < 0)
        fail(x, rc, &err);
}

static void on_checked(void *arg, int rc, struct worker_msg *m,
                       const struct error *err)
{
    struct importing *x = arg;
    struct error nonsense = {0};

    if (rc == 0 && m->type != WORKER_MSG_adapter_info) {
        rc = error_set(&nonsense, -EPIPE, "the worker answered nonsense");
        err = &nonsense;
    }
    if (rc < 0) {
        fail(x, rc, err);
        return;
    }
    x->version.rank = m->adapter_info.rank;
    if (x->is_peft)
        convert(x);
    else
        add(x);
}

static void after_open(struct dbcall *c)
{
    struct importing *x = c->data;
    struct error err = {0};
    struct worker_msg m;

    x->r = dbcall_take(c);
    worker_msg_init(&m, WORKER_MSG_check_adapter);
    m.check_adapter.req = 1;
    m.check_adapter.model_fd = x->model_fd;
    m.check_adapter.adapter_fd = x->file_fd;
    m.check_adapter.config_fd = x->config_fd;
    int rc = tools_run(x->p->tools, &m, on_checked, x, &err);
    if (rc < 0)
        fail(x, rc, &err);
}

static int take_params(struct importing *x, const msgpack_object *params,
                       struct error *err)
{
    struct codec_bytes format = codec_str(params, "format");
    struct codec_bytes config = codec_str(params, "config");

    if (codec_get_cstr(params, "adapter", x->name, sizeof(x->name), err) < 0 ||
        codec_get_cstr(params, "model", x->model_name, sizeof(x->model_name),
                       err) == -EINVAL)
        return -EINVAL;
    if (!rpc_record_name_is_valid(x->name, strlen(x->name)) ||
        strcmp(x->name, "none") == 0)
        return error_set(err, -EINVAL,
                         "adapter %s: a name has letters a-z, digits, . _ -",
                         x->name);
    x->is_peft = format.data && codec_bytes_equal(format, "peft-weights");
    if (format.data && !x->is_peft && !codec_bytes_equal(format, "gguf"))
        return error_set(err, -EINVAL, "format must be gguf or peft-weights");
    if (x->is_peft != (config.data != NULL))
        return error_set(err, -EINVAL,
                         "config goes with format peft-weights, and only with "
                         "it");
    if (!x->is_peft)
        return 0;
    x->config_fd = fdio_seal("config", config.data, config.bytes);
    return x->config_fd < 0 ? error_set(err, x->config_fd, "out of memory") : 0;
}

void adapter_import(struct pockd *p, struct request *r)
{
    struct importing *x = calloc(1, sizeof(*x));
    struct error err = {0};

    if (!x) {
        request_fail(r, RPC_ERROR_BUSY, "out of memory");
        return;
    }
    store_version_init(&x->version);
    x->version.is_imported = true;
    x->p = p;
    x->model_fd = x->config_fd = -1;
    x->file_fd = request_take_fd(r);
    int rc = take_params(x, request_params(r), &err);
    if (rc < 0) {
        free_importing(x);
        request_fail_errno(r, rc, &err);
        return;
    }
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_ALONE,
                                         .run = run_open,
                                         .after = after_open,
                                         .data = x,
                                         .free_data = free_importing});
}
