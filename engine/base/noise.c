// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/noise.h"

#include "engine/base/noise_table.h"
#include "engine/base/rng.h"

#include <string.h>

float noise_gaussian(uint32_t bits)
{
    const float m = (float) (int32_t) (bits >> 9 << 1 | 1);
    uint32_t f;

    memcpy(&f, &m, sizeof(f));
    // Exponent and two bits choose the cubic, the other bits its argument.
    const float *c = noise_cubics[(f >> 21) - (127u << 2)];
    const float t = (float) (int32_t) (f & 0x1fffff) * 0x1p-21f;
    float z = c[3] * t;
    z = z + c[2];
    z = z * t;
    z = z + c[1];
    z = z * t;
    z = z + c[0];
    return bits & 1 ? -z : z;
}

float noise_value(enum noise kind, const struct noise_key *k, uint64_t element)
{
    const uint32_t size = NOISE_BLOCK(kind);
    const uint32_t at = (uint32_t) (element % size);
    uint32_t counter[4], key[2], words[4];

    noise_counter(counter, key, k, (uint32_t) (element / size));
    rng_philox(words, counter, key);
    if (kind == NOISE_RADEMACHER)
        return words[at / 32] >> at % 32 & 1 ? 1.0f : -1.0f;
    return noise_gaussian(words[at]);
}
