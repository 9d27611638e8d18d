// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <stdlib.h>

#include "engine/base/clock.h"
#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/exec/lower.h"

/*
 * Invariants:
 * 1. Between two calls `next` is the first instruction that has not run; 0
 *    before a run, after a complete one and after a failure.
 * 2. Every slot of the program is bound.
 */
struct executor {
    const struct program *program;
    const struct backend *backend;
    struct device *dev;
    struct buffer *arena;
    struct buffer *own_arena; // the same, if the executor made it
    struct binding *weights;
    struct binding *states;
    struct prepared *prepared;
    uint32_t next;
};

static int bind_all(struct binding *out, const struct program_slot *slots,
                    uint32_t n,
                    int (*bind)(struct binding *out,
                                const struct program_slot *slot, void *user,
                                struct error *err),
                    void *user, struct error *err)
{
    for (uint32_t i = 0; i < n; i++) {
        if (!bind)
            return error_set(err, -EINVAL, "nothing is bound to %s",
                             slots[i].name);
        int rc = bind(&out[i], &slots[i], user, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int make_arena(struct executor *e, const struct executor_params *params,
                      struct error *err)
{
    const size_t bytes = e->program->arena_bytes;
    int rc;

    e->arena = params->arena;
    if (e->arena)
        return 0;
    rc = e->backend->buffer_create(&e->own_arena, e->dev, bytes ? bytes : 1);
    if (rc < 0)
        return error_set(err, rc,
                         "the program needs %zu bytes of memory, which the "
                         "device does not have; use a smaller batch or length",
                         bytes);
    e->arena = e->own_arena;
    return 0;
}

static struct bindings bindings_of(const struct executor *e)
{
    return (struct bindings){e->arena, e->weights, e->states, e->prepared};
}

int executor_create(struct executor **out, const struct program *p,
                    const struct executor_params *params, struct error *err)
{
    int rc;

    struct executor *e = fault_calloc(1, sizeof(*e));
    if (!e)
        return error_set(err, -ENOMEM, "binding a program: out of memory");
    e->program = p;
    e->backend = params->backend;
    e->dev = params->dev;
    e->weights = fault_calloc(p->n_weights + 1u, sizeof(*e->weights));
    e->states = fault_calloc(p->n_states + 1u, sizeof(*e->states));
    if (!e->weights || !e->states) {
        rc = error_set(err, -ENOMEM, "binding a program: out of memory");
        goto error;
    }
    if ((rc = make_arena(e, params, err)) < 0)
        goto error;
    if ((rc = bind_all(e->weights, p->weights, p->n_weights,
                       params->bind_weight, params->user, err)) < 0)
        goto error;
    if ((rc = bind_all(e->states, p->states, p->n_states, params->bind_state,
                       params->user, err)) < 0)
        goto error;
    const struct bindings b = bindings_of(e);
    if (e->backend->prepare &&
        (rc = e->backend->prepare(&e->prepared, e->dev, p->instrs, p->n_instrs,
                                  &b, err)) < 0)
        goto error;

    *out = e;
    return 0;

error:
    executor_destroy(e);
    return rc;
}

void executor_destroy(struct executor *e)
{
    if (!e)
        return;
    if (e->prepared)
        e->backend->release(e->prepared);
    if (e->own_arena)
        e->backend->buffer_destroy(e->own_arena);
    free(e->states);
    free(e->weights);
    free(e);
}

static const struct operand *find_io(const struct executor *e, const char *name,
                                     size_t bytes)
{
    const struct operand *o = program_io(e->program, name);
    if (!o)
        return NULL;
    const size_t rows = (size_t) (o->ne[0] * o->ne[1] * o->ne[2]);
    if (bytes != rows * dtype_row_bytes((enum dtype) o->dtype, o->ne[3]))
        return NULL;
    return o;
}

int executor_write(struct executor *e, const char *input, const void *data,
                   size_t bytes)
{
    const struct operand *o = find_io(e, input, bytes);
    if (!o)
        return -EINVAL;
    return e->backend->buffer_write(e->arena, o->offset, data, bytes);
}

int executor_read(struct executor *e, const char *output, void *data,
                  size_t bytes)
{
    const struct operand *o = find_io(e, output, bytes);
    if (!o)
        return -EINVAL;
    return e->backend->buffer_read(e->arena, o->offset, data, bytes);
}

bool executor_has(const struct executor *e, const char *name)
{
    return program_io(e->program, name) != NULL;
}

int executor_run_gradients(struct executor *e)
{
    const struct program *p = e->program;
    const struct bindings b = bindings_of(e);
    const uint32_t count = p->first_update - e->next;

    const int n = e->backend->run(e->dev, p->instrs + e->next, count, &b);
    if (n < 0) {
        e->next = 0;
        return n;
    }
    e->next += (uint32_t) n;
    return e->next < p->first_update ? -EINTR : 0;
}

int executor_run(struct executor *e)
{
    const struct program *p = e->program;
    const struct bindings b = bindings_of(e);

    const int n =
        e->backend->run(e->dev, p->instrs + e->next, p->n_instrs - e->next, &b);
    if (n < 0) {
        e->next = 0;
        return n;
    }
    e->next += (uint32_t) n;
    if (e->next < p->n_instrs)
        return -EINTR;
    e->next = 0;
    return 0;
}

void executor_reset(struct executor *e)
{
    e->next = 0;
}

int executor_profile(struct executor *e, uint64_t *ns)
{
    const struct program *p = e->program;
    const struct bindings b = bindings_of(e);

    e->next = 0;
    for (uint32_t i = 0; i < p->n_instrs; i++) {
        const uint64_t start = clock_monotonic_ns();
        const int n = e->backend->run(e->dev, &p->instrs[i], 1, &b);
        if (n < 1)
            return n < 0 ? n : -EINTR;
        ns[i] += clock_monotonic_ns() - start;
    }
    return 0;
}
