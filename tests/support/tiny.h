// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * A tiny llama for tests
 *
 * Two blocks, grouped-query attention, odd sizes; random weights by bank.h; a
 * batch with several segments in one row and padding that does not count.
 */

#include "tests/support/bank.h"

struct tiny_batch {
    int32_t tokens[64];
    int32_t pos[64];
    int32_t start[64];
    int32_t targets[64];
    float weights[64];
    uint32_t n;
};

// All weights of this type; quantised ones make every width a multiple of
// their blocks.
struct model_config tiny_config(uint8_t dtype, uint32_t n_blocks);

// Asserts that it fits the model.
struct scheme tiny_scheme(const struct model_config *m,
                          const struct scheme_lora *lora);

// batch * length <= 64 tokens. `seed` chooses the tokens.
void tiny_batch_make(struct tiny_batch *t, uint32_t batch, uint32_t length,
                     uint32_t n_vocab, uint64_t seed);
// Writes all inputs of a LOSS program; asserts that it worked.
void tiny_batch_write(struct executor *e, const struct tiny_batch *t);
