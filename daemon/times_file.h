// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * File of the kernel times (database thread)
 *
 * How long the engine's kernels take on this device, beside the store: measured
 * and read by workers. pockd keeps the bytes and drops them when a worker says
 * that they are of no use.
 */

struct error;
struct paths;
struct pockd;

// A sealed copy. -1: there is none.
int times_file_open(const struct paths *p);
// What a worker measured, instead of what was there.
int times_file_save(const struct paths *p, int from, struct error *err);
// 0 or a negative errno.
int times_file_drop(const struct paths *p);
// The same, soon (loop thread).
void times_file_drop_soon(struct pockd *p);
