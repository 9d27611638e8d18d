// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_kernels.h"

#include <math.h>
#include <string.h>

// Learning without gradients: directions that are made where they are used.

static struct noise_key key_of(const struct cpu_noise *n, int32_t query)
{
    struct noise_key k = {.stream = n->stream, .query = (uint32_t) query};
    memcpy(k.draw, n->draw, sizeof(k.draw));
    return k;
}

static float z_of(const struct cpu_noise *n, const struct noise_key *k, float c,
                  int64_t i)
{
    if (n->limit && !(fabsf(c) <= *n->limit))
        return 0.0f;
    return noise_value(n->kind, k, (uint64_t) i);
}

KERNEL_perturb(perturb_c)
{
    for (int64_t d = 0; d < copies; d++) {
        const struct noise_key k = key_of(&noise, queries[d]);
        for (int64_t i = 0; i < count; i++) {
            const float step = sizes[d] * z_of(&noise, &k, c[i], i);
            y[d * count + i] = c[i] + step;
        }
    }
}

KERNEL_noise_sum(noise_sum_c)
{
    memset(g, 0, (size_t) count * sizeof(*g));
    for (int64_t q = 0; q < n_queries; q++) {
        const struct noise_key k = key_of(&noise, queries[q]);
        for (int64_t i = 0; i < count; i++) {
            const float part = coefs[q] * z_of(&noise, &k, c[i], i);
            g[i] = g[i] + part;
        }
    }
}
