#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Vectors of the accountant, by integrals instead of sums.

The Renyi divergence of order n of (1 - q) N(0, s^2) + q N(1, s^2) from N(0, s^2)
is computed as it is defined, by the trapezoid rule; turning it into (epsilon,
delta) is proposition 12 of Canonne et al., arXiv 2004.00010.
"""
import math


def log_integral(rate, sigma, order):
    low, high, steps = -40 * sigma, order + 40 * sigma, 20000
    h = (high - low) / steps
    logs = []
    for i in range(steps + 1):
        x = low + i * h
        log_q = -x * x / (2 * sigma * sigma)
        ratio = (2 * x - 1) / (2 * sigma * sigma)
        if rate == 1:
            log_p = ratio
        else:
            a, b = math.log1p(-rate), math.log(rate) + ratio
            log_p = max(a, b) + math.log1p(math.exp(-abs(a - b)))
        logs.append(log_q + order * log_p)
    most = max(logs)
    total = sum(math.exp(v - most) for v in logs) * h
    return most + math.log(total) - math.log(sigma * math.sqrt(2 * math.pi))


def epsilon(rate, sigma, steps, delta):
    return min(steps * log_integral(rate, sigma, n) / (n - 1) + math.log1p(-1 / n) -
               (math.log(delta) + math.log(n)) / (n - 1) for n in range(2, 257))


for rate, sigma, steps, delta in ((0.01, 1.0, 1000, 1e-5), (0.01, 4.0, 10000, 1e-5), (0.1, 2.0, 300, 1e-5),
                                  (0.004266666666666667, 1.1, 14040, 1e-5), (1.0, 5.0, 10, 1e-6),
                                  (0.5, 8.0, 60, 1e-4), (0.02, 0.7, 50, 1e-5)):
    print(f'    {{{rate!r}, {sigma}, {steps}, {delta:g}, {epsilon(rate, sigma, steps, delta):.9f}}},')
