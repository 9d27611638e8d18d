// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Random numbers
 *
 * Philox4x32-10, a counter-based generator (Salmon et al., "Parallel Random
 * Numbers: As Easy as 1, 2, 3", SC'11): block n of a stream is a function of
 * (seed, stream, n) alone, so any position can be reached without the ones
 * before it. `struct rng` walks over a stream and may be copied at will.
 */

#include <stdint.h>

void rng_philox(uint32_t out[4], const uint32_t counter[4],
                const uint32_t key[2]);

struct rng {
    uint64_t seed;
    uint64_t stream;
    uint64_t at; // 32-bit numbers taken
};

void rng_init(struct rng *r, uint64_t seed, uint64_t stream);
uint32_t rng_u32(struct rng *r);
uint64_t rng_u64(struct rng *r);
// Evenly from 0 .. n - 1, n > 0.
uint32_t rng_below(struct rng *r, uint32_t n);
// Evenly from [0, 1), 53 bits.
double rng_uniform(struct rng *r);
// Mean 0, variance 1 (Box-Muller; one of each pair).
double rng_normal(struct rng *r);

// Begins at a place that nobody can guess: for what must differ each time.
void rng_init_from_system(struct rng *r);
