// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Graph builder
 *
 * Short names for making nodes, for models, gradients and optimizers. The
 * first failure is kept in `rc` (with a sentence in `err`); after it every call
 * returns VALUE_NONE and does nothing, so a caller checks once at the end.
 */

#include "engine/ir/graph.h"

struct builder {
    struct graph *g;
    struct error *err;
    int rc;
    bool is_backward; // mark new nodes as such
};

// Named values. `name` is copied into the graph's arena.
value_id builder_input(struct builder *b, const char *name, uint8_t dtype,
                       const struct shape *s);
value_id builder_weight(struct builder *b, const char *name, uint8_t dtype,
                        const struct shape *s);
// Of type f32, or of `dtype`; found again by name when it exists already.
value_id builder_state(struct builder *b, const char *name,
                       const struct shape *s);
value_id builder_state_of(struct builder *b, const char *name, uint8_t dtype,
                          const struct shape *s);
// The host will read `v` under this name; a copy, if it has one already.
void builder_output(struct builder *b, value_id v, const char *name);

// A node; returns its output 0. `outs` gets all outputs, or is NULL.
value_id builder_apply(struct builder *b, value_id *outs, enum op op,
                       const struct op_attr *attr, const value_id *in,
                       int n_in);

// a b, or a b^T, + c unless VALUE_NONE.
value_id builder_matmul(struct builder *b, value_id a, value_id w, value_id c,
                        const struct op_attr *attr);
value_id builder_unary(struct builder *b, enum op op,
                       const struct op_attr *attr, value_id x);
value_id builder_binary(struct builder *b, enum op op,
                        const struct op_attr *attr, value_id x, value_id y);

static inline struct shape shape1(int64_t d0)
{
    return (struct shape){1, {d0}};
}

static inline struct shape shape2(int64_t d0, int64_t d1)
{
    return (struct shape){2, {d0, d1}};
}
