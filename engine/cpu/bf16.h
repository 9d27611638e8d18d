// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Products of bf16, for the files of the tiers that have them
 *
 * A register multiplies small groups along the contraction: pairs by AVX-512,
 * fours by NEON. Either way storage is counted in pairs, 32 bits that hold two
 * numbers. How they lie in a panel of PANEL_COLS columns of op(b), and in the
 * strips of op(a) that pass by, is the instruction set's business.
 */

#include "engine/cpu/vec.h"

#include <stdbool.h>

enum { PANEL_COLS = 64 };

typedef uint32_t pair; // of bf16: the earlier one in the low half

// Where the inner loop finds op(a): step p of row i (or, by NEON, of rows 2 i
// and 2 i + 1) at a[i * row + p * step].
struct pair_strip {
    const pair *a;
    int64_t row;
    int64_t step;
};

// What will be read next, by other work than that at hand: `step` bytes apart.
struct ahead {
    const char *at;
    int64_t step;
};

#if defined(CPU_ISA_NEONBF16)
#include "engine/cpu/bf16_neon.h"
#else
#include "engine/cpu/bf16_avx512.h"
#endif
