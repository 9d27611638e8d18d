// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/autodiff/autodiff.h"

#include <errno.h>

#include "engine/autodiff/vjp.h"
#include "engine/base/arena.h"
#include "engine/base/error.h"

struct walk {
    struct builder b;
    value_id loss;
    bool *needs;     // by value of the forward graph: something below learns
    value_id *grads; // by value of the forward graph: the sum so far
};

static int walk_init(struct walk *w, struct graph *g, value_id loss,
                     struct error *err)
{
    w->b = (struct builder){.g = g, .err = err, .is_backward = true};
    w->loss = loss;
    w->needs = arena_calloc(g->arena, g->n_values, sizeof(*w->needs));
    w->grads = arena_calloc(g->arena, g->n_values, sizeof(*w->grads));
    if (!w->needs || !w->grads)
        return -ENOMEM;
    for (value_id i = 0; i < g->n_values; i++)
        w->grads[i] = VALUE_NONE;
    return 0;
}

static void mark_needs(struct walk *w, const struct graph *g)
{
    for (node_id i = 0; i < g->n_nodes; i++) {
        const struct node *n = &g->nodes[i];
        bool any = false;
        for (int k = 0; k < n->n_in && !n->is_dead; k++)
            any |= w->needs[n->in[k]];
        for (int k = 0; k < n->n_out && any; k++)
            if (n->out[k] != VALUE_NONE)
                w->needs[n->out[k]] = !g->values[n->out[k]].is_detached;
    }
}

// Add `dx` to what the other readers of `x` contributed.
static void contribute(struct walk *w, value_id x, value_id dx)
{
    const value_id sum = w->grads[x];
    w->grads[x] =
        sum == VALUE_NONE ? dx : builder_binary(&w->b, OP_add, NULL, sum, dx);
}

static int visit(struct walk *w, node_id id)
{
    const struct node n = w->b.g->nodes[id]; // the array may move
    struct vjp v = {.b = &w->b, .node = &n, .is_loss = n.out[0] == w->loss};
    bool has_dy = v.is_loss;
    bool has_need = false;
    int rc;

    for (int i = 0; i < n.n_out; i++) {
        v.dy[i] = n.out[i] == VALUE_NONE ? VALUE_NONE : w->grads[n.out[i]];
        has_dy |= v.dy[i] != VALUE_NONE;
    }
    for (int i = 0; i < n.n_in; i++) {
        v.needs[i] = w->needs[n.in[i]];
        has_need |= v.needs[i];
    }
    if (n.is_dead || !has_dy || !has_need)
        return 0;
    if ((rc = vjp_apply(&v)) < 0)
        return rc;
    for (int i = 0; i < n.n_in; i++)
        if (v.needs[i] && v.dx[i] != VALUE_NONE)
            contribute(w, n.in[i], v.dx[i]);
    return w->b.rc;
}

int autodiff(value_id *grads, struct graph *g, value_id loss,
             const value_id *wrt, uint32_t n_wrt, struct error *err)
{
    struct walk w;
    int rc;

    if ((rc = walk_init(&w, g, loss, err)) < 0)
        return rc;
    for (uint32_t i = 0; i < n_wrt; i++)
        w.needs[wrt[i]] = true;
    mark_needs(&w, g);
    for (node_id i = g->n_nodes; i-- > 0;)
        if ((rc = visit(&w, i)) < 0)
            return rc;
    for (uint32_t i = 0; i < n_wrt; i++)
        if (w.grads[wrt[i]] == VALUE_NONE)
            return error_set(err, -EINVAL, "the loss does not depend on %s",
                             g->values[wrt[i]].name);
    for (uint32_t i = 0; i < n_wrt; i++)
        grads[i] = w.grads[wrt[i]];
    return 0;
}
