// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/dbcall.h"
#include "daemon/handlers.h"
#include "daemon/model_intake.h"
#include "daemon/model_pick.h"
#include "daemon/policy.h"
#include "daemon/prefix_file.h"
#include "daemon/record_filter.h"
#include "daemon/record_pack.h"
#include "daemon/tools.h"
#include "engine/base/bits.h"
#include "engine/base/memfile.h"
#include "storage/store_model.h"

enum {
    ANSWER_BYTES_MAX = 512 << 10, // as data.get, so that it fits a frame
    TOKEN_HEAD = 3,
};

// data.mask and model.set: a model is opened, a tool worker looks at how it
// holds conversations, its answer is encoded.
struct masking {
    struct pockd *p;
    struct request *r;
    bool is_set;     // model.set
    bool has_format; // model.set: it is to change
    bool wants_default;
    char model[STORE_NAME_SIZE];
    char chat[STORE_CHAT_SIZE];
    char loss_on[16];
    int model_fd;
    int records_fd;
    int64_t *ids;
    size_t count;
    struct worker_masked found;
};

static void free_masking(void *data)
{
    struct masking *x = data;
    int fds[] = {x->model_fd, x->records_fd, x->found.file_fd};

    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        if (fds[i] >= 0)
            (void) close(fds[i]);
    free(x->ids);
    free(x);
}

static int find_model(struct masking *x, struct store *s, struct dbcall *c,
                      struct error *err)
{
    struct store_model m;
    int rc = x->model[0] ? store_model_get(s, x->model, &m, err)
                         : store_model_get_default(s, &m, err);

    if (rc == -ENOENT && !x->model[0]) {
        c->code = RPC_ERROR_NO_MODEL;
        return rc;
    }
    if (rc < 0)
        return error_set(err, rc, "there is no model %s", x->model);
    memcpy(x->model, m.name, sizeof(x->model));
    if (!x->is_set)
        memcpy(x->chat, m.chat_set, sizeof(x->chat));
    x->model_fd = model_open(&m, err);
    return x->model_fd < 0 ? x->model_fd : 0;
}

static int gather(struct masking *x, struct store *s, struct dbcall *c,
                  struct error *err)
{
    struct record_pack pack = {.ids = NULL};
    struct record_filter f;
    int rc = record_filter_init(&f, c->r, err);

    if (rc < 0)
        return rc;
    rc = record_pack_store(&pack, s, &f.filter, 0, false, err);
    record_filter_finish(&f);
    if (rc == 0 && pack.count < codec_count(codec_find(c->params, "ids")))
        rc = error_set(err, -ENOENT, "there is no such record");
    if (rc == 0 && (x->records_fd = record_pack_seal(&pack, err)) < 0)
        rc = x->records_fd;
    if (rc == 0) {
        x->ids = pack.ids;
        x->count = pack.count;
        pack.ids = NULL;
    }
    record_pack_finish(&pack);
    return rc;
}

static int run_open(struct store *s, struct dbcall *c, struct error *err)
{
    struct masking *x = c->data;
    int rc = find_model(x, s, c, err);

    return rc < 0 || x->is_set ? rc : gather(x, s, c, err);
}

/*
 * The answer: see worker_tool_mask.c for the bytes.
 */

struct reader {
    const uint8_t *at;
    size_t left;
};

static const uint8_t *take(struct reader *r, size_t n)
{
    const uint8_t *at = r->at;

    if (r->left < n)
        return NULL;
    r->at += n;
    r->left -= n;
    return at;
}

struct part {
    uint8_t marks;
    uint32_t tokens;
    const uint8_t *first; // its texts lie apart, with heads between
};

static void put_part(struct encoder *e, const struct part *p,
                     const uint8_t *end)
{
    char *text = malloc((size_t) (end - p->first) + 1);
    size_t n = 0;

    for (const uint8_t *at = p->first; text && at < end;) {
        const size_t bytes = bits_load16(at + 1);
        memcpy(text + n, at + TOKEN_HEAD, bytes);
        n += bytes;
        at += TOKEN_HEAD + bytes;
    }
    encoder_open_map(e);
    encoder_key(e, "text");
    encoder_str(e, text ? text : "", n);
    encoder_put_int(e, "tokens", p->tokens);
    encoder_put_bool(e, "counts", p->marks & 1);
    encoder_put_bool(e, "special", p->marks & 2);
    encoder_close(e);
    free(text);
}

// False when the bytes are not what they should be.
static bool put_record(struct encoder *e, int64_t id, struct reader *r)
{
    const uint8_t *head = take(r, 4);
    struct part p = {.tokens = 0};
    uint32_t n, learned = 0;

    if (!head)
        return false;
    n = bits_load32(head);
    encoder_open_map(e);
    encoder_put_int(e, "id", id);
    encoder_put_int(e, "tokens", n);
    encoder_put_array(e, "parts");
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *token = take(r, TOKEN_HEAD);
        if (!token || !take(r, bits_load16(token + 1)))
            return false;
        if (p.tokens > 0 && p.marks != token[0]) {
            put_part(e, &p, token);
            p.tokens = 0;
        }
        if (p.tokens++ == 0) {
            p.marks = token[0];
            p.first = token;
        }
        learned += token[0] & 1;
    }
    if (p.tokens > 0)
        put_part(e, &p, r->at);
    encoder_close(e);
    encoder_put_int(e, "learned", learned);
    encoder_close(e);
    return true;
}

static int answer_mask(struct masking *x, struct dbcall *c, struct error *err)
{
    const void *map;
    size_t bytes;
    int rc = memfile_map(&map, &bytes, x->found.file_fd, 64 << 20,
                         "the worker's answer", err);

    if (rc < 0)
        return rc;
    struct reader r = {.at = map, .left = bytes};
    encoder_put_cstr(&c->out, "model", x->model);
    encoder_put_cstr(&c->out, "chat", x->found.chat);
    encoder_put_array(&c->out, "records");
    for (size_t i = 0; i < x->count && rc == 0; i++) {
        if (!put_record(&c->out, x->ids[i], &r))
            rc = error_set(err, -EPIPE, "the worker answered nonsense");
        else if (c->out.bytes > ANSWER_BYTES_MAX)
            rc = error_set(err, -E2BIG,
                           "that is too much for one answer: ask for fewer "
                           "records");
    }
    encoder_close(&c->out);
    memfile_unmap(map, bytes);
    return rc;
}

static int answer_set(struct masking *x, struct store *s, struct dbcall *c,
                      struct error *err)
{
    struct store_model m;
    int rc = 0;

    if (x->has_format)
        rc = store_model_set_chat(s, x->model, x->chat, err);
    // States of the prefix were made of other tokens.
    if (rc == 0 && x->has_format)
        (void) prefix_file_drop(s, &c->p->paths);
    if (rc == 0 && x->wants_default)
        rc = store_model_set_default(s, x->model, err);
    if (rc < 0 || (rc = store_model_get(s, x->model, &m, err)) < 0)
        return rc;
    encoder_key(&c->out, "model");
    model_encode(&c->out, &m);
    if (x->found.msg[0] && strcmp(x->chat, "none") != 0)
        encoder_put_cstr(&c->out, "remark", x->found.msg);
    return 0;
}

static int run_answer(struct store *s, struct dbcall *c, struct error *err)
{
    struct masking *x = c->data;

    return x->is_set ? answer_set(x, s, c, err) : answer_mask(x, c, err);
}

static void on_masked(void *arg, int rc, struct worker_msg *m,
                      const struct error *err)
{
    struct masking *x = arg;
    struct request *r = x->r;

    if (rc < 0 || m->type != WORKER_MSG_masked ||
        (m->masked.file_fd < 0) != x->is_set) {
        free_masking(x);
        tools_fail(r, rc, err);
        return;
    }
    x->found = m->masked;
    (void) worker_fd_take(&m->masked.file_fd);
    dbcall_start(x->p, r,
                 &(struct dbcall_params){.kind = x->is_set ? DBTHREAD_WRITE
                                                           : DBTHREAD_ALONE,
                                         .run = run_answer,
                                         .data = x,
                                         .free_data = free_masking});
}

static void after_open(struct dbcall *c)
{
    struct masking *x = c->data;
    struct worker_msg m;

    x->r = dbcall_take(c);
    worker_msg_init(&m, WORKER_MSG_mask);
    m.mask.req = 1;
    m.mask.model_fd = x->model_fd;
    m.mask.records_fd = x->records_fd;
    memcpy(m.mask.chat, x->chat, sizeof(m.mask.chat));
    memcpy(m.mask.loss_on, x->loss_on, sizeof(m.mask.loss_on));
    (void) tools_call(x->p->tools, x->r, &m, on_masked, x, free_masking);
}

static int take_params(struct masking *x, struct request *r, struct error *err)
{
    const msgpack_object *params = request_params(r);

    if (codec_get_cstr(params, "model", x->model, sizeof(x->model), err) ==
            -EINVAL ||
        codec_get_cstr(params, "loss_on", x->loss_on, sizeof(x->loss_on),
                       err) == -EINVAL ||
        codec_get_cstr(params, "chat_format", x->chat, sizeof(x->chat), err) ==
            -EINVAL)
        return -EINVAL;
    x->has_format = x->chat[0];
    if (strcmp(x->chat, "auto") == 0)
        x->chat[0] = '\0';
    x->wants_default = codec_bool(params, "default", false);
    if (!x->is_set && !x->loss_on[0])
        snprintf(x->loss_on, sizeof(x->loss_on), "%.15s",
                 x->p->policy.train_loss_on);
    return 0;
}

static void start(struct pockd *p, struct request *r, bool is_set)
{
    struct masking *x = calloc(1, sizeof(*x));
    struct error err = {0};

    if (!x) {
        request_fail(r, RPC_ERROR_BUSY, "out of memory");
        return;
    }
    x->p = p;
    x->is_set = is_set;
    x->model_fd = x->records_fd = x->found.file_fd = -1;
    if (take_params(x, r, &err) < 0) {
        free_masking(x);
        request_fail(r, RPC_ERROR_BAD_PARAMS, "%s", err.text);
        return;
    }
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_ALONE,
                                         .run = run_open,
                                         .after = after_open,
                                         .data = x,
                                         .free_data = free_masking});
}

void handle_data_mask(struct pockd *p, struct request *r)
{
    start(p, r, false);
}

void handle_model_set(struct pockd *p, struct request *r)
{
    start(p, r, true);
}
