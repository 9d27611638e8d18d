// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/scheme_search.h"

#include "engine/base/error.h"
#include "engine/exec/program.h"
#include "engine/plan/knapsack.h"
#include "engine/train/base_model.h"
#include "engine/train/contribution.h"
#include "engine/train/trainer.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/*
 * Groups: linears that read the same values. From the top of a block down, as
 * the backward pass reaches them.
 */

enum { GROUPS = 4, SUBSETS = 3, RANKS = 4, TRIES = 8 };

#define BIT(linear) (1u << MODEL_LINEAR_##linear)

// Which linears may learn together; the last is all of them.
static const struct {
    uint32_t n;
    uint32_t subsets[SUBSETS];
} kinds[GROUPS] = {
    {1, {BIT(down)}},
    {2, {BIT(up), BIT(gate) | BIT(up)}},
    {1, {BIT(o)}},
    {3, {BIT(v), BIT(q) | BIT(v), BIT(q) | BIT(k) | BIT(v)}},
};

static const uint16_t ranks[RANKS] = {4, 8, 16, 32};

_Static_assert(SUBSETS *RANKS <= KNAPSACK_OPTIONS_MAX, "options of a group");
_Static_assert(MODEL_BLOCKS_MAX *GROUPS <= KNAPSACK_GROUPS_MAX, "all groups");

struct cost {
    uint64_t bytes; // of the arena
    uint64_t work;  // of a micro-batch: ns where kernels were timed, else FLOP
};

struct search {
    const struct base_model *base;
    const struct scheme_search_params *params;
    struct device *dev; // of one thread: the same answer everywhere
    double rate;        // work in a second
    struct cost own[GROUPS][SUBSETS]; // of rank 8, in one block
    struct cost reach[MODEL_BLOCKS_MAX * GROUPS];
    struct knapsack_option options[MODEL_BLOCKS_MAX * GROUPS][SUBSETS * RANKS];
    struct knapsack_group groups[MODEL_BLOCKS_MAX * GROUPS];
    uint32_t n_groups;
};

static uint32_t block_of(const struct search *s, uint32_t group)
{
    return s->base->config.n_blocks - 1 - group / GROUPS;
}

static void learn(struct scheme *scheme, const struct search *s, uint32_t block,
                  uint32_t linears, uint16_t rank)
{
    linears = model_whole_linears(&s->base->config, linears);
    for (int l = 0; l < MODEL_LINEARS; l++)
        if (linears >> l & 1u)
            scheme->linears[block][l] =
                (struct scheme_linear){.learn = LEARN_LORA, .rank = rank};
}

/*
 * Costs
 */

static int compile(struct program **out, const struct search *s,
                   const struct scheme *scheme, enum program_kind kind,
                   uint64_t budget, struct error *err)
{
    const struct program_params params = {
        .kind = kind,
        .batch = s->params->rows,
        .length = s->params->length,
        .scheme = scheme,
        .arena_budget = budget,
        .is_deferred = true, // as what is small compared with the arena is
        .times = s->base->times,
        .threads = s->base->backend->threads(s->base->dev),
        .precision = s->params->precision,
    };
    return program_compile(out, &s->base->config, &params, s->base->backend,
                           s->dev, err);
}

static uint64_t work_of(const struct search *s,
                        const struct program_costs *costs)
{
    return s->base->times ? (uint64_t) costs->ns : costs->flops;
}

static int cost_of(struct cost *out, const struct search *s,
                   const struct scheme *scheme, enum program_kind kind,
                   struct error *err)
{
    struct program_costs costs;
    struct program *p;
    int rc = compile(&p, s, scheme, kind, 0, err);
    if (rc < 0)
        return rc;

    program_costs(&costs, p);
    *out = (struct cost){program_arena_bytes(p), work_of(s, &costs)};
    program_destroy(p);
    return 0;
}

static uint64_t above(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static uint64_t floats_of(const struct search *s, uint32_t linears,
                          uint16_t rank)
{
    uint64_t n = 0;

    linears = model_whole_linears(&s->base->config, linears);
    for (int l = 0; l < MODEL_LINEARS; l++) {
        int64_t ne[2];
        if (!(linears >> l & 1u))
            continue;
        model_linear_shape(ne, &s->base->config, (enum model_linear) l);
        n += (uint64_t) (ne[0] + ne[1]) * rank;
    }
    return n;
}

// What one more group of a kind takes where the gradients come by anyway: all
// blocks with it, less none with it.
static int find_own_costs(struct search *s, struct error *err)
{
    const uint32_t n = s->base->config.n_blocks;
    struct scheme deep;
    struct cost least;
    int rc;

    scheme_init(&deep);
    deep.alpha = s->params->alpha;
    learn(&deep, s, 0, BIT(v), 1);
    if ((rc = cost_of(&least, s, &deep, PROGRAM_TRAIN, err)) < 0)
        return rc;
    for (int g = 0; g < GROUPS; g++)
        for (uint32_t i = 0; i < kinds[g].n; i++) {
            struct scheme all = deep;
            struct cost c;
            for (uint32_t b = 0; b < n; b++)
                learn(&all, s, b, kinds[g].subsets[i], 8);
            if ((rc = cost_of(&c, s, &all, PROGRAM_TRAIN, err)) < 0)
                return rc;
            // Without the gradients, which depend on the rank.
            s->own[g][i].bytes =
                above(above(c.bytes, least.bytes) / n,
                      floats_of(s, kinds[g].subsets[i], 8) * sizeof(float));
            s->own[g][i].work = above(c.work, least.work) / n;
        }
    return 0;
}

// What it takes to reach each group: a program in which nothing else learns.
static int find_reach(struct search *s, struct error *err)
{
    for (uint32_t g = 0; g < s->n_groups; g++) {
        struct cost *reach = &s->reach[g];
        struct scheme one;
        scheme_init(&one);
        one.alpha = s->params->alpha;
        learn(&one, s, block_of(s, g), kinds[g % GROUPS].subsets[0], 1);
        int rc = cost_of(reach, s, &one, PROGRAM_TRAIN, err);
        if (rc < 0)
            return rc;
        if (g > 0 && reach->bytes < reach[-1].bytes)
            reach->bytes = reach[-1].bytes;
        if (g > 0 && reach->work < reach[-1].work)
            reach->work = reach[-1].work;
    }
    return 0;
}

// How fast the contributions' own program ran; with times nothing has to be
// inferred.
static int find_rate(struct search *s, struct error *err)
{
    const struct contribution *c = s->params->contribution;
    const double places = (double) s->params->rows * s->params->length;
    struct scheme probe;
    struct cost cost;

    s->rate = 1e9;
    if (s->base->times)
        return 0;
    scheme_init(&probe);
    for (uint32_t b = 0; b < s->base->config.n_blocks; b++)
        for (int l = 0; l < MODEL_LINEARS; l++)
            if (model_has_linear(&s->base->config, (enum model_linear) l))
                probe.linears[b][l] =
                    (struct scheme_linear){.learn = LEARN_LORA_B,
                                           .rank = CONTRIBUTION_PARTS};
    int rc = cost_of(&cost, s, &probe, PROGRAM_GRADIENT, err);
    if (rc < 0)
        return rc;
    s->rate = c->seconds > 0 ? (double) cost.work / places *
                                   (double) c->places / c->seconds
                             : 0;
    return 0;
}

/*
 * Gains
 */

static double gain_of(const struct search *s, uint32_t block, uint32_t linears,
                      uint16_t rank)
{
    const struct contribution *c = s->params->contribution;
    const double n = c->n_samples;
    double gain = 0;

    linears = model_whole_linears(&s->base->config, linears);
    for (int l = 0; l < MODEL_LINEARS; l++) {
        double square = 0;
        int64_t ne[2];
        if (!(linears >> l & 1u))
            continue;
        // The square of the mean over the samples, their noise included.
        for (int j = 0; j < CONTRIBUTION_PARTS; j++)
            square += c->signal[block][l][j] +
                      (c->fisher[block][l][j] - c->signal[block][l][j]) / n;
        model_linear_shape(ne, &s->base->config, (enum model_linear) l);
        gain += sqrt(square * (double) (ne[0] + ne[1]));
    }
    return (double) s->params->alpha * gain * rank / (rank + 1.0);
}

// With all values kept, memory is what the arena grows by, gradients and state;
// where values are made again it is the latter two, and the compiler sees to
// the rest.
static void set_group(struct search *s, uint32_t group, bool keeps_all)
{
    const uint32_t g = group % GROUPS;
    struct knapsack_option *o = s->options[group];

    s->groups[group] = (struct knapsack_group){
        .options = o,
        .n_options = kinds[g].n * RANKS,
        .fixed = {keeps_all ? s->reach[group].bytes : 0, s->reach[group].work},
    };
    for (uint32_t i = 0; i < kinds[g].n; i++)
        for (int r = 0; r < RANKS; r++, o++) {
            const uint32_t linears = kinds[g].subsets[i];
            const uint64_t floats = floats_of(s, linears, ranks[r]);
            o->gain = gain_of(s, block_of(s, group), linears, ranks[r]);
            o->cost[0] = trainer_state_bytes(floats) + floats * sizeof(float) +
                         (keeps_all ? s->own[g][i].bytes : 0);
            o->cost[1] = s->own[g][i].work * ranks[r] / 8;
        }
}

// What all linears would gain with the highest ranks.
static double gain_of_all(const struct search *s)
{
    double sum = 0;

    for (uint32_t b = 0; b < s->base->config.n_blocks; b++)
        sum += gain_of(s, b, LORA_ALL, ranks[RANKS - 1]);
    return sum;
}

/*
 * Choice
 */

static void read_choice(struct scheme *out, const struct search *s,
                        const int32_t *choice)
{
    scheme_init(out);
    out->alpha = s->params->alpha;
    for (uint32_t g = 0; g < s->n_groups; g++)
        if (choice[g] >= 0)
            learn(out, s, block_of(s, g),
                  kinds[g % GROUPS].subsets[choice[g] / RANKS],
                  ranks[choice[g] % RANKS]);
}

static double seconds_of(const struct search *s, uint64_t work)
{
    const double places = (double) s->params->rows * s->params->length;
    return s->rate > 0
               ? (double) work / places * (double) s->params->tokens / s->rate
               : 0;
}

// What the compiler says of a scheme when it may make values again.
static int weigh(struct scheme_found *f, const struct search *s,
                 struct error *err)
{
    struct program_costs costs;
    struct program *p;

    f->state_bytes =
        trainer_state_bytes(scheme_floats(&f->scheme, &s->base->config));
    f->arena_budget = 0; // no limit
    if (s->params->memory_bytes != UINT64_MAX)
        f->arena_budget = above(s->params->memory_bytes, f->state_bytes) + 1;
    int rc = compile(&p, s, &f->scheme, PROGRAM_TRAIN, f->arena_budget, err);
    if (rc < 0)
        return rc;
    program_costs(&costs, p);
    f->arena_bytes = program_arena_bytes(p);
    f->flops = costs.flops;
    f->n_recomputed = costs.n_recomputed;
    f->seconds = seconds_of(s, work_of(s, &costs));
    program_destroy(p);
    return 0;
}

static void spent_by(uint64_t out[KNAPSACK_LIMITS], const struct search *s,
                     const int32_t *choice)
{
    for (int i = 0; i < KNAPSACK_LIMITS; i++) {
        uint64_t fixed = 0;
        out[i] = 0;
        for (uint32_t g = 0; g < s->n_groups; g++)
            if (choice[g] >= 0) {
                out[i] += s->groups[g].options[choice[g]].cost[i];
                fixed = s->groups[g].fixed[i];
            }
        out[i] += fixed;
    }
}

// The best scheme within `limits` that also fits when compiled: 1, or 0 when
// there is none. Where the sums were too hopeful the limits shrink.
static int choose(struct scheme_found *f, const struct search *s,
                  const uint64_t limits[KNAPSACK_LIMITS], struct error *err)
{
    const struct scheme_search_params *p = s->params;
    uint64_t now[KNAPSACK_LIMITS] = {limits[0], limits[1]};
    uint64_t spent[KNAPSACK_LIMITS];
    int32_t choice[MODEL_BLOCKS_MAX * GROUPS];

    for (int i = 0; i < TRIES; i++) {
        int rc = knapsack_solve(choice, &f->gain, s->groups, s->n_groups, now);
        if (rc < 0)
            return error_set(err, rc, "scheme search: %s", strerror(-rc));
        if (f->gain <= 0)
            return 0;
        read_choice(&f->scheme, s, choice);
        if ((rc = weigh(f, s, err)) < 0)
            return rc;
        const uint64_t over =
            above(f->arena_bytes + f->state_bytes, p->memory_bytes);
        const bool is_quick = p->seconds <= 0 || f->seconds <= p->seconds;
        if (over == 0 && is_quick)
            return 1;
        // A little more than what was too much, so that it ends.
        spent_by(spent, s, choice);
        if (over > 0)
            now[0] = above(spent[0], over + spent[0] / 64);
        if (!is_quick)
            now[1] =
                (uint64_t) ((double) spent[1] * 0.98 * p->seconds / f->seconds);
    }
    return 0;
}

static int refuse(const struct search *s, struct error *err)
{
    struct scheme_found least = {0};
    int rc;

    scheme_init(&least.scheme);
    least.scheme.alpha = s->params->alpha;
    learn(&least.scheme, s, s->base->config.n_blocks - 1, BIT(down), ranks[0]);
    if ((rc = weigh(&least, s, err)) < 0)
        return rc;
    return error_set(
        err, -ENOSPC,
        "scheme search: no scheme fits; the smallest needs %llu MiB and %.0f "
        "s: allow more memory or time, or take shorter rows",
        (unsigned long long) ((least.arena_bytes + least.state_bytes) >> 20) +
            1,
        ceil(least.seconds));
}

// Twice: keeping every value, and making some again where memory is short,
// which takes time.
static int choose_best(struct scheme_found *out, struct search *s,
                       struct error *err)
{
    const struct scheme_search_params *p = s->params;
    const double places = (double) p->rows * p->length;
    const uint64_t work =
        p->seconds > 0 && s->rate > 0
            ? (uint64_t) (p->seconds * s->rate * places / (double) p->tokens)
            : UINT64_MAX;
    const uint64_t limits[KNAPSACK_LIMITS] = {p->memory_bytes, work};
    bool is_found = false;

    for (int keeps_all = 1; keeps_all >= 0; keeps_all--) {
        struct scheme_found f = {0};
        for (uint32_t g = 0; g < s->n_groups; g++)
            set_group(s, g, keeps_all);
        int rc = choose(&f, s, limits, err);
        if (rc < 0)
            return rc;
        if (rc > 0 && (!is_found || f.gain > out->gain)) {
            *out = f;
            is_found = true;
        }
    }
    if (!is_found)
        return refuse(s, err);
    // Sums in another order may differ in the last digit.
    out->gain = fmin(1, out->gain / gain_of_all(s));
    return 0;
}

int scheme_search(struct scheme_found *out, const struct base_model *base,
                  const struct scheme_search_params *params, struct error *err)
{
    struct search *s = calloc(1, sizeof(*s));
    int rc;

    if (!s)
        return error_set(err, -ENOMEM, "scheme search: out of memory");
    s->base = base;
    s->params = params;
    s->n_groups = base->config.n_blocks * GROUPS;
    if ((rc = base_model_borrow(&s->dev, base, err)) < 0 ||
        (rc = find_rate(s, err)) < 0 || (rc = find_own_costs(s, err)) < 0 ||
        (rc = find_reach(s, err)) < 0)
        goto out;
    rc = choose_best(out, s, err);
out:
    base_model_give_back(base, s->dev);
    free(s);
    return rc;
}
