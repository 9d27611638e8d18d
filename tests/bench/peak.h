// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * What the cores can do at most: sums of products that never leave registers,
 * and reading memory that no cache holds. Each of `threads` threads does the
 * same for a moment; the best of a few rounds. What a machine does not have, or
 * is not known how to ask for, is NAN.
 */

#include <stdint.h>

struct peak {
    double f32_flops;  // a second; a fused multiply-add counts as two
    double bf16_flops; // products of bf16 pairs, added up in f32
    double read_bytes; // a second
};

int peak_measure(struct peak *out, uint32_t threads);
