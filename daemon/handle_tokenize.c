// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/dbcall.h"
#include "daemon/fdio.h"
#include "daemon/handlers.h"
#include "daemon/model_pick.h"
#include "daemon/tools.h"

enum { TEXT_BYTES_MAX = 64 << 20 };

// The model is found and opened, a tool worker makes tokens, which are copied
// behind the text.
struct tokenizing {
    struct pockd *p;
    struct request *r;
    int model_fd;
    int file_fd;
    bool has_ids;
    uint64_t tokens;
    char model[STORE_NAME_SIZE];
};

static void free_tokenizing(void *data)
{
    struct tokenizing *x = data;

    if (x->model_fd >= 0)
        (void) close(x->model_fd);
    if (x->file_fd >= 0)
        (void) close(x->file_fd);
    free(x);
}

static int run_open(struct store *s, struct dbcall *c, struct error *err)
{
    struct tokenizing *x = c->data;
    int rc;

    if ((rc = fdio_check_readable(request_fd(c->r), TEXT_BYTES_MAX, err)) < 0 ||
        (rc = fdio_check_writable(request_fd(c->r), err)) < 0)
        return rc;
    return model_pick(x->model, &x->model_fd, s, c, err);
}

static int run_answer(struct store *s, struct dbcall *c, struct error *err)
{
    const struct tokenizing *x = c->data;
    uint64_t bytes = 0;
    int rc = fdio_copy(request_fd(c->r), x->file_fd, &bytes, err);

    if (rc < 0)
        return rc;
    encoder_put_cstr(&c->out, "model", x->model);
    encoder_put_int(&c->out, "tokens", (int64_t) x->tokens);
    encoder_put_int(&c->out, "bytes", (int64_t) bytes);
    return 0;
}

static void on_tokens(void *arg, int rc, struct worker_msg *m,
                      const struct error *err)
{
    struct tokenizing *x = arg;
    struct request *r = x->r;

    if (rc < 0 || m->type != WORKER_MSG_tokens) {
        free_tokenizing(x);
        tools_fail(r, rc, err);
        return;
    }
    x->file_fd = worker_fd_take(&m->tokens.file_fd);
    x->tokens = m->tokens.tokens;
    dbcall_start(x->p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_ALONE,
                                         .run = run_answer,
                                         .data = x,
                                         .free_data = free_tokenizing});
}

static void after_open(struct dbcall *c)
{
    struct tokenizing *x = c->data;
    struct worker_msg m;

    x->r = dbcall_take(c);
    worker_msg_init(&m, WORKER_MSG_tokenize_text);
    m.tokenize_text.req = 1;
    m.tokenize_text.has_ids = x->has_ids;
    m.tokenize_text.model_fd = x->model_fd;
    m.tokenize_text.text_fd = request_fd(x->r);
    (void) tools_call(x->p->tools, x->r, &m, on_tokens, x, free_tokenizing);
}

void handle_model_tokenize(struct pockd *p, struct request *r)
{
    struct tokenizing *x = calloc(1, sizeof(*x));
    struct error err = {0};

    if (!x) {
        request_fail(r, RPC_ERROR_BUSY, "out of memory");
        return;
    }
    x->p = p;
    x->r = r;
    x->model_fd = -1;
    x->file_fd = -1;
    x->has_ids = codec_bool(request_params(r), "ids", false);
    if (codec_get_cstr(request_params(r), "model", x->model, sizeof(x->model),
                       &err) == -EINVAL) {
        free_tokenizing(x);
        request_fail(r, RPC_ERROR_BAD_PARAMS, "%s", err.text);
        return;
    }
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_ALONE,
                                         .run = run_open,
                                         .after = after_open,
                                         .data = x,
                                         .free_data = free_tokenizing});
}
