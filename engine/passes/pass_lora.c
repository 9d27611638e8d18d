// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * A linear and the LoRA beside it are three products, of which two are thin and
 * wait for each other: one, whose kernel takes the thin ones along. Not
 * in programs that learn: their gradients read x A^T as well.
 *
 *     %1 f32[4,8] = matmul @x, @w {alpha=1, trans_b=1}
 *     %2 f32[4,2] = matmul @x, @a {alpha=1, trans_b=1}
 *     %3 f32[4,8] = matmul %2, @b, %1 {alpha=2, trans_b=1}
 *     output @y %3
 * becomes
 *     %3 f32[4,8] = matmul_lora @x, @w, @a, @b {alpha=2}
 *     output @y %3
 */

#include "engine/passes/pass.h"

#include <errno.h>

// A product that no one else reads, of x (M,K) and rows of K.
static struct node *product_of(const struct graph *g, value_id v, node_id at,
                               const uint32_t *uses)
{
    struct node *n = pass_private_matmul(g, v, uses);

    if (!n || n->attr.trans_a || !n->attr.trans_b || n->attr.alpha != 1 ||
        pass_is_updated_between(g, (node_id) (n - g->nodes), at))
        return NULL;
    return n;
}

static bool is_low(const struct graph *g, value_id p, value_id q)
{
    const struct value *a = &g->values[p];

    return a->dtype == g->values[q].dtype &&
           (a->dtype == DTYPE_f32 || a->dtype == DTYPE_bf16) &&
           a->shape.ne[0] <= OP_LORA_RANK_MAX &&
           a->shape.ne[0] < a->shape.ne[1];
}

// n = alpha low q^T + base, low = x p^T, base = x w^T + c
static bool join(struct graph *g, node_id at, const uint32_t *uses)
{
    struct node *n = &g->nodes[at];
    struct node *low = product_of(g, n->in[0], at, uses);
    struct node *base = product_of(g, n->in[2], at, uses);

    if (!low || !base || low->n_in != 2 || low->in[0] != base->in[0] ||
        n->attr.trans_a || !n->attr.trans_b || !is_low(g, low->in[1], n->in[1]))
        return false;

    const value_id q = n->in[1];
    n->op = OP_matmul_lora;
    n->attr.trans_b = 0;
    n->in[0] = base->in[0];
    n->in[1] = base->in[1];
    n->in[2] = low->in[1];
    n->in[3] = q;
    n->in[4] = base->n_in == 3 ? base->in[2] : VALUE_NONE;
    n->n_in = (uint8_t) (base->n_in + 2);
    low->is_dead = true;
    base->is_dead = true;
    return true;
}

int pass_lora(struct graph *g)
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
