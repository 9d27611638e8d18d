// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Common subexpressions: of two nodes with the same operator, attributes and
 * inputs the later one goes. Versions of updated state are different values,
 * so equal inputs hold equal bytes; nodes that update are left alone.
 *
 *     %1 f32[4,8] = scale @x {alpha=2}
 *     %2 f32[4,8] = scale @x {alpha=2}
 *     %3 f32[4,8] = add %1, %2
 * becomes
 *     %1 f32[4,8] = scale @x {alpha=2}
 *     %3 f32[4,8] = add %1, %1
 */

#include "engine/passes/pass.h"

#include <errno.h>
#include <string.h>

#include "engine/base/arena.h"

static uint32_t hash_node(const struct node *n)
{
    uint32_t h = 2166136261u ^ n->op;
    for (int i = 0; i < n->n_in; i++)
        h = (h ^ n->in[i]) * 16777619u;
    return h ^ h >> 15;
}

static bool updates(const struct node *n)
{
    for (int i = 0; i < n->n_out; i++)
        if (op_updates((enum op) n->op, i) >= 0)
            return true;
    return false;
}

static bool equal(const struct node *a, const struct node *b)
{
    return a->op == b->op && a->n_in == b->n_in &&
           memcmp(a->in, b->in, a->n_in * sizeof(a->in[0])) == 0 &&
           op_attr_equal(&a->attr, &b->attr);
}

// Give the readers of `b` the outputs of `a`; false when a name forbids it.
static bool merge(struct graph *g, struct node *a, struct node *b)
{
    for (int i = 0; i < b->n_out; i++) {
        if (b->out[i] == VALUE_NONE)
            continue;
        if (a->out[i] == VALUE_NONE)
            return false;
        if (g->values[b->out[i]].is_output && g->values[a->out[i]].name)
            return false;
    }
    for (int i = 0; i < b->n_out; i++)
        if (b->out[i] != VALUE_NONE)
            (void) pass_replace(g, b->out[i], a->out[i]);
    b->is_dead = true;
    return true;
}

int pass_cse(struct graph *g)
{
    int changes = 0;
    uint32_t size = 64;

    while (size < 2 * g->n_nodes)
        size *= 2;
    node_id *table = arena_calloc(g->arena, size, sizeof(*table));
    if (!table)
        return -ENOMEM;
    memset(table, 0xff, size * sizeof(*table)); // NODE_NONE

    for (node_id i = 0; i < g->n_nodes; i++) {
        struct node *n = &g->nodes[i];
        if (n->is_dead || updates(n))
            continue;
        uint32_t h = hash_node(n) & (size - 1);
        while (table[h] != NODE_NONE && !equal(&g->nodes[table[h]], n))
            h = (h + 1) & (size - 1);
        if (table[h] == NODE_NONE)
            table[h] = i;
        else if (merge(g, &g->nodes[table[h]], n))
            changes++;
    }
    return changes;
}
