// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/trainplan.h"

#include "engine/base/clock.h"
#include "engine/base/error.h"
#include "engine/train/base_model.h"
#include "engine/train/recipe.h"
#include "engine/train/trainer.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// "blk.17." becomes "blk.*."
static void name_group(char out[TRAINPLAN_NAME], const char *what)
{
    const char *at = strstr(what, "blk.");
    const char *dot = at ? strchr(at + 4, '.') : NULL;

    if (dot)
        (void) snprintf(out, TRAINPLAN_NAME, "%.*sblk.*%s", (int) (at - what),
                        what, dot);
    else
        (void) snprintf(out, TRAINPLAN_NAME, "%s", what);
}

struct groups {
    struct trainplan_group *items;
    uint32_t n;
};

static void add(struct groups *g, const struct program_piece *x)
{
    char name[TRAINPLAN_NAME];
    uint32_t i = 0;

    name_group(name, x->what);
    while (i < g->n &&
           (g->items[i].kind != x->kind || strcmp(g->items[i].what, name) != 0))
        i++;
    if (i == g->n) {
        g->items[g->n++] = (struct trainplan_group){.kind = x->kind};
        memcpy(g->items[i].what, name, sizeof(name));
    }
    g->items[i].count++;
    g->items[i].bytes += x->bytes;
}

static int by_bytes(const void *a, const void *b)
{
    const struct trainplan_group *x = a;
    const struct trainplan_group *y = b;

    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return strcmp(x->what, y->what);
}

static uint32_t take(struct trainplan_group *out, struct groups *g)
{
    const uint32_t n = g->n < TRAINPLAN_GROUPS ? g->n : TRAINPLAN_GROUPS;

    qsort(g->items, g->n, sizeof(*g->items), by_bytes);
    memcpy(out, g->items, n * sizeof(*out));
    g->n = 0;
    return n;
}

// Where most is live.
static uint32_t find_peak(const struct program *p, size_t *live, uint32_t n)
{
    uint32_t at = 0;

    for (uint32_t i = 0; i < program_piece_count(p); i++) {
        const struct program_piece *x = program_piece(p, i);
        for (uint32_t k = x->first; k <= x->last && k < n; k++)
            live[k] += x->bytes;
    }
    for (uint32_t k = 1; k < n; k++)
        if (live[k] > live[at])
            at = k;
    return at;
}

static int look(struct trainplan *out, const struct program *p)
{
    const uint32_t n = program_piece_count(p);
    struct groups g = {calloc(n + 1u, sizeof(*g.items)), 0};
    size_t *live = calloc(program_instr_count(p) + 1u, sizeof(*live));
    int rc = g.items && live ? 0 : -ENOMEM;

    if (rc < 0)
        goto out;
    out->n_instrs = program_instr_count(p);
    out->peak_instr = find_peak(p, live, out->n_instrs);
    for (uint32_t i = 0; i < n; i++) {
        const struct program_piece *x = program_piece(p, i);
        if (x->first <= out->peak_instr && out->peak_instr <= x->last)
            add(&g, x);
    }
    out->n_largest = take(out->largest, &g);
    for (uint32_t i = 0; i < n; i++)
        if (program_piece(p, i)->kind == PROGRAM_PIECE_AGAIN)
            add(&g, program_piece(p, i));
    out->n_again = take(out->again, &g);

out:
    free(live);
    free(g.items);
    return rc;
}

/*
 * Steps
 */

static bool is_same_target(const struct program_target *a,
                           const struct program_target *b)
{
    return a->threads == b->threads && strcmp(a->kernel, b->kernel) == 0;
}

static void add_step(struct trainplan_step *steps, uint32_t *n,
                     const struct program_place *place, const char *name)
{
    struct trainplan_step *s = steps;

    while (s < steps + *n && (s->shape != place->shape ||
                              !is_same_target(&s->chosen, &place->chosen) ||
                              strcmp(s->what, name) != 0))
        s++;
    if (s == steps + *n) {
        (*n)++;
        *s = (struct trainplan_step){
            .chosen = place->chosen,
            .other = place->other,
            .is_measured = place->is_measured,
            .shape = place->shape,
        };
        s->chosen.ns = s->other.ns = 0;
        (void) snprintf(s->what, sizeof(s->what), "%s", name);
    }
    s->count++;
    s->chosen.ns += place->chosen.ns;
    s->other.ns += place->other.ns;
}

static int by_time(const void *a, const void *b)
{
    const struct trainplan_step *x = a;
    const struct trainplan_step *y = b;

    if (x->chosen.ns < y->chosen.ns || x->chosen.ns > y->chosen.ns)
        return x->chosen.ns < y->chosen.ns ? 1 : -1;
    return strcmp(x->what, y->what);
}

static int look_at_places(struct trainplan *out, const struct program *p)
{
    const uint32_t n = program_instr_count(p);
    uint32_t n_steps = 0;

    if (!program_place(p, 0))
        return 0;
    struct trainplan_step *steps = calloc(n, sizeof(*steps));
    if (!steps)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        const struct program_place *place = program_place(p, i);
        char full[PROGRAM_NAME];
        char name[TRAINPLAN_NAME];
        out->n_measured += place->is_measured;
        if (!place->is_known)
            continue;
        name_group(name, program_instr_name(full, p, i));
        add_step(steps, &n_steps, place, name);
    }
    qsort(steps, n_steps, sizeof(*steps), by_time);
    out->n_steps = n_steps < TRAINPLAN_STEPS ? n_steps : TRAINPLAN_STEPS;
    memcpy(out->steps, steps, out->n_steps * sizeof(*steps));
    free(steps);
    return 0;
}

static int compile(struct trainplan *out, char **drawing,
                   const struct base_model *base, const struct recipe *r,
                   const struct scheme *scheme, struct error *err)
{
    const struct perturb perturb = {
        .copies = out->micro.copies,
        .queries = r->queries,
        .noise = (uint8_t) r->noise,
        .has_limits = r->sparse < 1,
    };
    const struct program_params params = {
        .kind = out->micro.copies > 0    ? PROGRAM_PERTURBED
                : out->micro.n_micro > 1 ? PROGRAM_UPDATE
                                         : PROGRAM_TRAIN,
        .perturb = perturb,
        .batch = out->micro.rows,
        .length = out->micro.length,
        .scheme = scheme,
        .first_block = recipe_first_block(r, scheme, &base->config),
        .arena_budget = out->micro.budget,
        .precision = (enum precision) r->precision,
        .is_deferred = out->micro.is_deferred,
        .kept = out->micro.kept,
        .times = base->times,
        .threads = base->backend->threads(base->dev),
    };
    struct device *dev = NULL;
    struct program *p = NULL;
    int rc;

    if ((rc = base_model_borrow(&dev, base, err)) < 0)
        return rc;
    const uint64_t begin = clock_monotonic_ns();
    rc = program_compile(&p, &base->config, &params, base->backend, dev, err);
    out->compile_us = (clock_monotonic_ns() - begin) / 1000;
    if (rc == 0)
        rc = look(out, p);
    if (rc == 0)
        rc = look_at_places(out, p);
    if (rc == 0) {
        out->micro.arena_bytes = program_arena_bytes(p);
        program_costs(&out->micro.costs, p);
        out->step_ms = out->micro.costs.ns * 1e-6 * out->micro.n_micro;
    }
    if (rc == 0 && drawing)
        rc = program_draw(drawing, p);
    program_destroy(p);
    base_model_give_back(base, dev);
    return rc;
}

static uint32_t count_tensors(const struct scheme *s,
                              const struct model_config *m)
{
    const uint32_t n = scheme_params(NULL, 0, m, s);
    struct param *params = calloc(n + 1u, sizeof(*params));
    uint32_t learn = 0;

    if (!params)
        return n;
    (void) scheme_params(params, n, m, s);
    for (uint32_t i = 0; i < n; i++)
        learn += !params[i].is_frozen;
    free(params);
    return learn;
}

int trainplan_make(struct trainplan *out, char **drawing,
                   const struct base_model *base, const struct recipe *r,
                   struct error *err)
{
    const struct model_config *m = &base->config;
    struct recipe chosen = *r;
    struct trainplan plan = {0};
    struct scheme scheme;
    int rc;

    r = &chosen;
    if ((rc = microbatch_method(&chosen, base, err)) < 0 ||
        (rc = microbatch_plan(&plan.micro, base, r, err)) < 0 ||
        (rc = recipe_scheme(&scheme, r, m, err)) < 0)
        return rc;
    plan.n_tensors = count_tensors(&scheme, m);
    plan.n_floats = scheme_floats(&scheme, m);
    plan.first_block = scheme_first_block(&scheme, m);
    plan.n_blocks = m->n_blocks;
    plan.state_bytes = trainer_micro_bytes(&plan.micro);
    if (recipe_first_block(r, &scheme, m) > 0)
        plan.state_bytes +=
            prefix_bytes(base, (enum prefix_values) r->prefix_cache,
                         (size_t) plan.micro.rows * plan.micro.length);
    rc = compile(&plan, drawing, base, r, &scheme, err);
    if (rc < 0)
        return rc;
    plan.flops_token = (double) plan.micro.costs.flops /
                       ((double) plan.micro.rows * (double) plan.micro.length);
    *out = plan;
    return 0;
}
