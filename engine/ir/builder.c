// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/ir/builder.h"

#include <errno.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"

static value_id named(struct builder *b, enum value_kind kind, const char *name,
                      uint8_t dtype, const struct shape *s)
{
    value_id id = VALUE_NONE;
    if (b->rc < 0)
        return id;

    const struct value v = {
        .kind = (uint8_t) kind,
        .dtype = dtype,
        .shape = *s,
        .producer = NODE_NONE,
        .name = arena_strdup(b->g->arena, name),
    };
    b->rc = v.name ? graph_add_value(&id, b->g, &v) : -ENOMEM;
    return id;
}

value_id builder_input(struct builder *b, const char *name, uint8_t dtype,
                       const struct shape *s)
{
    return named(b, VALUE_INPUT, name, dtype, s);
}

value_id builder_weight(struct builder *b, const char *name, uint8_t dtype,
                        const struct shape *s)
{
    return named(b, VALUE_WEIGHT, name, dtype, s);
}

value_id builder_state_of(struct builder *b, const char *name, uint8_t dtype,
                          const struct shape *s)
{
    const value_id v = graph_find(b->g, name);
    if (v != VALUE_NONE)
        return v;
    return named(b, VALUE_STATE, name, dtype, s);
}

value_id builder_state(struct builder *b, const char *name,
                       const struct shape *s)
{
    return builder_state_of(b, name, DTYPE_f32, s);
}

value_id builder_apply(struct builder *b, value_id *outs, enum op op,
                       const struct op_attr *attr, const value_id *in, int n_in)
{
    node_id id = NODE_NONE;

    if (b->rc == 0)
        b->rc = graph_add_node(&id, b->g, op, attr, in, n_in, b->err);
    if (b->rc < 0) {
        for (int i = 0; outs && i < op_infos[op].n_out; i++)
            outs[i] = VALUE_NONE;
        return VALUE_NONE;
    }
    struct node *n = &b->g->nodes[id];
    n->is_backward = b->is_backward;
    for (int i = 0; outs && i < n->n_out; i++)
        outs[i] = n->out[i];
    return n->out[0];
}

value_id builder_matmul(struct builder *b, value_id a, value_id w, value_id c,
                        const struct op_attr *attr)
{
    const value_id in[] = {a, w, c};
    return builder_apply(b, NULL, OP_matmul, attr, in, c == VALUE_NONE ? 2 : 3);
}

value_id builder_unary(struct builder *b, enum op op,
                       const struct op_attr *attr, value_id x)
{
    return builder_apply(b, NULL, op, attr, &x, 1);
}

value_id builder_binary(struct builder *b, enum op op,
                        const struct op_attr *attr, value_id x, value_id y)
{
    const value_id in[] = {x, y};
    return builder_apply(b, NULL, op, attr, in, 2);
}

void builder_output(struct builder *b, value_id v, const char *name)
{
    const struct op_attr copy = {.alpha = 1};

    if (b->rc == 0 && b->g->values[v].name)
        v = builder_unary(b, OP_scale, &copy, v);
    if (b->rc < 0)
        return;
    const char *text = arena_strdup(b->g->arena, name);
    if (!text) {
        b->rc = -ENOMEM;
        return;
    }
    b->g->values[v].is_output = true;
    b->g->values[v].name = text;
}
