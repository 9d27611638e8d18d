// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Recomputation: a normalised input and the product of a SwiGLU are cheap to
 * make again from what the backward pass keeps anyway. Where gradients read
 * such a value, they read a copy that is made just before the first of them,
 * and the value itself dies in the forward pass. The same kernel on the same
 * bytes gives the same bytes.
 *
 *     %3 f32[4,8] = swiglu %1, %2
 *     %4 f32[4,8] = matmul %3, @w {alpha=1}
 *     ...
 *     %9 f32[8,8] = matmul %3, %8 {alpha=1, trans_a=1} backward
 *     %10 f32[4,8], %11 f32[4,8] = swiglu_back %8, %1, %2 backward
 * becomes
 *     %3 f32[4,8] = swiglu %1, %2
 *     %4 f32[4,8] = matmul %3, @w {alpha=1}
 *     ...
 *     %12 f32[4,8] = swiglu %1, %2 backward
 *     %9 f32[8,8] = matmul %12, %8 {alpha=1, trans_a=1} backward
 *     %10 f32[4,8], %11 f32[4,8] = swiglu_back %8, %1, %2 backward
 */

#include "engine/passes/pass.h"

static bool is_cheap(const struct node *n)
{
    return !n->is_dead && !n->is_backward &&
           (n->op == OP_rmsnorm || n->op == OP_swiglu);
}

static bool reads(const struct node *n, value_id v)
{
    for (int i = 0; i < n->n_in && !n->is_dead; i++)
        if (n->in[i] == v)
            return true;
    return false;
}

// The first node of the backward pass from `from` on that reads v.
static node_id backward_reader(const struct graph *g, value_id v, node_id from)
{
    for (node_id i = from; i < g->n_nodes; i++)
        if (g->nodes[i].is_backward && reads(&g->nodes[i], v))
            return i;
    return NODE_NONE;
}

static bool has_forward_reader(const struct graph *g, value_id v)
{
    for (node_id i = 0; i < g->n_nodes; i++)
        if (!g->nodes[i].is_backward && reads(&g->nodes[i], v))
            return true;
    return false;
}

// Is every input of the node still there when `reader` runs, and after?
static bool inputs_are_kept(const struct graph *g, const struct node *n,
                            node_id reader)
{
    for (int i = 0; i < n->n_in; i++) {
        const uint8_t kind = g->values[n->in[i]].kind;
        const bool is_kept =
            kind == VALUE_WEIGHT || kind == VALUE_INPUT ||
            (kind == VALUE_TEMP &&
             backward_reader(g, n->in[i], reader) != NODE_NONE);
        if (!is_kept)
            return false;
    }
    return true;
}

// A copy of node `from` before node `at`, in the backward pass.
static int clone_before(struct graph *g, node_id from, node_id at,
                        value_id *copy)
{
    struct node n = g->nodes[from];
    struct value v = g->values[n.out[0]];

    v.is_output = false;
    v.name = NULL;
    v.producer = at;
    int rc = graph_insert_node(g, at, &n);
    if (rc < 0)
        return rc;
    rc = graph_add_value(copy, g, &v);
    if (rc < 0)
        return rc;
    struct node *clone = &g->nodes[at];
    clone->is_backward = true;
    for (int i = 0; i < OP_OUTPUTS_MAX; i++)
        clone->out[i] = i == 0 ? *copy : VALUE_NONE;
    return 0;
}

static int recompute(struct graph *g, node_id id)
{
    const struct node *n = &g->nodes[id];
    const value_id v = n->out[0];
    value_id copy;

    if (!is_cheap(n) || v == VALUE_NONE || !has_forward_reader(g, v))
        return 0;
    const node_id reader = backward_reader(g, v, id);
    if (reader == NODE_NONE || !inputs_are_kept(g, n, reader))
        return 0;
    int rc = clone_before(g, id, reader, &copy);
    if (rc < 0)
        return rc;
    for (node_id i = reader + 1; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_in; k++)
            if (g->nodes[i].is_backward && g->nodes[i].in[k] == v)
                g->nodes[i].in[k] = copy;
    return 1;
}

int pass_remat(struct graph *g)
{
    int changes = 0;

    for (node_id i = 0; i < g->n_nodes; i++) {
        const int rc = recompute(g, i);
        if (rc < 0)
            return rc;
        changes += rc;
    }
    return changes;
}
