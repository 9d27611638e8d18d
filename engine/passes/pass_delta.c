// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * A weight that learns as a difference is two products of the same rows, with
 * the weight and with the difference: one product with their sum, which the
 * kernel makes while it packs the weight. Forward, backward for the input, and
 * in either order. The first product must have no other reader.
 *
 *     %1 f32[4,8] = matmul @x, @w {alpha=1, trans_b=1}
 *     %2 f32[4,8] = matmul @x, @d, %1 {alpha=1, trans_b=1}
 *     output @y %2
 * becomes
 *     %2 f32[4,8] = matmul_delta @x, @w, @d {alpha=1, trans_b=1}
 *     output @y %2
 */

#include "engine/passes/pass.h"

#include <errno.h>

static bool is_f32(const struct graph *g, value_id v)
{
    return g->values[v].dtype == DTYPE_f32;
}

// n = a op(x) + first, first = a op(y) + c
static bool join(struct graph *g, node_id at, const uint32_t *uses)
{
    struct node *n = &g->nodes[at];
    struct node *first = pass_private_matmul(g, n->in[2], uses);

    if (!first || n->attr.trans_a || n->in[0] != first->in[0] ||
        !op_attr_equal(&n->attr, &first->attr) ||
        !shape_equal(&g->values[n->in[1]].shape,
                     &g->values[first->in[1]].shape) ||
        pass_is_updated_between(g, (node_id) (first - g->nodes), at))
        return false;
    // The weight is what may be quantised.
    const bool is_weight_first = is_f32(g, n->in[1]);
    if (!is_weight_first && !is_f32(g, first->in[1]))
        return false;

    const value_id b = is_weight_first ? first->in[1] : n->in[1];
    const value_id d = is_weight_first ? n->in[1] : first->in[1];
    n->op = OP_matmul_delta;
    n->in[1] = b;
    n->in[2] = d;
    n->in[3] = first->n_in == 3 ? first->in[2] : VALUE_NONE;
    n->n_in = (uint8_t) (first->n_in + 1);
    first->is_dead = true;
    return true;
}

int pass_delta(struct graph *g)
{
    int changes = 0;

    const uint32_t *uses = pass_count_uses(g);
    if (!uses)
        return -ENOMEM;
    for (node_id i = 0; i < g->n_nodes; i++) {
        const struct node *n = &g->nodes[i];
        if (!n->is_dead && n->op == OP_matmul && n->n_in == 3)
            changes += join(g, i, uses);
    }
    return changes;
}
