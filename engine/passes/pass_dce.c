// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Dead-code elimination: a node lives if it updates state, or if someone
 * needs one of its outputs. Outputs that no one reads become `_`, which tells
 * kernels that they need not compute them.
 *
 *     %1 f32[4,8] = embed @tokens, @w
 *     %2 f32[4,8], %3 f32[4] = rmsnorm %1, @n
 *     %4 f32[4,8] = scale %1 {alpha=2}
 *     output @y %2
 * becomes
 *     %1 f32[4,8] = embed @tokens, @w
 *     %2 f32[4,8], _ = rmsnorm %1, @n
 *     output @y %2
 */

#include "engine/passes/pass.h"

#include <errno.h>

#include "engine/base/arena.h"

static bool is_needed(const struct graph *g, const struct node *n,
                      const bool *used)
{
    for (int i = 0; i < n->n_out; i++) {
        const value_id v = n->out[i];
        if (op_updates((enum op) n->op, i) >= 0)
            return true;
        if (v != VALUE_NONE && (used[v] || g->values[v].is_output))
            return true;
    }
    return false;
}

// An updated version stays named even if no one reads it: it is the state.
static int drop_outputs(const struct graph *g, struct node *n, const bool *used)
{
    int changes = 0;
    for (int i = 0; i < n->n_out; i++) {
        const value_id v = n->out[i];
        if (v == VALUE_NONE || used[v] || g->values[v].is_output ||
            op_updates((enum op) n->op, i) >= 0)
            continue;
        n->out[i] = VALUE_NONE;
        changes++;
    }
    return changes;
}

int pass_dce(struct graph *g)
{
    int changes = 0;

    bool *used = arena_calloc(g->arena, g->n_values, sizeof(*used));
    if (!used)
        return -ENOMEM;
    for (node_id i = g->n_nodes; i-- > 0;) {
        struct node *n = &g->nodes[i];
        if (n->is_dead)
            continue;
        if (!is_needed(g, n, used)) {
            n->is_dead = true;
            changes++;
            continue;
        }
        changes += drop_outputs(g, n, used);
        for (int k = 0; k < n->n_in; k++)
            used[n->in[k]] = true;
    }
    return changes;
}
