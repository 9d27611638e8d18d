// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/trial.h"

#include "engine/base/error.h"

#include <errno.h>
#include <string.h>

enum { ALIGNMENT = 64 };

struct operand trial_operand(enum region region, enum dtype dtype, int64_t rows,
                             int64_t columns)
{
    return (struct operand){
        .region = (uint8_t) region,
        .dtype = (uint8_t) dtype,
        .rank = 2,
        .ne = {1, 1, rows, columns},
    };
}

size_t trial_bytes(const struct operand *o)
{
    return (size_t) (o->ne[0] * o->ne[1] * o->ne[2]) *
           dtype_row_bytes((enum dtype) o->dtype, o->ne[3]);
}

static size_t place(struct operand *o, size_t used)
{
    if (o->region != REGION_ARENA)
        return used;
    o->offset = used;
    return used + (trial_bytes(o) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static size_t lay_out(struct trial *t)
{
    const size_t scratch = t->backend->scratch_bytes(t->dev, &t->in);
    size_t used = 0;

    for (int i = 0; i < t->in.n_in; i++)
        used = place(&t->in.in[i], used);
    for (int i = 0; i < t->in.n_out; i++)
        used = place(&t->in.out[i], used);
    if (scratch > 0)
        t->in.scratch = trial_operand(REGION_ARENA, DTYPE_f32, 1,
                                      (int64_t) ((scratch + 3) / 4));
    return place(&t->in.scratch, used);
}

static int import_weight(struct trial *t, const void *weight)
{
    for (int i = 0; i < t->in.n_in; i++) {
        if (t->in.in[i].region != REGION_WEIGHT)
            continue;
        int rc = t->backend->buffer_import(&t->weight, t->dev, weight,
                                           trial_bytes(&t->in.in[i]));
        if (rc < 0)
            return rc;
        t->binding = (struct binding){.buffer = t->weight};
    }
    return 0;
}

int trial_create(struct trial *t, const struct backend *backend,
                 struct device *dev, const struct instr *in, const void *weight,
                 struct error *err)
{
    int rc;

    *t = (struct trial){.backend = backend, .dev = dev, .in = *in};
    if (!backend->supports(dev, in))
        return error_set(err, -ENOTSUP, "the device cannot compute %s",
                         op_infos[in->op].name);
    const size_t bytes = lay_out(t);
    if ((rc = backend->buffer_create(&t->arena, dev, bytes)) < 0 ||
        (rc = import_weight(t, weight)) < 0)
        return error_set(err, rc, "there is no memory for a trial: %s",
                         strerror(-rc));
    t->bindings = (struct bindings){.arena = t->arena, .weights = &t->binding};
    if (backend->prepare && (rc = backend->prepare(&t->prepared, dev, &t->in, 1,
                                                   &t->bindings, err)) < 0)
        return rc;
    t->bindings.prepared = t->prepared;
    return 0;
}

void trial_destroy(struct trial *t)
{
    if (!t->backend)
        return;
    if (t->prepared)
        t->backend->release(t->prepared);
    t->backend->buffer_destroy(t->weight);
    t->backend->buffer_destroy(t->arena);
    *t = (struct trial){0};
}

int trial_write(struct trial *t, int input, const void *data)
{
    const struct operand *o = &t->in.in[input];

    return t->backend->buffer_write(t->arena, o->offset, data, trial_bytes(o));
}

int trial_read(struct trial *t, int output, void *data)
{
    const struct operand *o = &t->in.out[output];

    return t->backend->buffer_read(t->arena, o->offset, data, trial_bytes(o));
}

int trial_run(struct trial *t)
{
    const int n = t->backend->run(t->dev, &t->in, 1, &t->bindings);

    if (n < 0)
        return n;
    return n == 1 ? 0 : -EINTR;
}
