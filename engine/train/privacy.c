// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/privacy.h"

#include "engine/base/rng.h"

#include <math.h>

enum {
    ORDERS = 256,
    SIGMA_MAX = 1000000,
};

// log(e^a + e^b)
static double log_add(double a, double b)
{
    const double most = fmax(a, b);

    return isinf(most) ? most : most + log1p(exp(fmin(a, b) - most));
}

// Renyi divergence of one step, of a whole order >= 2.
static double divergence(double rate, double sigma, int order)
{
    const double n = order;
    double sum = -INFINITY;

    if (rate >= 1)
        return n / (2 * sigma * sigma);
    for (int k = 0; k <= order; k++) {
        const double ways =
            lgamma(n + 1) - lgamma(k + 1.0) - lgamma(n - k + 1.0);
        const double chance = k * log(rate) + (n - k) * log1p(-rate);
        const double moment = (k * (double) k - k) / (2 * sigma * sigma);
        sum = log_add(sum, ways + chance + moment);
    }
    return fmax(sum, 0) / (n - 1);
}

double privacy_epsilon(double rate, double sigma, uint64_t steps, double delta)
{
    double least = INFINITY;

    if (steps == 0)
        return 0;
    for (int order = 2; order <= ORDERS; order++) {
        const double n = order;
        const double epsilon = (double) steps * divergence(rate, sigma, order) +
                               log1p(-1 / n) - (log(delta) + log(n)) / (n - 1);
        least = fmin(least, epsilon);
    }
    return fmax(least, 0);
}

double privacy_sigma(double rate, uint64_t steps, double epsilon, double delta)
{
    double low = 0, high = 1;

    while (privacy_epsilon(rate, high, steps, delta) > epsilon) {
        low = high;
        high *= 2;
        if (high > SIGMA_MAX)
            return INFINITY;
    }
    while (high - low > 1e-3 * high) {
        const double middle = (low + high) / 2;
        if (privacy_epsilon(rate, middle, steps, delta) > epsilon)
            low = middle;
        else
            high = middle;
    }
    return high;
}

void privacy_release(float *g, const double *slopes, size_t n,
                     const struct privacy_release *r, struct rng *noise)
{
    for (uint32_t q = 0; q < r->queries; q++)
        g[q] = (float) (r->sigma * r->clip * rng_normal(noise) / r->expected);
    for (size_t i = 0; i < n; i++) {
        const double *slope = slopes + i * r->queries;
        double square = 0;
        for (uint32_t q = 0; q < r->queries; q++)
            square += slope[q] * slope[q];
        if (!isfinite(square))
            continue;
        const double scale =
            square > r->clip * r->clip ? r->clip / sqrt(square) : 1;
        for (uint32_t q = 0; q < r->queries; q++)
            g[q] += (float) (scale * slope[q] / r->expected);
    }
}
