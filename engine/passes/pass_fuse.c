// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Sums go into matmul, which can start from a matrix instead of from zero: one
 * pass over memory less, and the sum may take the storage of its summand. The
 * matmul must have no other reader. Where it adds something already, the
 * summand goes to the first matmul of the chain.
 *
 *     %1 f32[4,8] = matmul @x, @w {alpha=1}
 *     %2 f32[4,8] = matmul @h, @b, %1 {alpha=2}
 *     %3 f32[4,8] = add @r, %2
 *     output @y %3
 * becomes
 *     %1 f32[4,8] = matmul @x, @w, @r {alpha=1}
 *     %2 f32[4,8] = matmul @h, @b, %1 {alpha=2}
 *     output @y %2
 */

#include "engine/passes/pass.h"

#include <errno.h>

static bool is_before(const struct graph *g, value_id v, node_id n)
{
    const node_id p = g->values[v].producer;
    return p == NODE_NONE || p < n;
}

// The sum becomes the matmul: it stands where both summands are known.
static void absorb(struct graph *g, struct node *sum, value_id product,
                   value_id other)
{
    struct node *m = &g->nodes[g->values[product].producer];

    sum->op = OP_matmul;
    sum->attr = m->attr;
    sum->n_in = 3;
    sum->in[0] = m->in[0];
    sum->in[1] = m->in[1];
    sum->in[2] = other;
    m->is_dead = true;
}

static bool fuse(struct graph *g, node_id at, value_id product, value_id other,
                 uint32_t *uses)
{
    struct node *sum = &g->nodes[at];

    if (!pass_private_matmul(g, product, uses))
        return false;

    node_id first = g->values[product].producer;
    while (g->nodes[first].n_in == 3) {
        const value_id c = g->nodes[first].in[2];
        if (!pass_private_matmul(g, c, uses))
            return false;
        first = g->values[c].producer;
    }
    // State may be updated between the first matmul and the sum only if no one
    // reads it after, so reading it earlier is always right.
    if (is_before(g, other, first) && pass_replace(g, sum->out[0], product)) {
        g->nodes[first].in[2] = other;
        g->nodes[first].n_in = 3;
        uses[product] = uses[sum->out[0]];
        sum->is_dead = true;
        return true;
    }
    if (first != g->values[product].producer ||
        pass_is_updated_between(g, first, at))
        return false;
    absorb(g, sum, product, other);
    return true;
}

int pass_fuse(struct graph *g)
{
    int changes = 0;

    uint32_t *uses = pass_count_uses(g);
    if (!uses)
        return -ENOMEM;
    for (node_id i = 0; i < g->n_nodes; i++) {
        struct node *n = &g->nodes[i];
        if (n->is_dead || n->op != OP_add)
            continue;
        if (fuse(g, i, n->in[1], n->in[0], uses) ||
            fuse(g, i, n->in[0], n->in[1], uses))
            changes++;
    }
    return changes;
}
