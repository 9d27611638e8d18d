// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Shape and type rules
 *
 * One function for each name in the shape column of ops.def: it checks the
 * inputs of a node against the operator's meaning and says what the outputs
 * will be. Used when a node is made and again by the verifier.
 */

#include "engine/ir/graph.h"

struct error;

struct infer_type {
    uint8_t dtype; // enum dtype
    struct shape shape;
};

// `in` holds n_in values, NULL where an input is absent. Fills the outputs of
// `op`. -EINVAL and a sentence when an input does not fit.
int infer_node(struct infer_type out[OP_OUTPUTS_MAX], enum op op,
               const struct op_attr *attr, const struct value *const *in,
               int n_in, struct error *err);

// "f32[256,384]" into `buf`, which it returns.
const char *infer_describe(char *buf, size_t bytes, uint8_t dtype,
                           const struct shape *s);
