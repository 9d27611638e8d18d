// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Panels of the second operand of a rounded product, see bf16.h
 */

#include "engine/cpu/matmul_bf16.h"

// out: columns j .. j + 64 of op(b) + op(d), values k0 .. k0 + ks of them,
// rounded, as bf16_avx512.h or bf16_neon.h wants them; zeros where there are
// none. k0 is a multiple of 32. Behind the last value of b, where there is
// p->low, the same of its rows j .. j + 64 of q (N,R).
void panel_pack(uint32_t *out, const struct rounded_product *p, int64_t j,
                int64_t k0, int64_t ks);
