// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Recomputation: what the planner marked (engine/plan/remat.h) dies in the
 * forward pass, and is made again just before the first gradient that reads
 * it, from what is still there; what is not there either is made again too.
 * The same kernels on the same bytes give the same bytes.
 *
 *     %3 f32[4,8] = swiglu %1, %2 recompute
 *     %4 f32[4,8] = matmul %3, @w {alpha=1}
 *     ...
 *     %9 f32[8,8] = matmul %3, %8 {alpha=1, trans_a=1} backward
 *     %10 f32[4,8], %11 f32[4,8] = swiglu_back %8, %1, %2 backward
 * becomes
 *     %3 f32[4,8] = swiglu %1, %2 recompute
 *     %4 f32[4,8] = matmul %3, @w {alpha=1}
 *     ...
 *     %12 f32[4,8] = swiglu %1, %2 recompute backward
 *     %9 f32[8,8] = matmul %12, %8 {alpha=1, trans_a=1} backward
 *     %10 f32[4,8], %11 f32[4,8] = swiglu_back %8, %1, %2 backward
 */

#include "engine/passes/pass.h"

#include <errno.h>
#include <string.h>

#include "engine/base/arena.h"

struct remat {
    struct graph *g;
    node_id *producer; // by value, in the old graph
    bool *is_kept;     // by value: a gradient reads it
    bool *is_wanted;   // by value: a copy of it may be read
    node_id *updater;  // by value: the node that replaces it
    value_id *copy;    // by value of the old graph
    bool *is_pending;  // by node: to be copied now
    node_id *stack;
    struct node *nodes; // the new ones
    uint32_t n_nodes;
    uint32_t n_clones;
};

// Is v made by the forward pass, and not there when gradients read it?
static bool is_gone(const struct remat *r, value_id v)
{
    const node_id p = r->producer[v];

    if (p == NODE_NONE || r->g->nodes[p].is_backward)
        return false;
    return r->g->nodes[p].is_recomputed || !r->is_kept[v];
}

// Can `id` run again before old node `at`? Not when it changes state, nor when
// the state that it reads has changed until then. A loss is never worth it.
static bool can_repeat(const struct remat *r, node_id id, node_id at)
{
    const struct node *n = &r->g->nodes[id];

    for (int i = 0; i < n->n_out; i++)
        if (op_updates((enum op) n->op, i) >= 0)
            return false;
    for (int i = 0; i < n->n_in; i++)
        if (r->updater[n->in[i]] < at)
            return false;
    return n->op != OP_xent;
}

static bool needs_copy(const struct remat *r, value_id v, node_id at)
{
    return is_gone(r, v) && r->copy[v] == VALUE_NONE &&
           can_repeat(r, r->producer[v], at);
}

// All that a gradient reads, or that one of these is made of.
static void mark_wanted(struct remat *r)
{
    const struct graph *g = r->g;
    uint32_t depth = 0;

    for (node_id i = 0; i < g->n_nodes; i++)
        if (!g->nodes[i].is_dead && g->nodes[i].is_backward)
            r->stack[depth++] = i;
    while (depth > 0) {
        const struct node *n = &g->nodes[r->stack[--depth]];
        for (int i = 0; i < n->n_in; i++) {
            const value_id v = n->in[i];
            if (r->is_wanted[v] || !is_gone(r, v))
                continue;
            r->is_wanted[v] = true;
            // A node is pushed once for each of its outputs at most.
            r->stack[depth++] = r->producer[v];
        }
    }
}

static int emit_clone(struct remat *r, node_id id)
{
    struct node n = r->g->nodes[id];
    int rc;

    n.is_backward = true;
    n.is_recomputed = true;
    for (int i = 0; i < n.n_in; i++)
        if (r->copy[n.in[i]] != VALUE_NONE)
            n.in[i] = r->copy[n.in[i]];
    for (int i = 0; i < n.n_out; i++) {
        const value_id v = n.out[i];
        n.out[i] = VALUE_NONE;
        // Kernels may leave out other results, but never the first.
        if (v == VALUE_NONE || (i > 0 && !r->is_wanted[v]))
            continue;
        struct value x = r->g->values[v];
        x.is_output = false;
        x.name = NULL;
        x.producer = r->n_nodes;
        if ((rc = graph_add_value(&r->copy[v], r->g, &x)) < 0)
            return rc;
        n.out[i] = r->copy[v];
    }
    r->nodes[r->n_nodes++] = n;
    r->n_clones++;
    return 0;
}

// Makes v again before old node `at`, and before it what it needs.
static int copy_value(struct remat *r, value_id v, node_id at)
{
    const struct graph *g = r->g;
    node_id first = r->producer[v];
    const node_id last = first; // of what v is made of
    uint32_t depth = 0;
    int rc = 0;

    r->stack[depth++] = first;
    r->is_pending[first] = true;
    while (depth > 0) {
        const node_id id = r->stack[--depth];
        const struct node *n = &g->nodes[id];
        first = id < first ? id : first;
        for (int i = 0; i < n->n_in; i++) {
            const node_id p = r->producer[n->in[i]];
            if (!needs_copy(r, n->in[i], at) || r->is_pending[p])
                continue;
            r->is_pending[p] = true;
            r->stack[depth++] = p;
        }
    }
    for (node_id id = first; id <= last && rc == 0; id++) {
        if (!r->is_pending[id])
            continue;
        r->is_pending[id] = false;
        rc = emit_clone(r, id);
    }
    return rc;
}

static int rewrite(struct remat *r)
{
    struct graph *g = r->g;
    int rc;

    for (node_id i = 0; i < g->n_nodes; i++) {
        struct node n = g->nodes[i];
        for (int k = 0; k < n.n_in && n.is_backward && !n.is_dead; k++) {
            if (needs_copy(r, n.in[k], i) &&
                (rc = copy_value(r, n.in[k], i)) < 0)
                return rc;
            if (r->copy[n.in[k]] != VALUE_NONE)
                n.in[k] = r->copy[n.in[k]];
        }
        for (int k = 0; k < n.n_out; k++)
            if (n.out[k] != VALUE_NONE)
                g->values[n.out[k]].producer = r->n_nodes;
        r->nodes[r->n_nodes++] = n;
    }
    return 0;
}

static int init(struct remat *r, struct graph *g)
{
    struct arena *a = g->arena;
    const uint32_t n = g->n_values + 1u;

    r->g = g;
    r->producer = arena_calloc(a, n, sizeof(*r->producer));
    r->is_kept = arena_calloc(a, n, sizeof(*r->is_kept));
    r->is_wanted = arena_calloc(a, n, sizeof(*r->is_wanted));
    r->updater = arena_calloc(a, n, sizeof(*r->updater));
    r->copy = arena_calloc(a, n, sizeof(*r->copy));
    r->is_pending = arena_calloc(a, g->n_nodes + 1u, sizeof(*r->is_pending));
    r->stack = arena_calloc(a, n + g->n_nodes, sizeof(*r->stack));
    // No node is copied twice.
    r->nodes = arena_calloc(a, 2u * g->n_nodes + 1u, sizeof(*r->nodes));
    if (!r->producer || !r->is_kept || !r->is_wanted || !r->updater ||
        !r->copy || !r->is_pending || !r->stack || !r->nodes)
        return -ENOMEM;
    for (value_id v = 0; v < g->n_values; v++) {
        r->producer[v] = g->values[v].producer;
        r->updater[v] = NODE_NONE;
        r->copy[v] = VALUE_NONE;
    }
    return 0;
}

static void look(struct remat *r)
{
    const struct graph *g = r->g;

    for (node_id i = 0; i < g->n_nodes; i++) {
        const struct node *n = &g->nodes[i];
        for (int k = 0; k < n->n_in && !n->is_dead; k++)
            r->is_kept[n->in[k]] |= n->is_backward;
        for (int k = 0; k < n->n_out && !n->is_dead; k++)
            if (op_updates((enum op) n->op, k) >= 0)
                r->updater[n->in[op_updates((enum op) n->op, k)]] = i;
    }
}

static bool has_marks(const struct graph *g)
{
    for (node_id i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].is_recomputed && !g->nodes[i].is_backward &&
            !g->nodes[i].is_dead)
            return true;
    return false;
}

int pass_remat(struct graph *g)
{
    struct remat r = {0};
    int rc;

    if (!has_marks(g))
        return 0;
    if ((rc = init(&r, g)) < 0)
        return rc;
    look(&r);
    mark_wanted(&r);
    if ((rc = rewrite(&r)) < 0)
        return rc;
    g->nodes = r.nodes;
    g->n_nodes = r.n_nodes;
    g->nodes_size = r.n_nodes;
    return (int) r.n_clones;
}
