// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Subnormal numbers
 *
 * Some processors need a hundred times as long for a product with a number
 * below 1.2e-38, and a confident softmax is full of them. While kernels run,
 * such numbers count as zero. The mode belongs to a thread: all threads of one
 * computation must be in the same, or its bytes depend on who did what.
 */

#include <stdint.h>

// From now on in this thread; returns what fpmode_restore() takes.
static inline uint64_t fpmode_flush(void)
{
#if defined(__x86_64__)
    const unsigned int old = __builtin_ia32_stmxcsr();
    // FTZ and DAZ: Intel 64 manual, volume 1, 11.6.
    __builtin_ia32_ldmxcsr(old | 1u << 15 | 1u << 6);
    return old;
#elif defined(__aarch64__)
    uint64_t old;
    __asm__ volatile("mrs %0, fpcr" : "=r"(old));
    // FZ: Arm ARM, FPCR.
    __asm__ volatile("msr fpcr, %0" : : "r"(old | 1u << 24));
    return old;
#else
    return 0;
#endif
}

static inline void fpmode_restore(uint64_t old)
{
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr((unsigned int) old);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(old));
#else
    (void) old;
#endif
}
