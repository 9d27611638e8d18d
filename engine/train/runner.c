// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/runner.h"

#include "engine/base/error.h"
#include "engine/train/adapter.h"
#include "engine/train/adapter_state.h"
#include "engine/train/base_model.h"
#include "engine/train/program_cache.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ALIGNMENT = 64,
    CACHE_STEP = 256, // lengths of caches are multiples: fewer programs
};

struct runner {
    struct base_model *base;
    struct adapter_state *state; // of the newest adapter
    bool has_adapter;            // and it is in use
    struct program_cache *programs;
    struct buffer *caches;
    uint32_t cache_length;
    size_t cache_bytes; // of one block's keys, or values
};

static int bind_cache(struct binding *out, const struct runner *r,
                      const struct program_slot *slot, struct error *err)
{
    unsigned block;
    char which;

    if (sscanf(slot->name, "cache.%c.%u", &which, &block) != 2 ||
        (which != 'k' && which != 'v') || block >= r->base->config.n_blocks ||
        slot->bytes > r->cache_bytes || !r->caches)
        return error_set(err, -ENOENT, "generation: there is no state \"%s\"",
                         slot->name);
    *out = (struct binding){
        .buffer = r->caches,
        .offset = (2 * (size_t) block + (which == 'v')) * r->cache_bytes,
    };
    return 0;
}

static int bind_state(struct binding *out, const struct program_slot *slot,
                      void *user, struct error *err)
{
    const struct runner *r = user;

    if (strncmp(slot->name, "cache.", 6) == 0)
        return bind_cache(out, r, slot, err);
    if (!r->state)
        return error_set(err, -ENOENT, "there is no adapter for \"%s\"",
                         slot->name);
    return adapter_state_bind(out, r->state, slot, err);
}

int runner_create(struct runner **out, struct base_model *base)
{
    struct runner *r = calloc(1, sizeof *r);

    if (!r)
        return -ENOMEM;
    r->base = base;
    int rc = program_cache_create(&r->programs, base, bind_state, r);
    if (rc < 0) {
        free(r);
        return rc;
    }
    *out = r;
    return 0;
}

void runner_destroy(struct runner *r)
{
    if (!r)
        return;
    program_cache_destroy(r->programs);
    adapter_state_destroy(r->state);
    r->base->backend->buffer_destroy(r->caches);
    free(r);
}

// What programs are bound to is about to go away.
static int forget_programs(struct runner *r, struct error *err)
{
    struct program_cache *fresh;
    int rc = program_cache_create(&fresh, r->base, bind_state, r);

    if (rc < 0)
        return error_set(err, rc, "model: out of memory");
    program_cache_destroy(r->programs);
    r->programs = fresh;
    return 0;
}

static int replace_state(struct runner *r, const struct adapter *a,
                         struct error *err)
{
    const struct adapter_state_params params = {
        .backend = r->base->backend,
        .dev = r->base->dev,
        .config = &r->base->config,
        .scheme = &a->scheme,
    };
    struct adapter_state *state;
    int rc = adapter_state_create(&state, &params, err);

    if (rc < 0)
        return rc;
    if (adapter_floats(a) != adapter_state_floats(state))
        rc = error_set(err, -EINVAL,
                       "adapter: it is for a model of other sizes");
    if (rc == 0)
        rc = forget_programs(r, err);
    if (rc < 0) {
        adapter_state_destroy(state);
        return rc;
    }
    adapter_state_destroy(r->state);
    r->state = state;
    return 0;
}

// What generation multiplies rows with is made once for each adapter.
static int make_gains(struct runner *r, struct error *err)
{
    const struct program_params params = {
        .kind = PROGRAM_GAINS,
        .batch = 1,
        .length = 1,
        .scheme = adapter_state_scheme(r->state),
    };
    struct executor *x;
    int rc;

    if (!adapter_state_has_gains(r->state))
        return 0;
    if ((rc = program_cache_get(&x, r->programs, &params, err)) < 0)
        return rc;
    if ((rc = executor_run(x)) < 0 ||
        (rc = adapter_state_take_gains(r->state, x)) < 0)
        return error_set(err, rc, "adapter: %s", strerror(-rc));
    return 0;
}

int runner_use_adapter(struct runner *r, const struct adapter *a,
                       struct error *err)
{
    int rc;

    if (!a) {
        // Programs without an adapter bind no state of it: both may stay.
        r->has_adapter = false;
        return 0;
    }
    if (!r->state ||
        !scheme_equal(adapter_state_scheme(r->state), &a->scheme)) {
        if ((rc = replace_state(r, a, err)) < 0)
            return rc;
    }
    r->has_adapter = true;
    rc = adapter_state_write(r->state, ADAPTER_PART_VALUE, a->data);
    if (rc < 0)
        return error_set(err, rc, "adapter: %s", strerror(-rc));
    return make_gains(r, err);
}

int runner_use_caches(uint32_t *length, struct runner *r, uint32_t n_tokens,
                      struct error *err)
{
    const struct model_config *c = &r->base->config;
    const struct backend *backend = r->base->backend;
    const uint32_t steps = (n_tokens + CACHE_STEP - 1) / CACHE_STEP;
    const uint32_t want =
        steps < c->context / CACHE_STEP ? steps * CACHE_STEP : c->context;
    const size_t row = (size_t) c->n_kv_heads * c->head_dim * sizeof(float);
    const size_t bytes = (want * row + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    struct buffer *caches;
    int rc;

    if (want > r->cache_length) {
        rc = backend->buffer_create(&caches, r->base->dev,
                                    2 * (size_t) c->n_blocks * bytes);
        if (rc < 0)
            return error_set(err, rc,
                             "generation: no memory for %u tokens of context: "
                             "ask for fewer",
                             n_tokens);
        if ((rc = forget_programs(r, err)) < 0) {
            backend->buffer_destroy(caches);
            return rc;
        }
        backend->buffer_destroy(r->caches);
        r->caches = caches;
        r->cache_length = want;
        r->cache_bytes = bytes;
    }
    *length = r->cache_length;
    return 0;
}

const struct scheme *runner_scheme(const struct runner *r)
{
    return r->has_adapter ? adapter_state_scheme(r->state) : NULL;
}

struct base_model *runner_base(const struct runner *r)
{
    return r->base;
}

struct program_cache *runner_programs(const struct runner *r)
{
    return r->programs;
}
