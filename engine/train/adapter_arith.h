// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Arithmetic of adapters
 *
 * Plain LoRAs of one model added up, and compared, by their halves alone: no
 * weight of the model is ever made.
 */

#include "engine/models/model.h"

struct adapter;
struct error;

enum {
    ADAPTER_PARTS_MAX = 8,
    ADAPTER_STACK_MAX = 1024, // ranks of all parts together
};

struct adapter_part {
    const struct adapter *a;
    double weight;
};

// The sum of weighted differences, as a LoRA of this rank: exactly, where the
// ranks of all parts fit into it, and else its largest singular values.
// *left_out is what they lack, |sum - LoRA| / |sum| over all weights. -ENOTSUP
// for what is no plain LoRA.
int adapter_sum(struct adapter **out, double *left_out,
                const struct adapter_part *parts, unsigned n_parts,
                const struct model_config *m, unsigned rank, struct error *err);

// Squares of Frobenius norms of what each adds to a linear, and their product:
// the cosine is ab / sqrt(aa bb), the distance sqrt(aa - 2 ab + bb).
struct adapter_difference {
    double aa, ab, bb;
};

// `out` has n_blocks * MODEL_LINEARS places.
int adapter_compare(struct adapter_difference *out, const struct adapter *a,
                    const struct adapter *b, const struct model_config *m,
                    struct error *err);
