// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/evaluator.h"

#include "engine/base/error.h"
#include "engine/train/packing.h"
#include "engine/train/prefix.h"
#include "engine/train/program_cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// Windows that are packed at once.
enum { GROUP = 32 };

struct evaluator {
    const struct evaluator_params *params;
    const struct dataset *data;
    struct evaluator_sum *sums;
    struct packing packing;
    struct packing_rows rows;
    float *nll;
};

static void add_up(struct evaluator *e, uint32_t first, uint32_t n)
{
    const struct packing *p = &e->packing;

    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct packing_item *item = &p->items[i];
        const struct dataset_window *w = &e->data->windows[item->window];
        struct evaluator_sum *sum = &e->sums[w->record];

        if (item->row < first || item->row - first >= n)
            continue;
        const float *nll =
            e->nll + (size_t) (item->row - first) * p->length + item->at;
        for (uint32_t t = 0; t + 1 < w->count; t++)
            if (dataset_is_target(e->data, w, t))
                sum->nats += nll[t];
        sum->n_targets += w->n_targets;
    }
}

int evaluator_inputs(struct executor *x, const struct packing_rows *r,
                     size_t places, const struct prefix *prefix)
{
    int rc =
        prefix ? executor_write(x, "state", r->state, places * sizeof *r->state)
               : executor_write(x, "tokens", r->tokens,
                                places * sizeof *r->tokens);

    if (rc < 0 || (prefix && (rc = prefix_write(prefix, x)) < 0) ||
        (rc = executor_write(x, "pos", r->pos, places * sizeof *r->pos)) < 0 ||
        (rc = executor_write(x, "start", r->start, places * sizeof *r->start)) <
            0 ||
        (rc = executor_write(x, "targets", r->targets,
                             places * sizeof *r->targets)) < 0)
        return rc;
    return executor_write(x, "weights", r->weights,
                          places * sizeof *r->weights);
}

// Rows [first, first + n) of the packing.
static int run_rows(struct evaluator *e, uint32_t first, uint32_t n,
                    struct error *err)
{
    const size_t places = (size_t) n * e->packing.length;
    struct program_params params = {
        .kind = PROGRAM_EVAL,
        .batch = n,
        .length = e->packing.length,
        .scheme = e->params->scheme,
        .first_block =
            e->params->prefix ? prefix_first_block(e->params->prefix) : 0,
    };
    struct executor *x;
    int rc = 0;

    if (e->params->prefix)
        rc = prefix_fill(e->params->prefix,
                         &(struct prefix_rows){.data = e->data,
                                               .packing = &e->packing,
                                               .first = first,
                                               .n = n},
                         err);
    if (rc < 0 ||
        (rc = program_cache_get(&x, e->params->cache, &params, err)) < 0)
        return rc;
    packing_fill(&e->rows, &e->packing, e->data, first, n, 1);
    if ((rc = evaluator_inputs(x, &e->rows, places, e->params->prefix)) < 0 ||
        (rc = executor_run(x)) < 0 ||
        (rc = executor_read(x, "nll", e->nll, places * sizeof *e->nll)) < 0)
        return error_set(err, rc, "evaluation: %s", strerror(-rc));
    add_up(e, first, n);
    return 0;
}

static int run_group(struct evaluator *e, uint32_t first, uint32_t count,
                     struct error *err)
{
    uint32_t windows[GROUP];
    int rc;

    for (uint32_t i = 0; i < count; i++)
        windows[i] = first + i;
    rc =
        packing_assign(&e->packing, e->data, windows, count, e->params->length);
    if (rc < 0)
        return error_set(err, rc, "evaluation: %s", strerror(-rc));
    const uint32_t rows =
        e->params->rows * e->params->length / e->packing.length;
    for (uint32_t row = 0; row < e->packing.n_rows; row += rows) {
        const uint32_t left = e->packing.n_rows - row;
        rc = run_rows(e, row, left < rows ? left : rows, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int evaluator_run(struct evaluator_sum *sums, const struct dataset *d,
                  const struct evaluator_params *params, struct error *err)
{
    struct evaluator e = {.params = params, .data = d, .sums = sums};
    const size_t places = (size_t) params->rows * params->length;
    int rc = packing_rows_init(&e.rows, places);

    e.nll = calloc(places, sizeof *e.nll);
    if (rc < 0 || !e.nll)
        rc = error_set(err, -ENOMEM, "evaluation: out of memory");
    for (size_t at = 0; at < d->n_windows && rc == 0; at += GROUP) {
        const size_t left = d->n_windows - at;
        rc = run_group(&e, (uint32_t) at,
                       (uint32_t) (left < GROUP ? left : GROUP), err);
    }
    free(e.nll);
    packing_rows_finish(&e.rows);
    packing_finish(&e.packing);
    return rc;
}
