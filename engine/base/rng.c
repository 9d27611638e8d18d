// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/rng.h"

#include "engine/base/clock.h"

#include <math.h>
#include <sys/random.h>

// Multipliers and Weyl constants of Philox4x32, Salmon et al., SC'11, table 2.
#define PHILOX_M0 0xD2511F53u
#define PHILOX_M1 0xCD9E8D57u
#define PHILOX_W0 0x9E3779B9u
#define PHILOX_W1 0xBB67AE85u

void rng_philox(uint32_t out[4], const uint32_t counter[4],
                const uint32_t key[2])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];

    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t) PHILOX_M0 * c0;
        const uint64_t p1 = (uint64_t) PHILOX_M1 * c2;
        c0 = (uint32_t) (p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t) (p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t) p1;
        c3 = (uint32_t) p0;
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

void rng_init(struct rng *r, uint64_t seed, uint64_t stream)
{
    r->seed = seed;
    r->stream = stream;
    r->at = 0;
}

uint32_t rng_u32(struct rng *r)
{
    const uint64_t block = r->at >> 2;
    const uint32_t counter[4] = {
        (uint32_t) block,
        (uint32_t) (block >> 32),
        (uint32_t) r->stream,
        (uint32_t) (r->stream >> 32),
    };
    const uint32_t key[2] = {
        (uint32_t) r->seed,
        (uint32_t) (r->seed >> 32),
    };
    uint32_t words[4];

    rng_philox(words, counter, key);
    return words[r->at++ & 3];
}

uint64_t rng_u64(struct rng *r)
{
    const uint64_t high = rng_u32(r);
    return high << 32 | rng_u32(r);
}

uint32_t rng_below(struct rng *r, uint32_t n)
{
    // Lemire's multiplication, arXiv 1805.10941: the low half of a product
    // below 2^32 mod n would make some results more likely, so draw again.
    const uint32_t reject = (uint32_t) -n % n;

    for (;;) {
        const uint64_t product = (uint64_t) rng_u32(r) * n;
        if ((uint32_t) product >= reject)
            return (uint32_t) (product >> 32);
    }
}

double rng_uniform(struct rng *r)
{
    return (double) (rng_u64(r) >> 11) * 0x1p-53;
}

double rng_normal(struct rng *r)
{
    // 1 - u lies in (0, 1], so that the logarithm is finite.
    const double radius = sqrt(-2 * log(1 - rng_uniform(r)));
    return radius * cos(6.283185307179586 * rng_uniform(r));
}

void rng_init_from_system(struct rng *r)
{
    uint64_t made[2];

    // It fails on kernels without the call only.
    if (getentropy(made, sizeof made) < 0) {
        made[0] = clock_monotonic_ns();
        made[1] = (uint64_t) clock_unix_ms();
    }
    rng_init(r, made[0], made[1]);
}
