// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Weights with an adapter in them, row by row, as what the model computes with.
 */

#include "engine/models/model.h"

#include <stdbool.h>

struct adapter;
struct gguf;

struct adapter_weight {
    const struct adapter *a;
    const char *base; // (rows, columns) of type dtype
    uint8_t dtype;
    int64_t rows, columns;
    const struct scheme_linear *how;
    const float *lora_a, *lora_b, *magnitude, *delta; // NULL: it has none
    float scale;
};

// Is anything of this linear different from the base?
bool adapter_weight_init(struct adapter_weight *w, const struct adapter *a,
                         const struct model_config *m, const struct gguf *base,
                         uint32_t block, enum model_linear linear);
// Row `row` of the base, and of base and adapter together; either may be NULL.
void adapter_weight_row(float *plain, float *adapted,
                        const struct adapter_weight *w, int64_t row);
// What the gain of a norm learnt, or NULL. norm 0 and 1 of a block, and 0 of
// block n_blocks: the last one.
const float *adapter_gain(const struct adapter *a, uint32_t block, int norm);
