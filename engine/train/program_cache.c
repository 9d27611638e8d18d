// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/program_cache.h"

#include "engine/base/error.h"
#include "engine/train/base_model.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

// More shapes than a run needs; past it the cache starts over.
enum { ENTRIES_MAX = 256, SCHEMES_MAX = 8 };

struct entry {
    struct program_params params;
    struct program *program;
    struct executor *executor; // NULL when the arena was replaced
};

struct program_cache {
    struct base_model *base;
    program_cache_bind_fn *bind;
    void *user;
    struct buffer *arena;
    size_t arena_bytes;
    struct entry entries[ENTRIES_MAX];
    uint32_t n_entries;
    // Copies, so that the entries' pointers say by themselves what is equal.
    struct scheme *schemes[SCHEMES_MAX];
    uint32_t n_schemes;
    uint32_t times_changes; // of the base model, when they were compiled
};

int program_cache_create(struct program_cache **out, struct base_model *base,
                         program_cache_bind_fn *bind, void *user)
{
    struct program_cache *c = calloc(1, sizeof *c);

    if (!c)
        return -ENOMEM;
    c->base = base;
    c->bind = bind;
    c->user = user;
    *out = c;
    return 0;
}

static void drop_executors(struct program_cache *c)
{
    for (uint32_t i = 0; i < c->n_entries; i++) {
        executor_destroy(c->entries[i].executor);
        c->entries[i].executor = NULL;
    }
}

static void drop_programs(struct program_cache *c)
{
    drop_executors(c);
    for (uint32_t i = 0; i < c->n_entries; i++)
        program_destroy(c->entries[i].program);
    c->n_entries = 0;
    for (uint32_t i = 0; i < c->n_schemes; i++)
        free(c->schemes[i]);
    c->n_schemes = 0;
}

void program_cache_destroy(struct program_cache *c)
{
    if (!c)
        return;
    drop_programs(c);
    c->base->backend->buffer_destroy(c->arena);
    free(c);
}

size_t program_cache_arena_bytes(const struct program_cache *c)
{
    return c->arena_bytes;
}

static int bind_weight(struct binding *out, const struct program_slot *slot,
                       void *user, struct error *err)
{
    const struct program_cache *c = user;
    return base_model_bind(out, c->base, slot, err);
}

static int bind_state(struct binding *out, const struct program_slot *slot,
                      void *user, struct error *err)
{
    const struct program_cache *c = user;
    return c->bind(out, slot, c->user, err);
}

static int grow_arena(struct program_cache *c, size_t bytes, struct error *err)
{
    const struct backend *backend = c->base->backend;
    int rc;

    if (c->arena && bytes <= c->arena_bytes)
        return 0;
    drop_executors(c);
    backend->buffer_destroy(c->arena);
    c->arena = NULL;
    c->arena_bytes = 0;
    rc = backend->buffer_create(&c->arena, c->base->dev, bytes ? bytes : 64);
    if (rc < 0)
        return error_set(err, rc,
                         "the device has no %zu MiB left for activations: %s",
                         bytes >> 20, strerror(-rc));
    c->arena_bytes = bytes;
    return 0;
}

// The cache's own copy of it.
static int keep_scheme(const struct scheme **out, struct program_cache *c,
                       const struct scheme *scheme, struct error *err)
{
    *out = NULL;
    if (!scheme)
        return 0;
    for (uint32_t i = 0; i < c->n_schemes; i++) {
        if (scheme_equal(c->schemes[i], scheme)) {
            *out = c->schemes[i];
            return 0;
        }
    }
    if (c->n_schemes == SCHEMES_MAX)
        drop_programs(c);
    struct scheme *copy = malloc(sizeof *copy);
    if (!copy)
        return error_set(err, -ENOMEM, "programs: out of memory");
    *copy = *scheme;
    c->schemes[c->n_schemes++] = copy;
    *out = copy;
    return 0;
}

static bool is_same(const struct program_params *a,
                    const struct program_params *b)
{
    return a->kind == b->kind && a->batch == b->batch &&
           a->length == b->length && a->cache_length == b->cache_length &&
           a->n_rows == b->n_rows && a->scheme == b->scheme &&
           a->first_block == b->first_block &&
           a->arena_budget == b->arena_budget &&
           a->is_deferred == b->is_deferred && a->precision == b->precision &&
           kept_equal(&a->kept, &b->kept) &&
           memcmp(&a->perturb, &b->perturb, sizeof a->perturb) == 0 &&
           memcmp(&a->drop, &b->drop, sizeof a->drop) == 0;
}

static int find(struct entry **out, struct program_cache *c,
                const struct program_params *asked, struct error *err)
{
    struct program_params kept = *asked;
    const struct program_params *params = &kept;

    if (c->n_entries == ENTRIES_MAX ||
        c->times_changes != c->base->times_changes)
        drop_programs(c);
    c->times_changes = c->base->times_changes;
    kept.times = c->base->times;
    if (keep_scheme(&kept.scheme, c, asked->scheme, err) < 0)
        return -ENOMEM;
    struct entry *e = c->entries;
    for (; e < c->entries + c->n_entries; e++) {
        if (is_same(&e->params, params)) {
            *out = e;
            return 0;
        }
    }
    *e = (struct entry){.params = *params};
    int rc = program_compile(&e->program, &c->base->config, params,
                             c->base->backend, c->base->dev, err);
    if (rc < 0)
        return rc;
    c->n_entries++;
    *out = e;
    return 0;
}

int program_cache_get(struct executor **out, struct program_cache *c,
                      const struct program_params *params, struct error *err)
{
    struct entry *e;
    int rc;

    if ((rc = find(&e, c, params, err)) < 0 ||
        (rc = grow_arena(c, program_arena_bytes(e->program), err)) < 0)
        return rc;
    if (!e->executor) {
        const struct executor_params x = {
            .backend = c->base->backend,
            .dev = c->base->dev,
            .arena = c->arena,
            .bind_weight = bind_weight,
            .bind_state = bind_state,
            .user = c,
        };
        rc = executor_create(&e->executor, e->program, &x, err);
        if (rc < 0)
            return rc;
    }
    executor_reset(e->executor);
    *out = e->executor;
    return 0;
}
