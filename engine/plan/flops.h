// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Work
 *
 * What a node costs, from its shapes: floating point operations, a
 * multiplication and an addition counting as two. Quantised weights cost some
 * more for each value that is decoded, however many rows are multiplied with
 * it; what only moves values counts one for each. For comparing and for people;
 * nothing that is computed hangs on it.
 */

#include "engine/ir/graph.h"

uint64_t flops_node(const struct graph *g, const struct node *n);
// All living nodes.
uint64_t flops_graph(const struct graph *g);
