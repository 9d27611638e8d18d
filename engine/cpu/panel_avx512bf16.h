// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Panels of the second operand of a rounded product, see bf16.h
 */

#include "engine/cpu/matmul_avx512bf16.h"

// out [pair][64]: columns j .. j + 64 of op(b) + op(d), values k0 .. k0 + ks of
// them, rounded; zeros where there are none. k0 is a multiple of 32.
void panel_pack(uint32_t *out, const struct rounded_product *p, int64_t j,
                int64_t k0, int64_t ks);
// The same of rows j .. j + 64 of p->low->q (N,R).
void panel_pack_low(uint32_t *out, const struct rounded_product *p, int64_t j);
