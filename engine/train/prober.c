// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/prober.h"

#include "engine/base/error.h"
#include "engine/base/noise.h"
#include "engine/train/adapter.h"
#include "engine/train/adapter_state.h"
#include "engine/train/answers.h"
#include "engine/train/base_model.h"
#include "engine/train/evaluator.h"
#include "engine/train/objective.h"
#include "engine/train/packing.h"
#include "engine/train/prefix.h"
#include "engine/train/privacy.h"
#include "engine/train/program_cache.h"
#include "engine/train/recipe.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct prober {
    struct prober_params params;
    uint32_t copies; // of a step, in all
    uint32_t queries;
    uint32_t places; // that there is room for, in all copies of a sweep
    struct packing_rows one, all; // of one copy, and of a sweep
    float *nll;
    double *losses; // (copies)
    // Where examples count by themselves, else NULL:
    double *own;      // (items of a packing, copies): nats of each
    double *examples; // (examples of a step, copies): the objective of each
    uint32_t *sorted; // (items), by window
    size_t own_size;  // items that there is room for
    struct answers *answers; // objective f1
    struct adapter *moved;
    int32_t *number; // query of each copy
    float *sizes;    // how far each is
    float *coefs;    // (queries)
    uint32_t n_params;
    struct param *tensors; // (n_params)
    float *limits;         // (n_params); NULL: all values move
    float *values;         // of the adapter, to find them
};

uint32_t prober_copies(const struct recipe *r)
{
    return r->method == RECIPE_METHOD_FZOO ? r->queries + 1 : 2 * r->queries;
}

void prober_destroy(struct prober *p)
{
    if (!p)
        return;
    packing_rows_finish(&p->one);
    packing_rows_finish(&p->all);
    free(p->nll);
    free(p->losses);
    free(p->own);
    free(p->examples);
    free(p->sorted);
    answers_destroy(p->answers);
    adapter_destroy(p->moved);
    free(p->number);
    free(p->sizes);
    free(p->coefs);
    free(p->tensors);
    free(p->limits);
    free(p->values);
    free(p);
}

// Copies of one query follow each other, so that they share its noise.
static void set_copies(struct prober *p)
{
    const bool is_one_sided = p->params.recipe->method == RECIPE_METHOD_FZOO;
    const float eps = p->params.recipe->eps;

    for (uint32_t c = 0; c < p->copies; c++) {
        p->number[c] = (int32_t) (is_one_sided ? c : c / 2);
        p->sizes[c] = is_one_sided || c % 2 == 0 ? eps : -eps;
    }
    if (is_one_sided) {
        p->number[p->queries] = (int32_t) p->queries - 1;
        p->sizes[p->queries] = 0;
    }
}

static int make_room(struct prober *p)
{
    const struct microbatch *m = p->params.micro;
    const size_t one = (size_t) m->rows * m->length;
    const size_t all = one * m->copies;

    p->nll = calloc(all, sizeof *p->nll);
    if (!p->nll || packing_rows_init(&p->one, one) < 0 ||
        packing_rows_init(&p->all, all) < 0)
        return -ENOMEM;
    return 0;
}

int prober_create(struct prober **out, const struct prober_params *params,
                  struct error *err)
{
    const struct recipe *r = params->recipe;
    const struct model_config *m = &params->base->config;
    struct prober *p = calloc(1, sizeof *p);

    if (!p)
        return error_set(err, -ENOMEM, "training: out of memory");
    p->params = *params;
    p->queries = r->queries;
    p->copies = prober_copies(r);
    p->n_params = scheme_params(NULL, 0, m, params->scheme);
    p->losses = calloc(p->copies, sizeof *p->losses);
    p->number = calloc(p->copies + 1, sizeof *p->number);
    p->sizes = calloc(p->copies + 1, sizeof *p->sizes);
    p->coefs = calloc(p->queries, sizeof *p->coefs);
    p->tensors = calloc(p->n_params, sizeof *p->tensors);
    if (r->sparse < 1) {
        p->limits = calloc(p->n_params, sizeof *p->limits);
        p->values =
            calloc(adapter_state_floats(params->state), 2 * sizeof *p->values);
    }
    if (!p->losses || !p->number || !p->sizes || !p->coefs || !p->tensors ||
        (r->sparse < 1 && (!p->limits || !p->values)) ||
        (params->micro && make_room(p) < 0)) {
        prober_destroy(p);
        return error_set(err, -ENOMEM, "training: out of memory");
    }
    (void) scheme_params(p->tensors, p->n_params, m, params->scheme);
    set_copies(p);
    *out = p;
    return 0;
}

/*
 * What both programs want
 */

static int by_size(const void *a, const void *b)
{
    const float x = *(const float *) a, y = *(const float *) b;
    return (x > y) - (x < y);
}

// Below which value the recipe's part of each tensor lies.
static int find_limits(struct prober *p)
{
    const size_t n = adapter_state_floats(p->params.state);
    int rc;

    if (!p->limits)
        return 0;
    float *sorted = p->values + n;
    const float *at = p->values;
    rc = adapter_state_read(p->params.state, ADAPTER_PART_VALUE, p->values);
    for (uint32_t i = 0; i < p->n_params && rc == 0; i++) {
        const size_t count =
            (size_t) p->tensors[i].ne[0] * (size_t) p->tensors[i].ne[1];
        const double part = (double) p->params.recipe->sparse * (double) count;
        for (size_t k = 0; k < count; k++)
            sorted[k] = fabsf(at[k]);
        qsort(sorted, count, sizeof *sorted, by_size);
        p->limits[i] = sorted[(size_t) ceil(part) - 1];
        at += count;
    }
    return rc;
}

static struct program_params program_of(const struct prober *p,
                                        enum program_kind kind, uint32_t copies)
{
    const struct recipe *r = p->params.recipe;
    return (struct program_params){
        .kind = kind,
        .scheme = p->params.scheme,
        .precision = (enum precision) r->precision,
        .perturb = {.copies = copies,
                    .queries = p->queries,
                    .noise = (uint8_t) r->noise,
                    .update = (uint8_t) r->zo_update,
                    .has_limits = p->limits != NULL},
    };
}

static int write_noise(const struct prober *p, struct executor *x,
                       uint64_t step, const int32_t *queries, const char *name,
                       const float *sizes, uint32_t n)
{
    const uint64_t seed = p->params.recipe->seed;
    const int32_t draw[4] = {(int32_t) (uint32_t) seed,
                             (int32_t) (uint32_t) (seed >> 32),
                             (int32_t) (uint32_t) step,
                             (int32_t) (uint32_t) (step >> 32)};
    int rc;

    if ((rc = executor_write(x, "draw", draw, sizeof draw)) < 0 ||
        (rc = executor_write(x, "queries", queries, n * sizeof *queries)) < 0 ||
        (rc = executor_write(x, name, sizes, n * sizeof *sizes)) < 0 ||
        !p->limits)
        return rc;
    return executor_write(x, "limits", p->limits,
                          p->n_params * sizeof *p->limits);
}

/*
 * Looking
 */

// `one` for each of the copies.
static void repeat_rows(struct prober *p, size_t places, uint32_t copies)
{
    for (uint32_t c = 0; c < copies; c++) {
        const size_t at = c * places;
        memcpy(p->all.tokens + at, p->one.tokens, places * sizeof(int32_t));
        memcpy(p->all.pos + at, p->one.pos, places * sizeof(int32_t));
        memcpy(p->all.targets + at, p->one.targets, places * sizeof(int32_t));
        memcpy(p->all.weights + at, p->one.weights, places * sizeof(float));
        for (size_t i = 0; i < places; i++) {
            p->all.start[at + i] = p->one.start[i] + (int32_t) at;
            p->all.state[at + i] = (int32_t) i;
        }
    }
}

// Is the mean of all tokens not what is asked for?
static bool is_by_example(const struct prober *p)
{
    return p->params.privacy || p->params.recipe->objective != OBJECTIVE_NLL;
}

// Nats of each window of rows [row, row + n), of copies [first, first +
// copies).
static void take_own(struct prober *p, const struct packing *packing,
                     const struct dataset *d, uint32_t row, uint32_t n,
                     uint32_t first, uint32_t copies)
{
    const size_t places = (size_t) n * packing->length;

    for (uint32_t i = 0; i < packing->n_items; i++) {
        const struct packing_item *item = &packing->items[i];
        if (item->row < row || item->row - row >= n)
            continue;
        const size_t at =
            (size_t) (item->row - row) * packing->length + item->at;
        const struct dataset_window *w = &d->windows[item->window];
        for (uint32_t c = 0; c < copies; c++) {
            double nats = 0;
            for (uint32_t k = 0; k + 1 < w->count; k++)
                if (dataset_is_target(d, w, k))
                    nats += (double) p->nll[c * places + at + k];
            p->own[(size_t) i * p->copies + first + c] = nats;
        }
    }
}

static int run_sweep(struct prober *p, struct executor *x, uint64_t step,
                     size_t places, uint32_t first, uint32_t copies)
{
    const size_t all = places * copies;
    int rc;

    repeat_rows(p, places, copies);
    if ((rc = evaluator_inputs(x, &p->all, all, p->params.prefix)) < 0 ||
        (rc = write_noise(p, x, step, p->number + first, "sizes",
                          p->sizes + first, copies)) < 0)
        return rc;
    if ((rc = executor_run(x)) < 0 ||
        (rc = executor_read(x, "nll", p->nll, all * sizeof *p->nll)) < 0)
        return rc;
    for (size_t i = 0; i < all; i++)
        if (p->all.weights[i] != 0)
            p->losses[first + i / places] +=
                (double) p->all.weights[i] * (double) p->nll[i];
    return 0;
}

// Rows [first, first + n) of the packing, for all copies.
static int look_at(struct prober *p, uint64_t step,
                   const struct packing *packing, const struct dataset *d,
                   uint32_t first, uint32_t n, struct error *err)
{
    const size_t places = (size_t) n * packing->length;
    const uint32_t most = p->params.micro->copies;
    const uint32_t n_sweeps = (p->copies + most - 1) / most;
    uint32_t at = 0;
    int rc = 0;

    if (p->params.prefix)
        rc = prefix_fill(p->params.prefix,
                         &(struct prefix_rows){d, packing, first, n,
                                               (enum precision)
                                                   p->params.recipe->precision},
                         err);
    if (rc < 0)
        return rc;
    packing_fill(&p->one, packing, d, first, n,
                 1.0F / (float) packing->n_targets);
    for (uint32_t i = 0; i < n_sweeps; i++) {
        const uint32_t share = (p->copies - at) / (n_sweeps - i);
        struct program_params params = program_of(p, PROGRAM_PERTURBED, share);
        struct executor *x;
        params.batch = n;
        params.length = packing->length;
        if (p->params.prefix)
            params.first_block = prefix_first_block(p->params.prefix);
        rc = program_cache_get(&x, p->params.programs, &params, err);
        if (rc < 0)
            return rc;
        if ((rc = run_sweep(p, x, step, places, at, share)) < 0)
            return error_set(err, rc, "training: step %llu: %s",
                             (unsigned long long) step + 1, strerror(-rc));
        if (is_by_example(p))
            take_own(p, packing, d, first, n, at, share);
        at += share;
    }
    return 0;
}

void prober_two_sided(float *g, const double *losses, uint32_t queries,
                      double eps)
{
    for (uint32_t q = 0; q < queries; q++)
        g[q] = (float) ((losses[2 * q] - losses[2 * q + 1]) / (2 * eps));
}

void prober_one_sided(float *g, const double *losses, uint32_t queries)
{
    double mean = 0, square = 0;

    for (uint32_t q = 0; q < queries; q++)
        mean += losses[q] / queries;
    for (uint32_t q = 0; q < queries; q++)
        square += (losses[q] - mean) * (losses[q] - mean) / queries;
    // One query, or a loss that no direction changes, says nothing.
    for (uint32_t q = 0; q < queries; q++)
        g[q] = square > 0
                   ? (float) ((losses[q] - losses[queries]) / sqrt(square))
                   : 0;
}

static int make_own(struct prober *p, const struct packing *packing)
{
    const size_t n = packing->n_items;

    if (!is_by_example(p) || n <= p->own_size)
        return 0;
    free(p->own);
    free(p->examples);
    free(p->sorted);
    p->own = malloc(n * p->copies * sizeof *p->own);
    p->examples = malloc(n * p->copies * sizeof *p->examples);
    p->sorted = malloc(n * sizeof *p->sorted);
    p->own_size = p->own && p->examples && p->sorted ? n : 0;
    return p->own_size ? 0 : -ENOMEM;
}

// Items by window, so that the windows of an example follow each other. Few:
// by insertion.
static void sort_items(struct prober *p, const struct packing *packing)
{
    for (uint32_t i = 0; i < packing->n_items; i++) {
        uint32_t k = i;
        while (k > 0 && packing->items[p->sorted[k - 1]].window >
                            packing->items[i].window) {
            p->sorted[k] = p->sorted[k - 1];
            k--;
        }
        p->sorted[k] = i;
    }
}

// Of `items`, one example, by the nats of its windows.
static void judge(double *out, const struct prober *p,
                  const struct packing *packing, const struct dataset *d,
                  const uint32_t *items, uint32_t n)
{
    const uint32_t example =
        d->windows[packing->items[items[0]].window].record / d->n_choices;

    for (uint32_t c = 0; c < p->copies; c++) {
        struct evaluator_sum sums[OBJECTIVE_CHOICES_MAX] = {{0}};
        for (uint32_t i = 0; i < n; i++) {
            const struct dataset_window *w =
                &d->windows[packing->items[items[i]].window];
            struct evaluator_sum *sum = &sums[w->record % d->n_choices];
            sum->nats += p->own[(size_t) items[i] * p->copies + c];
            sum->n_targets += w->n_targets;
        }
        out[c] = objective_loss((enum objective) p->params.recipe->objective,
                                sums, d->n_choices, d->labels[example]);
    }
}

// All examples of a step; returns their number.
static uint32_t judge_all(struct prober *p, const struct packing *packing,
                          const struct dataset *d)
{
    uint32_t n = 0;

    sort_items(p, packing);
    for (uint32_t first = 0, end; first < packing->n_items; first = end) {
        const struct dataset_window *at =
            &d->windows[packing->items[p->sorted[first]].window];
        for (end = first + 1; end < packing->n_items; end++) {
            const uint32_t next = packing->items[p->sorted[end]].window;
            if (d->windows[next].record / d->n_choices !=
                at->record / d->n_choices)
                break;
        }
        judge(p->examples + (size_t) n++ * p->copies, p, packing, d,
              p->sorted + first, end - first);
    }
    return n;
}

/*
 * Answers: what each copy says
 */

static int make_answers(struct prober *p, struct error *err)
{
    if (p->answers)
        return 0;
    int rc = answers_create(&p->answers, p->params.base, err);
    if (rc == 0)
        rc = adapter_create(&p->moved, &p->params.base->config,
                            p->params.scheme, NULL, err);
    return rc;
}

// The adapter's values as copy `c` of a step has them.
static int move_copy(struct prober *p, uint64_t step, uint32_t c)
{
    const struct recipe *r = p->params.recipe;
    struct adapter *a = p->moved;
    int rc = adapter_state_read(p->params.state, ADAPTER_PART_VALUE, a->data);

    for (uint32_t i = 0; i < a->n_params && rc == 0; i++) {
        const struct noise_key key = {
            {(int32_t) (uint32_t) r->seed, (int32_t) (uint32_t) (r->seed >> 32),
             (int32_t) (uint32_t) step, (int32_t) (uint32_t) (step >> 32)},
            i,
            (uint32_t) p->number[c],
        };
        if (a->params[i].is_frozen)
            continue;
        for (size_t k = a->starts[i]; k < a->starts[i + 1]; k++)
            if (!p->limits || fabsf(a->data[k]) <= p->limits[i])
                a->data[k] += p->sizes[c] * noise_value((enum noise) r->noise,
                                                        &key, k - a->starts[i]);
    }
    return rc;
}

static int ask_all(struct prober *p, uint64_t step,
                   const struct packing *packing, const struct dataset *d,
                   struct error *err)
{
    int rc = make_answers(p, err);

    for (uint32_t c = 0; c < p->copies && rc == 0; c++) {
        if ((rc = move_copy(p, step, c)) < 0)
            return error_set(err, rc, "training: %s", strerror(-rc));
        rc = answers_use(p->answers, p->moved, err);
        for (uint32_t i = 0; i < packing->n_items && rc == 0; i++)
            rc = answers_loss(&p->examples[(size_t) i * p->copies + c],
                              p->answers, d, packing->items[i].window, err);
    }
    return rc;
}

/*
 * From losses to numbers
 */

// In place: the first `queries` of each example's losses become its slopes.
static void release(float *g, struct prober *p, uint32_t examples,
                    struct rng *noise)
{
    const double eps = (double) p->params.recipe->eps;
    const uint32_t n = p->queries;

    for (uint32_t i = 0; i < examples; i++) {
        const double *own = p->examples + (size_t) i * p->copies;
        double *slopes = p->examples + (size_t) i * n;
        for (uint32_t q = 0; q < n; q++)
            slopes[q] = (own[2 * q] - own[2 * q + 1]) / (2 * eps);
    }
    privacy_release(g, p->examples, examples, p->params.privacy, noise);
}

static int measure(uint32_t *examples, struct prober *p, uint64_t step,
                   const struct packing *packing, const struct dataset *d,
                   struct error *err)
{
    const struct microbatch *m = p->params.micro;
    const uint32_t most = m->rows * m->length / packing->length;
    const uint32_t n_micro = (packing->n_rows + most - 1) / most;
    uint32_t row = 0;
    int rc = 0;

    *examples = packing->n_items;
    if (p->params.recipe->objective == OBJECTIVE_F1)
        return ask_all(p, step, packing, d, err);
    for (uint32_t i = 0; i < n_micro; i++) {
        const uint32_t share = (packing->n_rows - row) / (n_micro - i);
        rc = look_at(p, step, packing, d, row, share, err);
        if (rc < 0)
            return rc;
        row += share;
    }
    if (is_by_example(p))
        *examples = judge_all(p, packing, d);
    return 0;
}

static void take_means(struct prober *p, uint32_t examples)
{
    memset(p->losses, 0, p->copies * sizeof *p->losses);
    for (uint32_t i = 0; i < examples; i++)
        for (uint32_t c = 0; c < p->copies; c++)
            p->losses[c] += p->examples[(size_t) i * p->copies + c] / examples;
}

int prober_look(float *g, double *loss, struct prober *p, uint64_t step,
                const struct packing *packing, const struct dataset *d,
                struct rng *noise, struct error *err)
{
    uint32_t examples;
    int rc = find_limits(p);

    if (rc < 0 || (rc = make_own(p, packing)) < 0)
        return error_set(err, rc, "training: %s", strerror(-rc));
    memset(p->losses, 0, p->copies * sizeof *p->losses);
    if ((rc = measure(&examples, p, step, packing, d, err)) < 0)
        return rc;
    if (p->params.recipe->objective != OBJECTIVE_NLL)
        take_means(p, examples);
    *loss = 0;
    for (uint32_t c = 0; c < p->copies; c++)
        *loss += p->losses[c] / p->copies;
    if (p->params.privacy)
        release(g, p, examples, noise);
    else if (p->params.recipe->method == RECIPE_METHOD_FZOO)
        prober_one_sided(g, p->losses, p->queries);
    else
        prober_two_sided(g, p->losses, p->queries,
                         (double) p->params.recipe->eps);
    return 0;
}

const double *prober_losses(const struct prober *p)
{
    return p->losses;
}

/*
 * Moving
 */

static void set_hyper(float hyper[ADAMW_HYPERS], const struct recipe *r,
                      uint64_t step, float rate)
{
    const double n = (double) step + 1;

    memset(hyper, 0, ADAMW_HYPERS * sizeof *hyper);
    hyper[ADAMW_LR] = rate;
    hyper[ADAMW_BETA1] = r->beta1;
    hyper[ADAMW_BETA2] = r->beta2;
    hyper[ADAMW_EPS] = 1e-8F;
    hyper[ADAMW_DECAY] = r->decay;
    hyper[ADAMW_CORRECT1] = (float) (1 - pow((double) r->beta1, n));
    hyper[ADAMW_CORRECT2] = (float) (1 - pow((double) r->beta2, n));
}

int prober_move(struct prober *p, uint64_t step, float rate, const float *g,
                struct error *err)
{
    const struct program_params params =
        program_of(p, PROGRAM_MOVE, p->queries);
    const bool is_sgd = p->params.recipe->zo_update == PERTURB_SGD;
    int32_t number[PERTURB_COPIES_MAX];
    float hyper[ADAMW_HYPERS];
    struct executor *x;
    int rc = program_cache_get(&x, p->params.programs, &params, err);

    if (rc < 0)
        return rc;
    for (uint32_t q = 0; q < p->queries; q++) {
        const double mean = (double) g[q] / p->queries;
        number[q] = (int32_t) q;
        p->coefs[q] = (float) (is_sgd ? -(double) rate * mean : mean);
    }
    set_hyper(hyper, p->params.recipe, step, rate);
    if ((rc = find_limits(p)) == 0 &&
        (rc = write_noise(p, x, step, number, "coefs", p->coefs, p->queries)) ==
            0 &&
        !is_sgd)
        rc = executor_write(x, "hyper", hyper, sizeof hyper);
    if (rc == 0)
        rc = executor_run(x);
    if (rc < 0)
        return error_set(err, rc, "training: step %llu: %s",
                         (unsigned long long) step + 1, strerror(-rc));
    return 0;
}

/*
 * What it takes
 */

enum { PLACES_MAX = 8192 }; // more make a sweep no faster

static int try(struct microbatch *m, struct program_params *params,
               const struct base_model *base, struct device *dev,
               struct error *err)
{
    const uint32_t copies = params->perturb.copies;

    m->arena_bytes = 0;
    for (int i = 0; i < 3; i++) {
        static const enum program_kind kinds[] = {PROGRAM_PERTURBED,
                                                  PROGRAM_MOVE, PROGRAM_PREFIX,
                                                  PROGRAM_PREFIX};
        struct program_params now = *params;
        struct program *program;
        now.kind = kinds[i];
        if (i >= 2 && !params->first_block)
            break;
        if (i == 1)
            now.perturb.copies = now.perturb.queries;
        if (i > 0)
            now.first_block = i >= 2 ? params->first_block : 0;
        if (i >= 2)
            now.scheme = NULL;
        // Of held-out records.
        if (i == 3)
            now.precision = PRECISION_F32;
        int rc = program_compile(&program, &base->config, &now, base->backend,
                                 dev, err);
        if (rc < 0)
            return rc;
        const size_t bytes = program_arena_bytes(program);
        m->arena_bytes = bytes > m->arena_bytes ? bytes : m->arena_bytes;
        if (i == 0)
            program_costs(&m->costs, program);
        program_destroy(program);
    }
    m->rows = params->batch;
    m->copies = copies;
    return 0;
}

// As much as fits, and is of use: fewer rows first, then fewer copies.
static int shrink(struct microbatch *m, struct program_params *params,
                  const struct recipe *r, uint32_t copies,
                  const struct base_model *base, struct device *dev,
                  struct error *err)
{
    params->batch = r->batch;
    params->perturb.copies = copies;
    for (;;) {
        const uint64_t places =
            (uint64_t) params->batch * params->length * params->perturb.copies;
        const bool is_least =
            params->batch == 1 &&
            (params->perturb.copies == 1 || r->sweep > RECIPE_SWEEP_AUTO);
        if (places <= PLACES_MAX || is_least) {
            int rc = try(m, params, base, dev, err);
            if (rc < 0)
                return rc;
            if (m->arena_bytes <= m->budget)
                return 1;
        }
        if (is_least)
            return 0;
        if (params->batch > 1)
            params->batch = (params->batch + 1) / 2;
        else
            params->perturb.copies = (params->perturb.copies + 1) / 2;
    }
}

static uint32_t copies_of(const struct recipe *r, const struct scheme *s,
                          const struct model_config *m)
{
    const uint32_t all = prober_copies(r);

    switch ((enum recipe_sweep) r->sweep) {
    case RECIPE_SWEEP_AUTO:
        break;
    case RECIPE_SWEEP_DUAL:
        return all;
    case RECIPE_SWEEP_SINGLE:
        return (all + 1) / 2;
    case RECIPE_SWEEP_SEQUENTIAL:
    case RECIPE_SWEEP_COUNT:
        return 1;
    }
    if (r->method == RECIPE_METHOD_MEZO)
        return 1;
    // Of what is no factor of LoRA there is one copy at a time.
    for (uint32_t i = 0; i < m->n_blocks; i++) {
        if (s->norms[i])
            return 1;
        for (int k = 0; k < MODEL_LINEARS; k++) {
            const uint8_t learn = s->linears[i][k].learn;
            if (learn == LEARN_DORA || learn == LEARN_DELTA)
                return 1;
        }
    }
    return s->output_norm ? 1 : all;
}

int prober_plan(struct microbatch *out, const struct base_model *base,
                const struct recipe *r, struct error *err)
{
    const uint32_t context = base->config.context;
    struct program_params params = {0};
    struct microbatch m = {
        .length = r->length < context ? r->length : context,
        .budget = (uint64_t) r->memory_mib << 20,
        .is_deferred = true,
        .n_moments = r->zo_update,
    };
    struct device *dev;
    struct scheme scheme;
    int rc = recipe_scheme(&scheme, r, &base->config, err);

    if (rc < 0 || (rc = base_model_borrow(&dev, base, err)) < 0)
        return rc;
    m.n_floats = (size_t) scheme_floats(&scheme, &base->config);
    params.scheme = &scheme;
    params.first_block = recipe_first_block(r, &scheme, &base->config);
    params.precision = (enum precision) r->precision;
    params.perturb.queries = r->queries;
    params.perturb.update = (uint8_t) r->zo_update;
    params.perturb.noise = (uint8_t) r->noise;
    params.perturb.has_limits = r->sparse < 1;
    for (;;) {
        params.length = m.length;
        rc = shrink(&m, &params, r, copies_of(r, &scheme, &base->config), base,
                    dev, err);
        if (rc != 0 || m.length / 2 < 32)
            break;
        m.length /= 2;
    }
    base_model_give_back(base, dev);
    if (rc == 0)
        return error_set(err, -ENOMEM,
                         "training: a row of %u tokens needs %.0f MiB, but "
                         "memory_mib is %u: raise it, or take fewer copies at "
                         "once (sweep=sequential)",
                         m.length, (double) m.arena_bytes / (1 << 20) + 0.5,
                         r->memory_mib);
    if (rc < 0)
        return rc;
    m.n_micro = (r->batch + m.rows - 1) / m.rows;
    (void) snprintf(m.why, sizeof m.why,
                    "Forward passes only: a step measures %u copies of the "
                    "adapter, %u at a time, about %.1f times the work of one "
                    "by gradient; and it takes ten times the steps or more.",
                    prober_copies(r), m.copies, prober_copies(r) / 2.0);
    *out = m;
    return 0;
}
