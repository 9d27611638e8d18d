// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/microbatch.h"

#include "engine/base/error.h"
#include "engine/exec/program.h"
#include "engine/train/base_model.h"
#include "engine/train/recipe.h"

#include <errno.h>

// More places make a program no faster.
enum { PLACES_MAX = 8192 };

struct probe {
    const struct base_model *base;
    struct device *dev;
    struct program_params params;
};

// UPDATE has the most to hold: its gradients meet the sums.
static int arena_of(size_t *out, struct probe *p, uint32_t rows,
                    struct error *err)
{
    struct program_params params[] = {p->params, p->params};
    const int n = p->params.first_block ? 2 : 1;
    size_t most = 0;

    // What computes the states of a frozen prefix shares the arena.
    params[1].kind = PROGRAM_PREFIX;
    params[1].scheme = NULL;
    for (int i = 0; i < n; i++) {
        struct program *program;
        params[i].batch = rows;
        int rc = program_compile(&program, &p->base->config, &params[i],
                                 p->base->backend, p->dev, err);
        if (rc < 0)
            return rc;
        const size_t bytes = program_arena_bytes(program);
        program_destroy(program);
        if (bytes > most)
            most = bytes;
    }
    *out = most;
    return 0;
}

static int most_rows(struct microbatch *out, struct probe *p, uint32_t rows_max,
                     size_t budget, struct error *err)
{
    uint32_t low = 1;
    uint32_t high = 2;
    size_t bytes;
    int rc = arena_of(&bytes, p, 1, err);

    if (rc < 0)
        return rc;
    if (bytes > budget)
        return error_set(err, -ENOMEM,
                         "training: a row of %u tokens needs %zu MiB, but "
                         "memory_mib is %zu: raise it, or lower length",
                         p->params.length, (bytes >> 20) + 1, budget >> 20);
    out->rows = 1;
    out->arena_bytes = bytes;
    // Doubling, then halving: low fits, high does not or is past the end.
    while (high <= rows_max) {
        if ((rc = arena_of(&bytes, p, high, err)) < 0)
            return rc;
        if (bytes > budget)
            break;
        low = high;
        high *= 2;
        out->arena_bytes = bytes;
    }
    if (high > rows_max + 1)
        high = rows_max + 1;
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        if ((rc = arena_of(&bytes, p, middle, err)) < 0)
            return rc;
        if (bytes > budget) {
            high = middle;
        } else {
            low = middle;
            out->arena_bytes = bytes;
        }
    }
    out->rows = low;
    return 0;
}

int microbatch_plan(struct microbatch *out, const struct base_model *base,
                    const struct recipe *r, struct error *err)
{
    const struct device_params one = {.threads = 1};
    const uint32_t context = base->config.context;
    struct microbatch result = {
        .length = r->length < context ? r->length : context,
    };
    struct probe p = {
        .base = base,
        .params = {.kind = PROGRAM_UPDATE, .length = result.length},
    };
    uint32_t rows_max = PLACES_MAX / result.length;
    struct scheme scheme;
    int rc = recipe_scheme(&scheme, r, &base->config, err);

    if (rc < 0)
        return rc;
    if (rows_max < 1)
        rows_max = 1;
    if (rows_max > r->batch)
        rows_max = r->batch;
    p.params.scheme = &scheme;
    p.params.first_block = recipe_first_block(r, &scheme, &base->config);
    result.n_floats = (size_t) scheme_floats(&scheme, &base->config);
    if ((rc = base->backend->open(&p.dev, &one, err)) < 0)
        return rc;
    rc = most_rows(&result, &p, rows_max, (size_t) r->memory_mib << 20, err);
    base->backend->close(p.dev);
    if (rc == 0)
        *out = result;
    return rc;
}
