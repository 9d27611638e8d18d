// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Sampler
 *
 * The next token from the model's scores: the most likely one at temperature
 * 0, else drawn from softmax(logits / temperature) over the top_k best tokens,
 * cut to the smallest set that holds top_p of the probability. The n-th draw
 * depends on the seed, n and the logits alone.
 */

#include <stdint.h>

struct sampler;

struct sampler_params {
    float temperature; // 0: the most likely
    uint32_t top_k;    // 0: all
    float top_p;       // 0 or 1: all
    uint64_t seed;
};

int sampler_create(struct sampler **out, uint32_t n_vocab,
                   const struct sampler_params *params);
void sampler_destroy(struct sampler *s);
// `logits` (n_vocab), all finite.
int32_t sampler_pick(struct sampler *s, const float *logits);
