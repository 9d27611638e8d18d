// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Self-test of a device
 *
 * Drivers have bugs, and hardware fails quietly. Before a device is trusted
 * with an adapter it computes a few things on known inputs, and what comes out
 * is compared with the plain C kernels.
 */

struct backend;
struct device;
struct error;

struct selftest {
    unsigned n_run;     // checks
    unsigned n_skipped; // of operators that the device does not have
};

// -EBADE with a sentence that names the device and what it computed wrongly.
int selftest_run(struct selftest *out, const struct backend *backend,
                 struct device *dev, struct error *err);
