// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * What happens to a gradient
 *
 * Adds the nodes behind the gradient of each parameter: read by the host,
 * summed over micro-batches, or used at once to update the parameter.
 */

#include "engine/ir/graph.h"

struct error;

enum optim_mode {
    OPTIM_OUTPUT,     // output grad.NAME
    OPTIM_ACCUMULATE, // state NAME.g += gradient
    OPTIM_UPDATE,     // AdamW on states NAME, NAME.m, NAME.v; input hyper (8)
    OPTIM_FINISH,     // NAME.g += gradient, AdamW on the sum, NAME.g = 0
};

struct optim_params {
    enum optim_mode mode;
    const value_id *values; // what learns
    const value_id *grads;  // of each
    const float *rates;     // learning rate of each, in that of the hypers;
                            // NULL: 1
    uint32_t n;
};

int optim_apply(struct graph *g, const struct optim_params *params,
                struct error *err);
