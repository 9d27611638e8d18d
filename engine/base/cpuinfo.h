// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * The processor that this process runs on.
 */

#include <stddef.h>
#include <stdint.h>

enum cpuinfo_flags {
    CPUINFO_AVX2 = 1 << 0,   // AVX2, FMA and F16C: x86-64-v3
    CPUINFO_AVX512 = 1 << 1, // F, BW, CD, DQ and VL: x86-64-v4
    CPUINFO_NEON = 1 << 2,   // every aarch64
    // Products of bf16 and, as VNNI, of bytes, which VBMI moves.
    CPUINFO_AVX512BF16 = 1 << 3,
    CPUINFO_NEONDOT = 1 << 4,  // sdot: nearly every aarch64 since 2018
    CPUINFO_NEONBF16 = 1 << 5, // bfmmla, and sdot: Armv8.6 and Armv9
};

unsigned cpuinfo_detect(void);
// How many CPUs the system lets this process use; at least 1.
uint32_t cpuinfo_usable(void);
// What the processor calls itself, printable, or "" where it does not say.
void cpuinfo_brand(char *out, size_t size);
