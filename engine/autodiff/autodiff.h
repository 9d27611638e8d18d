// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Reverse-mode differentiation
 *
 * Walks the graph from the loss back to the values that learn and adds the
 * nodes that compute their gradients, and no others: a value needs a gradient
 * only if something that learns lies below it. Where a value has several
 * readers their gradients are added.
 */

#include "engine/ir/graph.h"

struct error;

// grads[i] is the gradient of `loss` with respect to wrt[i]. -EINVAL when the
// loss does not depend on it; -ENOTSUP when an operator between has none.
int autodiff(value_id *grads, struct graph *g, value_id loss,
             const value_id *wrt, uint32_t n_wrt, struct error *err);
