// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Graph
 *
 * Static single assignment over tensors of static shape: nodes apply an
 * operator to values and define new values. Values and nodes are numbers, not
 * pointers; the arrays live in the arena of their compile. An operator that
 * updates state (op_updates) defines a new version of the value, in the same
 * storage; every reader of the old version must come before it in the schedule.
 */

#include "engine/ir/op.h"
#include "engine/tensor/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct error;

typedef uint32_t value_id;
typedef uint32_t node_id;
#define VALUE_NONE UINT32_MAX
#define NODE_NONE  UINT32_MAX

// Values in one tensor, at most.
#define GRAPH_COUNT_MAX ((int64_t) 1 << 40)

enum value_kind {
    VALUE_TEMP,   // defined by a node
    VALUE_INPUT,  // written by the host before each run
    VALUE_WEIGHT, // read-only, named tensor of the model file
    VALUE_STATE,  // named, lives longer than the program
};

struct shape {
    uint8_t rank;  // 1 to 4
    int64_t ne[4]; // ne[0] is the outermost; row-major
};

struct value {
    uint8_t kind;     // enum value_kind
    uint8_t dtype;    // enum dtype
    bool is_output;   // the host reads it after each run, by name
    bool is_detached; // autodiff takes it as a constant
    struct shape shape;
    node_id producer; // NODE_NONE unless TEMP
    uint8_t output;   // which output of its producer
    const char *name; // unique for INPUT, WEIGHT, STATE and outputs
};

struct node {
    uint8_t op; // enum op
    uint8_t n_in;
    uint8_t n_out;
    bool is_dead;     // removed by a pass; skipped by everyone
    bool is_backward; // made by autodiff or the optimizer
    // Gradients do not read what it made, but make it again (pass_remat); on a
    // node of the backward pass: it is such a copy.
    bool is_recomputed;
    struct op_attr attr;
    value_id in[OP_INPUTS_MAX];
    value_id out[OP_OUTPUTS_MAX]; // VALUE_NONE where nobody asked for it
};

struct graph {
    struct arena *arena;
    struct value *values;
    struct node *nodes; // in a valid order of execution
    uint32_t n_values, n_nodes;
    uint32_t values_size, nodes_size;
};

// The graph and all that it grows into borrow `a`, and die with it.
int graph_create(struct graph **out, struct arena *a);

// The same graph, to be rewritten on its own. Names are borrowed from `g`.
int graph_copy(struct graph **out, const struct graph *g, struct arena *a);

int graph_add_value(value_id *out, struct graph *g, const struct value *v);
// Checks the inputs against the operator's shape rule and makes its outputs.
// Inputs are copied; unused ones are VALUE_NONE. On a shape that does not fit
// -EINVAL and a sentence.
int graph_add_node(node_id *out, struct graph *g, enum op op,
                   const struct op_attr *attr, const value_id *in, int n_in,
                   struct error *err);

// Puts a copy of `n` before node `at`; later nodes, and the producers of their
// values, move up by one. The outputs of the copy are the caller's business.
int graph_insert_node(struct graph *g, node_id at, const struct node *n);

value_id graph_find(const struct graph *g, const char *name); // VALUE_NONE
// The value that names the storage of `v`: the first version of updated state,
// or `v` itself.
value_id graph_storage(const struct graph *g, value_id v);
int64_t shape_count(const struct shape *s);
bool shape_equal(const struct shape *a, const struct shape *b);
size_t value_bytes(const struct value *v);
