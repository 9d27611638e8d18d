// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Contributions
 *
 * How much the weights of a model could change the loss of some records: the
 * squared gradient of each linear, for each eighth of its input channels,
 * measured by a few backward passes, one window each. Fisher information, as
 * TinyTrain (arXiv 2307.09988) ranks layers by.
 *
 * The gradient of a whole weight is never made. A LoRA B that starts as zero
 * has the gradient dW A^T: with a random sign for each input channel of one
 * eighth in each of the eight rows of A, the expected square of a column of it
 * is the square of that eighth of dW.
 */

#include "engine/ir/op.h"
#include "engine/models/scheme.h"

struct base_model;
struct dataset;
struct error;

enum { CONTRIBUTION_PARTS = 8 };

struct contribution {
    uint32_t n_samples;
    double seconds;  // of the backward passes
    uint64_t places; // tokens that they computed, padding included
    // Mean of the squared gradient over windows, and the square of the mean
    // (free of bias: windows with themselves left out; not below 0). Gradients
    // are of the loss in nats per token of an average window.
    double fisher[MODEL_BLOCKS_MAX][MODEL_LINEARS][CONTRIBUTION_PARTS];
    double signal[MODEL_BLOCKS_MAX][MODEL_LINEARS][CONTRIBUTION_PARTS];
};

struct contribution_params {
    const struct dataset *data;
    uint32_t length;          // places in the longest row
    uint32_t n_samples;       // windows; as many as there are, if fewer
    uint64_t seed;            // which windows, and the signs
    enum precision precision; // that training will have: it tells its time
};

// Large: free() it. -EINTR when the device was stopped, -ENODATA when there are
// no windows.
int contribution_measure(struct contribution **out, struct base_model *base,
                         const struct contribution_params *params,
                         struct error *err);
