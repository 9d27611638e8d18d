// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Verifier
 *
 * What every graph must obey between two passes:
 *
 * 1. A value is defined once: by its producer, or as input, weight or state.
 *    Every node's inputs are defined before it.
 * 2. Shapes and types are what the operator's rule says.
 * 3. Storage types other than f32 and i32 belong to weights, and are read only
 *    as operand b of matmul and as W of embed and xent.
 * 4. Updates apply to state, or to what an update made of it; each version is
 *    updated at most once, and no one reads a version after its update.
 * 5. Names are unique among inputs, weights, states and outputs.
 */

#include "engine/ir/graph.h"

struct error;
struct str;

// -EINVAL when the graph breaks a rule: `err` tells of the first fault, and
// `report`, if not NULL, gets all of them and then the graph as text.
int verify_graph(const struct graph *g, struct str *report, struct error *err);
