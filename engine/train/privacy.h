// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Differential privacy of steps without gradients
 *
 * What a step tells of its records are a few numbers, so that hiding one record
 * takes noise on those alone (Zhang et al., DPZero, ICML 2024, algorithm 2):
 * each record's slopes along the step's directions are scaled down to a norm of
 * at most `clip`, added up, given Gaussian noise of `sigma` times `clip`, and
 * divided by the number of records that are expected. Each record takes part in
 * a step with probability `rate`, by itself.
 *
 * What that sums up to is accounted for by Renyi divergences of the sampled
 * Gaussian mechanism (Mironov et al., arXiv 1908.10530, 3.3, whole orders) and
 * turned into (epsilon, delta) by Canonne et al., arXiv 2004.00010, proposition
 * 12. Two sets of records are neighbours when one has one record more.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rng;

// What an adapter gives away of any one record, at most. Epsilon 0: nothing is
// promised.
struct privacy {
    double epsilon;
    double delta;
};

// Epsilon after so many steps; INFINITY where no order gives a bound. rate in
// (0, 1], sigma > 0, delta in (0, 1).
double privacy_epsilon(double rate, double sigma, uint64_t steps, double delta);
// The least noise with which `steps` steps stay within epsilon, to a
// thousandth; INFINITY where 1e6 does not do.
double privacy_sigma(double rate, uint64_t steps, double epsilon, double delta);

struct privacy_release {
    uint32_t queries;
    double clip, sigma;
    double expected; // records in a step
};

// g (queries) from the slopes of n records, (n, queries) each of which may be
// anything: what is no number counts as nothing.
void privacy_release(float *g, const double *slopes, size_t n,
                     const struct privacy_release *r, struct rng *noise);
