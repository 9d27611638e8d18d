// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Canonical form: inputs of operators that commute stand in the order of their
 * numbers, so that equal sums look equal; a scale of one goes; a scale moves
 * into the matmul or scale before it when no one else reads that. What
 * gradients have kept of a product's input is no input of the product any more.
 *
 *     %1 f32[4,8] = matmul @x, @w {alpha=2}
 *     %2 f32[4,8] = scale %1 {alpha=3}
 *     %3 f32[4,8] = add %2, @y
 * becomes
 *     %1 f32[4,8] = matmul @x, @w {alpha=6}
 *     %3 f32[4,8] = add @y, %1
 *
 *     %2 f32[4,8] = matmul_kept @x, @w, %1, @v {alpha=1}
 * becomes
 *     %2 f32[4,8] = matmul @x, @w {alpha=1, trans_b=1}
 */

#include "engine/passes/pass.h"

#include <errno.h>

static bool sort_inputs(struct node *n)
{
    if (!(op_infos[n->op].flags & OP_COMMUTES) || n->in[0] <= n->in[1])
        return false;
    const value_id first = n->in[0];
    n->in[0] = n->in[1];
    n->in[1] = first;
    return true;
}

// Can the producer of `v` take a factor instead of its only reader?
static struct node *scalable(struct graph *g, value_id v, const uint32_t *uses)
{
    const struct value *x = &g->values[v];
    if (x->producer == NODE_NONE || uses[v] != 1 || x->is_output)
        return NULL;
    struct node *n = &g->nodes[x->producer];
    if (n->op == OP_scale || (n->op == OP_matmul && n->n_in == 2))
        return n;
    return NULL;
}

static bool fold_scale(struct graph *g, struct node *n, uint32_t *uses)
{
    if (n->op != OP_scale)
        return false;
    struct node *before = scalable(g, n->in[0], uses);
    if (!before && n->attr.alpha != 1)
        return false;
    if (!pass_replace(g, n->out[0], n->in[0]))
        return false;
    if (before)
        before->attr.alpha *= n->attr.alpha;
    uses[n->in[0]] += uses[n->out[0]] - 1;
    n->is_dead = true;
    return true;
}

static bool forget_kept(struct node *n, uint32_t *uses)
{
    if (n->op != OP_matmul_kept)
        return false;
    uses[n->in[2]]--;
    uses[n->in[3]]--;
    n->op = OP_matmul;
    n->attr.trans_b = 1;
    n->in[2] = n->in[4];
    n->n_in -= 2;
    return true;
}

int pass_canon(struct graph *g)
{
    int changes = 0;

    uint32_t *uses = pass_count_uses(g);
    if (!uses)
        return -ENOMEM;
    for (node_id i = 0; i < g->n_nodes; i++) {
        struct node *n = &g->nodes[i];
        if (n->is_dead)
            continue;
        changes += forget_kept(n, uses);
        changes += fold_scale(g, n, uses);
        if (!n->is_dead)
            changes += sort_inputs(n);
    }
    return changes;
}
