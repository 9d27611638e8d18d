// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Noise
 *
 * Random tensors that nobody stores: a value is a function of the run, the
 * step, the query (which of a step's directions), the tensor and the element
 * alone, and so the same wherever and whenever it is made. Philox gives the
 * bits; what follows are f32 sums and products that are rounded one by one,
 * and not contracted, so that every device gets the same numbers.
 *
 * Rademacher: +1 or -1, a bit each. Gaussian: 23 bits choose the odd number m
 * below 2^24, of which the quantile of m / 2^25 is a cubic of a table, and one
 * bit chooses the sign: mean 0, variance 1, and at most 5.4.
 */

#include <stdint.h>

enum noise { NOISE_GAUSSIAN, NOISE_RADEMACHER, NOISE_KINDS };

// A tensor's place in a run. `draw` is what programs get as an input: seed and
// step, low words first.
struct noise_key {
    int32_t draw[4];
    uint32_t stream; // of the tensor
    uint32_t query;  // below 2^16
};

// Values made of one block of Philox.
#define NOISE_BLOCK(kind) ((kind) == NOISE_RADEMACHER ? 128 : 4)

// Key and counter of block `n`.
static inline void noise_counter(uint32_t counter[4], uint32_t key[2],
                                 const struct noise_key *k, uint32_t n)
{
    counter[0] = n;
    counter[1] = k->stream;
    counter[2] = k->query | (uint32_t) k->draw[3] << 16;
    counter[3] = (uint32_t) k->draw[2];
    // Not the numbers of struct rng with the same seed.
    key[0] = (uint32_t) k->draw[0];
    key[1] = (uint32_t) k->draw[1] ^ 0x7A65726Fu;
}

// One value: the definition.
float noise_value(enum noise kind, const struct noise_key *k, uint64_t element);
// Of 32 random bits.
float noise_gaussian(uint32_t bits);
