// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Sums and comparisons of adapters. Of a comparison there are three doubles for
 * each linear of each block: struct adapter_difference.
 */

#include "daemon/worker/worker_tool_inside.h"
#include "engine/base/memfile.h"
#include "engine/engine.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PARTS_MAX = 6 };

static int fail(struct tool *t, int rc)
{
    const bool is_wish = rc == -ENOTSUP || rc == -EINVAL || rc == -E2BIG;

    return worker_failure_set(&t->failure, rc,
                              is_wish ? "BAD_REQUEST" : "INTERNAL",
                              is_wish ? WORKER_SEVERITY_PERMANENT
                                      : WORKER_SEVERITY_TRANSIENT);
}

static int write_sum(struct worker_converted *out,
                     const struct adapter_part *parts, uint32_t n,
                     uint32_t rank, const struct engine_model *model,
                     struct error *err)
{
    struct adapter *sum;
    int rc =
        engine_adapter_sum(&sum, &out->left_out, parts, n, model, rank, err);

    if (rc < 0)
        return rc;
    if ((rc = memfile_create(&out->file_fd, "pock-adapter")) < 0)
        (void) error_set(err, rc, "no room for the adapter");
    else if ((rc = engine_adapter_save(sum, model, out->file_fd, err)) == 0)
        rc = worker_file_seal(out->file_fd, &out->bytes, out->sha256, err);
    engine_adapter_destroy(sum);
    return rc;
}

int tool_merge(struct tool *t, const struct worker_merge *q)
{
    const int fds[PARTS_MAX] = {q->fd0, q->fd1, q->fd2, q->fd3, q->fd4, q->fd5};
    const double weights[PARTS_MAX] = {q->weight0, q->weight1, q->weight2,
                                       q->weight3, q->weight4, q->weight5};
    struct adapter *adapters[PARTS_MAX] = {NULL};
    struct adapter_part parts[PARTS_MAX];
    struct engine_model *model = NULL;
    struct worker_msg m;
    uint32_t n = 0;
    int rc;

    worker_msg_init(&m, WORKER_MSG_converted);
    m.converted.req = q->req;
    memcpy(m.converted.format, "gguf", 5);
    if ((rc = tool_open_model(&model, t, q->model_fd)) < 0)
        goto out;
    for (; n < PARTS_MAX && fds[n] >= 0; n++) {
        if ((rc = tool_open_adapter(&adapters[n], t, model, fds[n], -1)) < 0)
            goto out;
        parts[n] = (struct adapter_part){adapters[n], weights[n]};
    }
    if ((rc = write_sum(&m.converted, parts, n, q->rank, model,
                        &t->failure.err)) < 0)
        (void) fail(t, rc);
    else
        (void) worker_control_send(t->control, &m);

out:
    worker_msg_finish(&m);
    for (uint32_t i = 0; i < PARTS_MAX; i++)
        engine_adapter_destroy(adapters[i]);
    engine_model_close(model);
    return rc;
}

static int compare(struct worker_differed *out, const struct adapter *a,
                   const struct adapter *b, const struct engine_model *model,
                   struct error *err)
{
    struct adapter_difference *d;
    int rc = engine_adapter_compare(&d, &out->n_blocks, &out->n_linears, a, b,
                                    model, err);

    if (rc < 0)
        return rc;
    out->bytes = (uint64_t) out->n_blocks * out->n_linears * sizeof(*d);
    rc = memfile_from_bytes(&out->file_fd, "pock-difference", d,
                            (size_t) out->bytes);
    free(d);
    return rc < 0 ? error_set(err, rc, "no room for the comparison") : 0;
}

int tool_diff(struct tool *t, const struct worker_diff *q)
{
    struct adapter *a = NULL, *b = NULL;
    struct engine_model *model = NULL;
    struct worker_msg m;
    int rc;

    worker_msg_init(&m, WORKER_MSG_differed);
    m.differed.req = q->req;
    if ((rc = tool_open_model(&model, t, q->model_fd)) < 0 ||
        (rc = tool_open_adapter(&a, t, model, q->a_fd, -1)) < 0 ||
        (rc = tool_open_adapter(&b, t, model, q->b_fd, -1)) < 0)
        goto out;
    if ((rc = compare(&m.differed, a, b, model, &t->failure.err)) < 0)
        (void) fail(t, rc);
    else
        (void) worker_control_send(t->control, &m);

out:
    worker_msg_finish(&m);
    engine_adapter_destroy(a);
    engine_adapter_destroy(b);
    engine_model_close(model);
    return rc;
}
