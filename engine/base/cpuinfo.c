// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/cpuinfo.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

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
    // Nearly every processor with one has the others, but a virtual one may
    // hide them.
    if ((flags & CPUINFO_AVX512) && __builtin_cpu_supports("avx512bf16") &&
        __builtin_cpu_supports("avx512vnni") &&
        __builtin_cpu_supports("avx512vbmi"))
        flags |= CPUINFO_AVX512BF16;
#elif defined(__aarch64__)
    flags |= CPUINFO_NEON;
    if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP)
        flags |= CPUINFO_NEONDOT;
    if ((flags & CPUINFO_NEONDOT) && (getauxval(AT_HWCAP2) & HWCAP2_BF16))
        flags |= CPUINFO_NEONBF16;
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

// Without files, which a worker may not open.
void cpuinfo_brand(char *out, size_t size)
{
    char text[49] = "";
    size_t n = 0;

#if defined(__x86_64__)
    unsigned r[12];
    for (unsigned i = 0; i < 3; i++)
        if (!__get_cpuid(0x80000002U + i, &r[4 * i], &r[4 * i + 1],
                         &r[4 * i + 2], &r[4 * i + 3]))
            memset(&r[4 * i], 0, 4 * sizeof(r[0]));
    memcpy(text, r, sizeof(r));
#elif defined(__aarch64__)
    (void) snprintf(text, sizeof(text), "aarch64 %lx %lx", getauxval(AT_HWCAP),
                    getauxval(AT_HWCAP2));
#endif
    // No runs of spaces, none at the ends.
    for (size_t i = 0; text[i] && n + 1 < size; i++)
        if (text[i] > ' ' && text[i] <= '~')
            out[n++] = text[i];
        else if (n > 0 && out[n - 1] != ' ')
            out[n++] = ' ';
    while (n > 0 && out[n - 1] == ' ')
        n--;
    if (size > 0)
        out[n] = '\0';
}
