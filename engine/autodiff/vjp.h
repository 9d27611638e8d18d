// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Vector-Jacobian products
 *
 * One function for each name in the vjp column of ops.def: given the gradients
 * of a node's outputs, it adds the nodes that compute the gradients of those
 * inputs that need one. Gradients of inputs stand in the order: everything
 * that reads a weight first, then the gradient of the weight itself, so that
 * the weight may be updated as soon as its gradient is known.
 */

#include "engine/ir/builder.h"

struct vjp {
    struct builder *b;
    const struct node *node;     // the forward node; not in the graph's array
    bool is_loss;                // output 0 is the loss: its gradient is one
    value_id dy[OP_OUTPUTS_MAX]; // VALUE_NONE: zero
    bool needs[OP_INPUTS_MAX];   // which gradients are asked for
    value_id dx[OP_INPUTS_MAX];  // the answer; VALUE_NONE: zero
};

// 0; -ENOTSUP and a sentence when the operator has no such gradient.
int vjp_apply(struct vjp *v);
