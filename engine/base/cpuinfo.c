// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/cpuinfo.h"

#include <sched.h>

unsigned cpuinfo_detect(void)
{
    unsigned flags = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    // Every processor with AVX2 has F16C; gcc 12 cannot ask for it by name.
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi2"))
        flags |= CPUINFO_AVX2;
    if ((flags & CPUINFO_AVX2) && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        flags |= CPUINFO_AVX512;
    if ((flags & CPUINFO_AVX512) && __builtin_cpu_supports("avx512bf16"))
        flags |= CPUINFO_AVX512BF16;
#elif defined(__aarch64__)
    flags |= CPUINFO_NEON;
#endif
    return flags;
}

uint32_t cpuinfo_usable(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) < 0)
        return 1;
    int n = CPU_COUNT(&set);
    return n > 0 ? (uint32_t) n : 1;
}
