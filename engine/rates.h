// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

// How fast a device is at what training mostly does.

struct backend;
struct device;
struct error;

struct rates {
    double flops;   // of a product with f16 weights, a second
    double bytes_s; // read and written by a sum of vectors
};

// Measures for about `seconds` each, and takes the best: clocks rise while a
// device works. -ENOTSUP when it cannot multiply.
int rates_measure(struct rates *out, const struct backend *backend,
                  struct device *dev, double seconds, struct error *err);
