// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/adapter_transfer.h"
#include "daemon/dbcall.h"
#include "daemon/events.h"
#include "daemon/handlers.h"
#include "daemon/manifest.h"
#include "daemon/model_pick.h"
#include "daemon/tools.h"
#include "engine/base/clock.h"
#include "engine/base/memfile.h"
#include "ipc/rpc_record.h"
#include "storage/blob.h"
#include "storage/store_merge.h"
#include "storage/store_model.h"

enum { PARTS_MAX = 6, RANK_DEFAULT = 8, DOUBLES = 3 };

// adapter.merge and adapter.diff: versions are found and opened, a tool worker
// adds or compares them, a version is made or the answer encoded.
struct combining {
    struct pockd *p;
    struct request *r;
    bool is_diff;
    bool with_linears;
    char name[STORE_NAME_SIZE]; // of what is merged; "": of the first part
    uint32_t rank;              // 0: the highest of the parts
    int64_t model_id;
    int model_fd;
    int fds[PARTS_MAX];
    struct store_part parts[PARTS_MAX];
    size_t count;
    int file_fd; // the worker's
    double left_out;
    uint32_t n_blocks, n_linears;
    struct store_version version;
};

void adapter_close_merge(int model_fd, const int *part_fds, size_t count,
                         int file_fd)
{
    for (size_t i = 0; i < count; i++)
        if (part_fds[i] >= 0)
            (void) close(part_fds[i]);
    if (model_fd >= 0)
        (void) close(model_fd);
    if (file_fd >= 0)
        (void) close(file_fd);
}

static void free_combining(void *data)
{
    struct combining *x = data;

    adapter_close_merge(x->model_fd, x->fds, PARTS_MAX, x->file_fd);
    free(x);
}

static int open_part(struct combining *x, struct store *s, struct dbcall *c,
                     size_t i, struct error *err)
{
    struct store_part *p = &x->parts[i];
    struct store_adapter a;
    struct store_version v;
    int rc = store_adapter_get(s, p->adapter, &a, err);

    if (rc < 0)
        return error_set(err, rc, "there is no adapter %s", p->adapter);
    if (i == 0)
        x->model_id = a.model_id;
    if (a.model_id != x->model_id) {
        c->code = RPC_ERROR_CONFLICT;
        return error_set(err, -EINVAL,
                         "%s belongs to another base model than %s", a.name,
                         x->parts[0].adapter);
    }
    p->adapter_id = a.id;
    if (p->version == 0 && (p->version = a.active) == 0) {
        c->code = RPC_ERROR_NO_ADAPTER;
        return error_set(err, -ENOENT,
                         "adapter %s has no active version: name one", a.name);
    }
    if ((rc = store_version_get(s, a.id, p->version, &v, err)) < 0)
        return error_set(err, rc, "adapter %s has no version %u", a.name,
                         p->version);
    if (v.state == STORE_VERSION_RETIRED) {
        c->code = RPC_ERROR_ERASED;
        return error_set(err, -ENOENT, "version %u of %s is retired: %.200s",
                         p->version, a.name, v.reason);
    }
    memcpy(p->sha256, v.sha256, sizeof(p->sha256));
    if (x->version.rank < v.rank)
        x->version.rank = v.rank;
    x->fds[i] = store_blob_open(s, v.sha256, (uint64_t) v.bytes, err);
    return x->fds[i] < 0 ? x->fds[i] : 0;
}

static int run_open(struct store *s, struct dbcall *c, struct error *err)
{
    struct combining *x = c->data;
    struct store_model m;
    int rc = 0;

    c->audited = 0; // when it is a version
    for (size_t i = 0; i < x->count && rc == 0; i++)
        rc = open_part(x, s, c, i, err);
    if (rc < 0 || (rc = store_model_get_id(s, x->model_id, &m, err)) < 0)
        return rc;
    if (!x->name[0])
        memcpy(x->name, x->parts[0].adapter, sizeof(x->name));
    if (x->rank == 0)
        x->rank = x->version.rank ? x->version.rank : RANK_DEFAULT;
    x->version.rank = x->rank;
    x->model_fd = model_open(&m, err);
    return x->model_fd < 0 ? x->model_fd : 0;
}

/*
 * merge
 */

static int target_adapter(struct combining *x, struct store *s,
                          struct store_adapter *a, struct error *err)
{
    int64_t id;
    int rc = store_adapter_get(s, x->name, a, err);

    if (rc == 0 && a->model_id != x->model_id)
        return error_set(err, -EINVAL,
                         "adapter %s belongs to another base model: give "
                         "another name",
                         x->name);
    if (rc != -ENOENT)
        return rc;
    rc = store_adapter_add(s, x->name, x->model_id, x->version.created_ms, &id,
                           err);
    return rc < 0 ? rc : store_adapter_get_id(s, id, a, err);
}

static int add_version(struct combining *x, struct store *s,
                       struct store_adapter *a, uint32_t *number,
                       struct error *err)
{
    int rc = store_begin(s, err);

    if (rc < 0)
        return rc;
    if ((rc = target_adapter(x, s, a, err)) == 0) {
        x->version.adapter_id = a->id;
        rc = store_merge_add(s, &x->version, x->parts, x->count, number, err);
    }
    if (rc == 0)
        rc = manifest_make(s, &x->p->identity,
                           &(struct manifest_params){.adapter_id = a->id,
                                                     .version = *number,
                                                     .parts = x->parts,
                                                     .n_parts = x->count},
                           err);
    if (rc == 0)
        rc = store_commit(s, err);
    if (rc < 0)
        store_rollback(s);
    return rc;
}

static int run_add(struct store *s, struct dbcall *c, struct error *err)
{
    struct combining *x = c->data;
    struct store_adapter a;
    struct store_version v;
    uint32_t number = 0;
    uint64_t bytes = 0;
    int rc = store_blob_put_fd(s, x->file_fd, WORKER_FILE_BYTES_MAX,
                               x->version.sha256, &bytes, err);

    if (rc < 0)
        return rc;
    x->version.bytes = (int64_t) bytes;
    x->version.created_ms = clock_unix_ms();
    rc = add_version(x, s, &a, &number, err);
    const bool is_new = rc == 0;
    if (rc < 0 && rc != -EEXIST) {
        c->code = rc == -ESTALE ? RPC_ERROR_CONFLICT : c->code;
        return rc;
    }
    if ((rc = store_adapter_get(s, x->name, &a, err)) < 0 ||
        (rc = store_version_get(s, a.id, number, &v, err)) < 0)
        return rc;
    encoder_put_cstr(&c->out, "adapter", a.name);
    encoder_key(&c->out, "version");
    adapter_encode_version(&c->out, &v);
    encoder_put_bool(&c->out, "new", is_new);
    encoder_put_float(&c->out, "left_out", x->left_out);
    snprintf(c->text, sizeof(c->text), "%s", a.name);
    snprintf(c->audit_text, sizeof(c->audit_text), "%s:%u", a.name, number);
    c->number[0] = is_new ? number : 0;
    return 0;
}

static void after_add(struct dbcall *c)
{
    if (c->number[0])
        events_emit(c->p,
                    &(struct event_params){
                        .kind = "version_made",
                        .adapter = c->text,
                        .version = (uint32_t) c->number[0],
                        .text = "a version was merged; it is not active"});
    facts_refresh(c->p);
}

/*
 * diff
 */

// Squares and product, as a person reads them.
static void put_row(struct encoder *e, const double sums[DOUBLES])
{
    const double aa = sums[0], ab = sums[1], bb = sums[2];

    encoder_put_float(e, "norm_a", sqrt(aa > 0 ? aa : 0));
    encoder_put_float(e, "norm_b", sqrt(bb > 0 ? bb : 0));
    encoder_put_float(e, "distance", sqrt(fmax(aa - 2 * ab + bb, 0)));
    if (aa > 0 && bb > 0)
        encoder_put_float(e, "cosine", ab / sqrt(aa * bb));
}

static void put_block(struct encoder *e, const struct combining *x,
                      const double *sums, uint32_t block, double all[DOUBLES])
{
    static const char *const names[] = {"q",    "k",  "v",   "o",
                                        "gate", "up", "down"};
    double here[DOUBLES] = {0};

    for (uint32_t l = 0; l < x->n_linears; l++) {
        const double *row = sums + (block * x->n_linears + l) * DOUBLES;
        for (int i = 0; i < DOUBLES; i++)
            here[i] += row[i];
        if (!x->with_linears || l >= sizeof(names) / sizeof(names[0]) ||
            row[0] + row[2] == 0)
            continue;
        encoder_open_map(e);
        encoder_put_int(e, "block", block);
        encoder_put_cstr(e, "linear", names[l]);
        put_row(e, row);
        encoder_close(e);
    }
    for (int i = 0; i < DOUBLES; i++)
        all[i] += here[i];
    if (x->with_linears)
        return;
    encoder_open_map(e);
    encoder_put_int(e, "block", block);
    put_row(e, here);
    encoder_close(e);
}

static void put_version(struct encoder *e, const char *key,
                        const struct store_part *p)
{
    encoder_put_map(e, key);
    encoder_put_cstr(e, "adapter", p->adapter);
    encoder_put_int(e, "version", p->version);
    encoder_close(e);
}

static int run_diff(struct store *s, struct dbcall *c, struct error *err)
{
    struct combining *x = c->data;
    double all[DOUBLES] = {0};
    const void *map;
    size_t bytes;
    int rc = memfile_map(&map, &bytes, x->file_fd, 16 << 20,
                         "the worker's answer", err);

    if (rc < 0)
        return rc;
    if (bytes != (size_t) x->n_blocks * x->n_linears * DOUBLES * sizeof(double))
        rc = error_set(err, -EPIPE, "the worker answered nonsense");
    if (rc == 0) {
        put_version(&c->out, "a", &x->parts[0]);
        put_version(&c->out, "b", &x->parts[1]);
        encoder_put_array(&c->out, "rows");
        for (uint32_t i = 0; i < x->n_blocks; i++)
            put_block(&c->out, x, map, i, all);
        encoder_close(&c->out);
        encoder_put_map(&c->out, "all");
        put_row(&c->out, all);
        encoder_close(&c->out);
    }
    memfile_unmap(map, bytes);
    return rc;
}

/*
 * Both
 */

static void on_answer(void *arg, int rc, struct worker_msg *m,
                      const struct error *err)
{
    struct combining *x = arg;
    struct request *r = x->r;
    const enum worker_msg_type want =
        x->is_diff ? WORKER_MSG_differed : WORKER_MSG_converted;

    if (rc < 0 || m->type != want) {
        free_combining(x);
        tools_fail(r, rc, err);
        return;
    }
    if (x->is_diff) {
        x->n_blocks = m->differed.n_blocks;
        x->n_linears = m->differed.n_linears;
        x->file_fd = worker_fd_take(&m->differed.file_fd);
    } else {
        x->left_out = m->converted.left_out;
        x->file_fd = worker_fd_take(&m->converted.file_fd);
    }
    dbcall_start(x->p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_ALONE,
                                         .run = x->is_diff ? run_diff : run_add,
                                         .after = x->is_diff ? NULL : after_add,
                                         .data = x,
                                         .free_data = free_combining});
}

void adapter_fill_merge(struct worker_merge *m, uint32_t rank, int model_fd,
                        const int *part_fds, const struct store_part *parts,
                        size_t count)
{
    int *fds[PARTS_MAX] = {&m->fd0, &m->fd1, &m->fd2,
                           &m->fd3, &m->fd4, &m->fd5};
    double *weights[PARTS_MAX] = {&m->weight0, &m->weight1, &m->weight2,
                                  &m->weight3, &m->weight4, &m->weight5};

    m->req = 1;
    m->rank = rank;
    m->model_fd = model_fd;
    for (size_t i = 0; i < PARTS_MAX; i++) {
        *fds[i] = i < count ? part_fds[i] : -1;
        *weights[i] = i < count ? parts[i].weight : 0;
    }
}

static void after_open(struct dbcall *c)
{
    struct combining *x = c->data;
    struct worker_msg m;

    x->r = dbcall_take(c);
    if (x->is_diff) {
        worker_msg_init(&m, WORKER_MSG_diff);
        m.diff.req = 1;
        m.diff.model_fd = x->model_fd;
        m.diff.a_fd = x->fds[0];
        m.diff.b_fd = x->fds[1];
    } else {
        worker_msg_init(&m, WORKER_MSG_merge);
        adapter_fill_merge(&m.merge, x->rank, x->model_fd, x->fds, x->parts,
                           x->count);
    }
    (void) tools_call(x->p->tools, x->r, &m, on_answer, x, free_combining);
}

// Without any weight it is the mean.
static int take_parts(struct combining *x, const msgpack_object *parts,
                      struct error *err)
{
    bool has_weight = false;

    x->count = codec_count(parts);
    if (x->count < 2 || x->count > PARTS_MAX)
        return error_set(err, -EINVAL, "2 to %d versions can be taken, not %zu",
                         PARTS_MAX, x->count);
    for (uint32_t i = 0; i < x->count; i++) {
        const msgpack_object *o = codec_at(parts, i);
        struct store_part *p = &x->parts[i];
        const int64_t version = codec_int(o, "version", 0);
        int rc =
            codec_get_cstr(o, "adapter", p->adapter, sizeof(p->adapter), err);
        if (rc < 0)
            return rc;
        if (version < 0 || version > INT32_MAX)
            return error_set(err, -EINVAL, "there is no version %" PRId64,
                             version);
        p->version = (uint32_t) version;
        has_weight |= codec_find(o, "weight") != NULL;
        p->weight = codec_float(o, "weight", (double) NAN);
    }
    for (size_t i = 0; i < x->count; i++) {
        double *w = &x->parts[i].weight;
        if (!has_weight)
            *w = 1.0 / (double) x->count;
        if (!isfinite(*w) || fabs(*w) > 1000)
            return error_set(err, -EINVAL,
                             "give each version a weight of -1000 to 1000, or "
                             "none of them");
    }
    return 0;
}

static int take_params(struct combining *x, const msgpack_object *params,
                       struct error *err)
{
    if (codec_get_cstr(params, "adapter", x->name, sizeof(x->name), err) ==
        -EINVAL)
        return -EINVAL;
    if (x->name[0] && (!rpc_record_name_is_valid(x->name, strlen(x->name)) ||
                       strcmp(x->name, "none") == 0))
        return error_set(err, -EINVAL,
                         "adapter %s: a name has letters a-z, digits, . _ -",
                         x->name);
    x->rank = (uint32_t) codec_int(params, "rank", 0);
    x->with_linears = codec_bool(params, "linears", false);
    return take_parts(x, codec_find(params, "parts"), err);
}

static void start(struct pockd *p, struct request *r, bool is_diff)
{
    struct combining *x = calloc(1, sizeof(*x));
    struct error err = {0};

    if (!x) {
        request_fail(r, RPC_ERROR_BUSY, "out of memory");
        return;
    }
    x->p = p;
    x->is_diff = is_diff;
    x->model_fd = x->file_fd = -1;
    for (size_t i = 0; i < PARTS_MAX; i++)
        x->fds[i] = -1;
    store_version_init(&x->version);
    if (take_params(x, request_params(r), &err) < 0) {
        free_combining(x);
        request_fail(r, RPC_ERROR_BAD_PARAMS, "%s", err.text);
        return;
    }
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_ALONE,
                                         .run = run_open,
                                         .after = after_open,
                                         .data = x,
                                         .free_data = free_combining});
}

void handle_adapter_merge(struct pockd *p, struct request *r)
{
    start(p, r, false);
}

void handle_adapter_diff(struct pockd *p, struct request *r)
{
    start(p, r, true);
}
