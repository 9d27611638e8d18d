// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/ir/graph.h"

#include <errno.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/ir/infer.h"

enum {
    GRAPH_FIRST = 256,
    GRAPH_MAX = 1 << 20, // values and nodes each
};

int graph_create(struct graph **out, struct arena *a)
{
    struct graph *g = arena_calloc(a, 1, sizeof(*g));
    if (!g)
        return -ENOMEM;
    g->arena = a;
    *out = g;
    return 0;
}

int graph_copy(struct graph **out, const struct graph *g, struct arena *a)
{
    struct graph *copy = arena_calloc(a, 1, sizeof(*copy));
    if (!copy)
        return -ENOMEM;

    *copy = *g;
    copy->arena = a;
    copy->values_size = g->n_values;
    copy->nodes_size = g->n_nodes;
    copy->values = arena_calloc(a, g->n_values + 1u, sizeof(*g->values));
    copy->nodes = arena_calloc(a, g->n_nodes + 1u, sizeof(*g->nodes));
    if (!copy->values || !copy->nodes)
        return -ENOMEM;
    if (g->n_values)
        memcpy(copy->values, g->values, g->n_values * sizeof(*g->values));
    if (g->n_nodes)
        memcpy(copy->nodes, g->nodes, g->n_nodes * sizeof(*g->nodes));
    *out = copy;
    return 0;
}

// The old array stays in the arena; sizes double, so it costs at most half.
static int grow(void **array, uint32_t *size, size_t item, struct arena *a)
{
    const uint32_t n = *size ? *size * 2 : GRAPH_FIRST;
    if (n > GRAPH_MAX)
        return -E2BIG;
    void *p = arena_calloc(a, n, item);
    if (!p)
        return -ENOMEM;
    if (*size)
        memcpy(p, *array, *size * item);
    *array = p;
    *size = n;
    return 0;
}

int graph_add_value(value_id *out, struct graph *g, const struct value *v)
{
    int rc;
    if (g->n_values == g->values_size &&
        (rc = grow((void **) &g->values, &g->values_size, sizeof(*g->values),
                   g->arena)) < 0)
        return rc;
    g->values[g->n_values] = *v;
    *out = g->n_values++;
    return 0;
}

static int add_outputs(struct graph *g, struct node *n,
                       const struct infer_type *types)
{
    for (uint8_t i = 0; i < n->n_out; i++) {
        const struct value v = {
            .kind = VALUE_TEMP,
            .dtype = types[i].dtype,
            .shape = types[i].shape,
            .producer = g->n_nodes,
            .output = i,
        };
        int rc = graph_add_value(&n->out[i], g, &v);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int graph_add_node(node_id *out, struct graph *g, enum op op,
                   const struct op_attr *attr, const value_id *in, int n_in,
                   struct error *err)
{
    static const struct op_attr none;
    const struct value *values[OP_INPUTS_MAX] = {NULL};
    struct infer_type types[OP_OUTPUTS_MAX];
    int rc;

    if (n_in < 0 || n_in > OP_INPUTS_MAX)
        return error_set(err, -EINVAL, "%s: %d inputs", op_infos[op].name,
                         n_in);
    for (int i = 0; i < n_in; i++)
        if (in[i] < g->n_values)
            values[i] = &g->values[in[i]];
    if (!attr)
        attr = &none;
    if ((rc = infer_node(types, op, attr, values, n_in, err)) < 0)
        return rc;
    if (g->n_nodes == g->nodes_size &&
        (rc = grow((void **) &g->nodes, &g->nodes_size, sizeof(*g->nodes),
                   g->arena)) < 0)
        return rc;

    struct node n = {
        .op = (uint8_t) op,
        .n_in = (uint8_t) n_in,
        .n_out = op_infos[op].n_out,
        .attr = *attr,
    };
    for (int i = 0; i < OP_INPUTS_MAX; i++)
        n.in[i] = i < n_in ? in[i] : VALUE_NONE;
    for (int i = 0; i < OP_OUTPUTS_MAX; i++)
        n.out[i] = VALUE_NONE;
    if ((rc = add_outputs(g, &n, types)) < 0)
        return rc;
    g->nodes[g->n_nodes] = n;
    *out = g->n_nodes++;
    return 0;
}

int graph_insert_node(struct graph *g, node_id at, const struct node *n)
{
    int rc;
    if (g->n_nodes == g->nodes_size &&
        (rc = grow((void **) &g->nodes, &g->nodes_size, sizeof(*g->nodes),
                   g->arena)) < 0)
        return rc;
    memmove(&g->nodes[at + 1], &g->nodes[at],
            (g->n_nodes - at) * sizeof(*g->nodes));
    g->nodes[at] = *n;
    g->n_nodes++;
    for (value_id v = 0; v < g->n_values; v++)
        if (g->values[v].producer != NODE_NONE && g->values[v].producer >= at)
            g->values[v].producer++;
    return 0;
}

value_id graph_find(const struct graph *g, const char *name)
{
    for (value_id i = 0; i < g->n_values; i++)
        if (g->values[i].name && strcmp(g->values[i].name, name) == 0)
            return i;
    return VALUE_NONE;
}

value_id graph_storage(const struct graph *g, value_id v)
{
    for (;;) {
        const struct value *x = &g->values[v];
        if (x->producer == NODE_NONE)
            return v;
        const struct node *n = &g->nodes[x->producer];
        const int i = op_updates((enum op) n->op, x->output);
        if (i < 0)
            return v;
        v = n->in[i];
    }
}

int64_t shape_count(const struct shape *s)
{
    int64_t n = 1;
    for (int i = 0; i < s->rank; i++)
        n *= s->ne[i];
    return n;
}

bool shape_equal(const struct shape *a, const struct shape *b)
{
    return a->rank == b->rank &&
           memcmp(a->ne, b->ne, a->rank * sizeof(a->ne[0])) == 0;
}

size_t value_bytes(const struct value *v)
{
    const int64_t row = v->shape.ne[v->shape.rank - 1];
    return dtype_row_bytes((enum dtype) v->dtype, row) *
           (size_t) (shape_count(&v->shape) / row);
}
