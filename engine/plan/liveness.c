// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/plan/liveness.h"

#include <errno.h>

#include "engine/base/arena.h"

struct find {
    struct liveness *l;
    const struct graph *g;
    uint32_t *last_read; // by value: step + 1; 0 when no one reads it
};

static size_t align(size_t bytes)
{
    return (bytes + LIVENESS_ALIGN - 1) / LIVENESS_ALIGN * LIVENESS_ALIGN;
}

static uint32_t add(struct liveness *l, size_t bytes, uint32_t first,
                    uint32_t last, value_id value)
{
    l->intervals[l->n] = (struct interval){align(bytes), first, last, value};
    return l->n++;
}

static void add_inputs(struct find *f)
{
    const struct schedule *s = f->l->schedule;

    for (value_id v = 0; v < f->g->n_values; v++) {
        const struct value *x = &f->g->values[v];
        if (x->kind == VALUE_INPUT)
            f->l->of_value[v] = add(f->l, value_bytes(x), 0, s->n, v);
    }
}

static uint32_t last_use(const struct find *f, value_id v, uint32_t step)
{
    if (f->g->values[v].is_output)
        return f->l->schedule->n;
    return f->last_read[v] ? f->last_read[v] - 1 : step;
}

// May output 0 of the node at `step` live where input `i` lives?
static bool can_take(const struct find *f, const struct node *n, int i,
                     uint32_t step)
{
    const struct graph *g = f->g;
    const value_id v = n->in[i];
    const value_id y = n->out[0];

    if (i >= n->n_in || f->l->of_value[v] == INTERVAL_NONE || y == VALUE_NONE)
        return false;
    const struct interval *where = &f->l->intervals[f->l->of_value[v]];
    for (int k = 0; k < n->n_in; k++)
        if (k != i && n->in[k] == v)
            return false;
    return g->values[v].kind == VALUE_TEMP && where->last == step &&
           where->bytes == align(value_bytes(&g->values[y]));
}

static int inplace_input(const struct find *f, const struct node *n,
                         uint32_t step)
{
    const int i = op_inplace((enum op) n->op);
    if (i < 0)
        return -1;
    if (can_take(f, n, i, step))
        return i;
    const bool commutes = op_infos[n->op].flags & OP_COMMUTES;
    return commutes && can_take(f, n, 1 - i, step) ? 1 - i : -1;
}

static void add_outputs(struct find *f, const struct node *n, uint32_t step,
                        bool no_inplace)
{
    struct liveness *l = f->l;
    const int taken = no_inplace ? -1 : inplace_input(f, n, step);

    for (int i = 0; i < n->n_out; i++) {
        const value_id v = n->out[i];
        if (v == VALUE_NONE ||
            f->g->values[graph_storage(f->g, v)].kind != VALUE_TEMP)
            continue;
        const uint32_t last = last_use(f, v, step);
        if (i == 0 && taken >= 0) {
            l->of_value[v] = l->of_value[n->in[taken]];
            l->intervals[l->of_value[v]].last = last;
            continue;
        }
        l->of_value[v] = add(l, value_bytes(&f->g->values[v]), step, last, v);
    }
}

static int alloc(struct find *f, const struct schedule *s, struct arena *a)
{
    const struct graph *g = s->graph;
    struct liveness *l = arena_calloc(a, 1, sizeof(*l));
    if (!l)
        return -ENOMEM;

    l->schedule = s;
    l->intervals =
        arena_calloc(a, g->n_values + s->n + 1u, sizeof(*l->intervals));
    l->of_value = arena_calloc(a, g->n_values + 1u, sizeof(*l->of_value));
    l->of_scratch = arena_calloc(a, s->n + 1u, sizeof(*l->of_scratch));
    f->last_read = arena_calloc(a, g->n_values + 1u, sizeof(*f->last_read));
    f->l = l;
    f->g = g;
    if (!l->intervals || !l->of_value || !l->of_scratch || !f->last_read)
        return -ENOMEM;
    for (value_id v = 0; v < g->n_values; v++)
        l->of_value[v] = INTERVAL_NONE;
    return 0;
}

// The largest sum of live bytes, by adding at first and taking away after last.
static int find_peak(struct liveness *l, struct arena *a)
{
    const uint32_t n = l->schedule->n;
    size_t live = 0;

    size_t *born = arena_calloc(a, n + 2u, sizeof(*born));
    size_t *dead = arena_calloc(a, n + 2u, sizeof(*dead));
    if (!born || !dead)
        return -ENOMEM;
    for (uint32_t i = 0; i < l->n; i++) {
        born[l->intervals[i].first] += l->intervals[i].bytes;
        dead[l->intervals[i].last + 1] += l->intervals[i].bytes;
    }
    for (uint32_t i = 0; i <= n; i++) {
        live += born[i];
        live -= dead[i];
        if (live > l->peak)
            l->peak = live;
    }
    return 0;
}

int liveness_find(struct liveness **out, const struct schedule *s,
                  const struct liveness_params *params, struct arena *a)
{
    struct find f;
    int rc;

    if ((rc = alloc(&f, s, a)) < 0)
        return rc;
    for (uint32_t i = 0; i < s->n; i++) {
        const struct node *n = &s->graph->nodes[s->order[i]];
        for (int k = 0; k < n->n_in; k++)
            f.last_read[n->in[k]] = i + 1;
    }
    add_inputs(&f);
    for (uint32_t i = 0; i < s->n; i++) {
        const struct node *n = &s->graph->nodes[s->order[i]];
        const size_t scratch = params->scratch ? params->scratch[i] : 0;
        add_outputs(&f, n, i, params->no_inplace);
        f.l->of_scratch[i] =
            scratch ? add(f.l, scratch, i, i, VALUE_NONE) : INTERVAL_NONE;
    }
    for (uint32_t i = 0; i < f.l->n; i++) {
        struct interval *v = &f.l->intervals[i];
        const uint32_t left = v->last + 1 < s->n ? s->n - 1 - v->last : 0;
        v->last += params->lag < left ? params->lag : left;
    }
    if ((rc = find_peak(f.l, a)) < 0)
        return rc;
    *out = f.l;
    return 0;
}
