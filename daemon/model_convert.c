// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/handlers.h"
#include "daemon/model_intake.h"
#include "daemon/pockd.h"
#include "daemon/tools.h"
#include "ipc/codec.h"

void handle_model_file(struct pockd *p, struct request *r)
{
    char name[FILESET_NAME_BYTES] = "";
    struct error err = {0};
    uint32_t count;
    int rc =
        codec_get_cstr(request_params(r), "name", name, sizeof(name), &err);

    if (rc == 0)
        rc = filesets_put(&p->filesets, request_session(r), name,
                          request_take_fd(r), &count, &err);
    if (rc < 0) {
        request_fail_errno(r, rc, &err);
        return;
    }
    encoder_put_int(request_begin(r), "files", count);
    request_end(r);
}

struct converting {
    struct pockd *p;
    struct request *r;
    struct fileset *files;
};

static struct request *let_go(struct converting *x)
{
    struct request *r = x->r;

    request_set_user(r, NULL, NULL);
    fileset_destroy(x->files);
    free(x);
    return r;
}

void model_encode_types(struct encoder *e, const struct worker_weight_type *t,
                        uint32_t n)
{
    encoder_put_array(e, "types");
    for (uint32_t i = 0; i < n; i++) {
        encoder_open_map(e);
        encoder_put_cstr(e, "name", t[i].name);
        encoder_put_int(e, "tensors", t[i].tensors);
        encoder_put_int(e, "bytes", (int64_t) t[i].bytes);
        encoder_close(e);
    }
    encoder_close(e);
}

static void on_progress(void *arg, uint64_t done, uint64_t total)
{
    struct converting *x = arg;

    model_tell_progress(x->r, "converting", done, total);
}

static void on_converted(void *arg, int rc, struct worker_msg *m,
                         const struct error *err)
{
    struct request *r = let_go(arg);

    if (rc < 0 || m->type != WORKER_MSG_model_converted) {
        tools_fail(r, rc, err);
        return;
    }
    const struct worker_model_converted *c = &m->model_converted;
    struct encoder *e = request_begin(r);
    encoder_put_cstr(e, "format", c->format);
    encoder_put_int(e, "tensors", c->tensors);
    encoder_put_int(e, "skipped", c->skipped);
    encoder_put_int(e, "fallback", c->fallback);
    encoder_put_int(e, "bytes", (int64_t) c->bytes);
    model_encode_types(e, c->types, c->n_types);
    if (c->notice[0])
        encoder_put_cstr(e, "notice", c->notice);
    request_end(r);
}

// What the worker writes into, and reads again.
static int check_output(int fd, struct error *err)
{
    struct stat st;
    const int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
        (flags & O_ACCMODE) != O_RDWR || (flags & (O_PATH | O_APPEND)))
        return error_set(err, -EINVAL,
                         "the descriptor must be a regular file that is open "
                         "for reading and writing");
    if (st.st_size != 0)
        return error_set(err, -EINVAL, "the file to write is not empty");
    return 0;
}

static void on_cancel(struct request *r)
{
    struct converting *x = request_user(r);

    tools_cancel(x->p->tools, x);
}

static int fill_message(struct worker_msg *m, struct request *r,
                        struct error *err)
{
    const msgpack_object *params = request_params(r);

    worker_msg_init(m, WORKER_MSG_convert_model);
    m->convert_model.req = 1;
    snprintf(m->convert_model.type, sizeof(m->convert_model.type), "keep");
    m->convert_model.out_fd = request_fd(r);
    if (codec_get_cstr(params, "type", m->convert_model.type,
                       sizeof(m->convert_model.type), err) == -EINVAL ||
        codec_get_cstr(params, "name", m->convert_model.name,
                       sizeof(m->convert_model.name), err) == -EINVAL)
        return -EINVAL;
    return check_output(request_fd(r), err);
}

void handle_model_convert(struct pockd *p, struct request *r)
{
    struct tools_extra extra = {.on_progress = on_progress};
    struct fileset *files;
    struct converting *x;
    struct error err = {0};
    struct worker_msg m;

    if (!(files = model_take_files(&p->filesets, r)))
        return;
    x = fill_message(&m, r, &err) == 0 ? calloc(1, sizeof(*x)) : NULL;
    if (!x) {
        fileset_destroy(files);
        request_fail(r, RPC_ERROR_BAD_PARAMS, "%s",
                     err.text[0] ? err.text : "out of memory");
        return;
    }
    *x = (struct converting){.p = p, .r = r, .files = files};
    extra.files = files;
    request_set_user(r, x, on_cancel);
    int rc = tools_run_with(p->tools, &m, &extra, on_converted, x, &err);
    if (rc < 0)
        tools_fail(let_go(x), rc, &err);
}
