// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/microbatch.h"

#include "engine/base/error.h"
#include "engine/exec/program.h"
#include "engine/train/base_model.h"
#include "engine/train/objective.h"
#include "engine/train/prober.h"
#include "engine/train/recipe.h"

#include <errno.h>
#include <stdio.h>

enum {
    PLACES_MAX = 8192, // more make a program no faster
    LENGTH_MIN = 32,   // shorter rows teach little
};

struct probe {
    const struct base_model *base;
    struct device *dev;
    struct program_params params;
    uint32_t batch;
    size_t row_bytes; // what one row needs at least
};

// UPDATE has the most to hold: its gradients meet the sums.
static int compile(struct microbatch *out, struct probe *p, uint32_t rows,
                   struct error *err)
{
    struct program_params params[] = {p->params, p->params, p->params};
    const bool rounds = p->params.precision != PRECISION_F32;
    const int n = p->params.first_block ? 2 + rounds : 1;

    // What computes the states of a frozen prefix shares the arena: of records
    // to learn from, and of held-out ones.
    params[1].kind = PROGRAM_PREFIX;
    params[1].scheme = NULL;
    params[2] = params[1];
    params[2].precision = PRECISION_F32;
    out->rows = rows;
    out->n_micro = (p->batch + rows - 1) / rows;
    out->arena_bytes = 0;
    for (int i = 0; i < n; i++) {
        struct program *program;
        params[i].batch = rows;
        int rc = program_compile(&program, &p->base->config, &params[i],
                                 p->base->backend, p->dev, err);
        if (rc < 0)
            return rc;
        const size_t bytes = program_arena_bytes(program);
        if (bytes > out->arena_bytes)
            out->arena_bytes = bytes;
        if (i == 0)
            program_costs(&out->costs, program);
        program_destroy(program);
    }
    return 0;
}

// Work of a step. Fewer rows decode the weights more often, more rows may have
// to make values again.
static uint64_t step_flops(const struct microbatch *m)
{
    return m->costs.flops * m->n_micro;
}

/*
 * From as many rows as are sensible down, in even shares of the batch and in
 * steps that are not too small. Once nothing is made again, fewer rows cannot
 * be better. Returns 1 when something fits, 0 when not even one row does.
 */
static int choose_rows(struct microbatch *m, struct probe *p, uint32_t rows_max,
                       struct error *err)
{
    uint32_t n = (p->batch + rows_max - 1) / rows_max;
    struct microbatch best = {0};

    for (;;) {
        const uint32_t rows = (p->batch + n - 1) / n;
        struct microbatch now = *m;
        int rc = compile(&now, p, rows, err);
        if (rc < 0)
            return rc;
        const bool fits = now.arena_bytes <= m->budget;
        if (fits && (!best.rows || step_flops(&now) < step_flops(&best)))
            best = now;
        if (rows == 1)
            p->row_bytes = now.arena_bytes;
        if (rows == 1 || (fits && now.costs.flops_extra == 0))
            break;
        // Shares of three quarters at most.
        while ((p->batch + n - 1) / n > (rows > 3 ? rows * 3 / 4 : rows - 1))
            n++;
    }
    if (best.rows)
        *m = best;
    return best.rows > 0;
}

static double mib(size_t bytes)
{
    return (double) bytes / (1 << 20);
}

static void explain(struct microbatch *m, const struct probe *p,
                    uint32_t length)
{
    const struct program_costs *c = &m->costs;
    const double percent =
        (double) c->flops_extra * 100 / (double) (c->flops - c->flops_extra);
    size_t at = 0;
    int n = 0;

    if (m->length < length)
        n = snprintf(m->why, sizeof(m->why),
                     "Rows are cut to %u tokens, for one of %u does not fit "
                     "into memory_mib %u. ",
                     m->length, length, (unsigned) (m->budget >> 20));
    at = n > 0 ? (size_t) n : 0;
    if (c->flops_extra > 0)
        (void) snprintf(m->why + at, sizeof(m->why) - at,
                        "%u instructions of the forward pass run again for "
                        "the gradients, %.1f %% more work: to keep all would "
                        "take %.0f MiB.",
                        c->n_recomputed, percent, mib(c->kept_bytes));
    else
        (void) snprintf(m->why + at, sizeof(m->why) - at,
                        "Nothing is made again: all that gradients read fits.");
}

static int refuse(const struct microbatch *m, const struct probe *p,
                  struct error *err)
{
    return error_set(err, -ENOMEM,
                     "training: a row of %u tokens needs %.0f MiB, but "
                     "memory_mib is %u: raise it, or let fewer tensors learn",
                     m->length, mib(p->row_bytes) + 0.5,
                     (unsigned) (m->budget >> 20));
}

// The longest rows that fit: as asked for, or a half, a quarter.
static int choose(struct microbatch *m, struct probe *p, struct error *err)
{
    const uint32_t length = m->length;

    for (;;) {
        uint32_t rows_max = PLACES_MAX / m->length;
        p->params.length = m->length;
        rows_max = rows_max < 1 ? 1 : rows_max;
        rows_max = rows_max > p->batch ? p->batch : rows_max;
        int rc = choose_rows(m, p, rows_max, err);
        if (rc < 0)
            return rc;
        if (rc > 0)
            break;
        if (m->length / 2 < LENGTH_MIN)
            return refuse(m, p, err);
        m->length /= 2;
    }
    explain(m, p, length);
    return 0;
}

// Late updates keep all gradients until the end of the step; early ones need
// three copies of the state, to undo a step that is cut off.
static bool is_deferred(const struct recipe *r, size_t gradient_bytes)
{
    switch ((enum recipe_updates) r->updates) {
    case RECIPE_UPDATES_EARLY:
        return false;
    case RECIPE_UPDATES_LATE:
        return true;
    case RECIPE_UPDATES_AUTO:
    case RECIPE_UPDATES_COUNT:
        break;
    }
    return gradient_bytes <= ((uint64_t) r->memory_mib << 20) / 2;
}

int microbatch_plan(struct microbatch *out, const struct base_model *base,
                    const struct recipe *r, struct error *err)
{
    const uint32_t context = base->config.context;
    struct microbatch result = {
        .length = r->length < context ? r->length : context,
        .budget = (uint64_t) r->memory_mib << 20,
    };
    struct probe p = {
        .base = base,
        .params = {.kind = PROGRAM_UPDATE, .arena_budget = result.budget},
        .batch = r->batch,
    };
    struct scheme scheme;
    int rc;

    if (recipe_is_forward(r))
        return prober_plan(out, base, r, err);
    if ((rc = recipe_scheme(&scheme, r, &base->config, err)) == 0)
        rc = recipe_kept(&result.kept, r, &scheme, &base->config, err);
    if (rc < 0)
        return rc;
    p.params.scheme = &scheme;
    p.params.kept = result.kept;
    p.params.first_block = recipe_first_block(r, &scheme, &base->config);
    result.n_floats = (size_t) scheme_floats(&scheme, &base->config);
    result.is_deferred = is_deferred(r, result.n_floats * sizeof(float));
    p.params.is_deferred = result.is_deferred;
    p.params.precision = (enum precision) r->precision;
    if ((rc = base_model_borrow(&p.dev, base, err)) < 0)
        return rc;
    rc = choose(&result, &p, err);
    base_model_give_back(base, p.dev);
    if (rc == 0)
        *out = result;
    return rc;
}

int microbatch_method(struct recipe *r, const struct base_model *base,
                      struct error *err)
{
    struct microbatch m;

    if (r->method != RECIPE_METHOD_AUTO)
        return 0;
    if (r->dp_epsilon > 0 || r->objective != OBJECTIVE_NLL) {
        recipe_set_method(r, RECIPE_METHOD_PRGE);
        return 0;
    }
    int rc = microbatch_plan(&m, base, r, err);
    if (rc < 0 && rc != -ENOMEM)
        return rc;
    recipe_set_method(r, rc < 0 ? RECIPE_METHOD_PRGE : RECIPE_METHOD_GRADIENT);
    return 0;
}
