// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_kernels.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

// Worst first. A tier of this table is built when its kernels are.
static const struct cpu_tier tiers[] = {
    {"c", 0},
#ifdef CPU_HAVE_NEON
    {"neon", CPUINFO_NEON},
#endif
#ifdef CPU_HAVE_NEONDOT
    {"neondot", CPUINFO_NEON | CPUINFO_NEONDOT},
#endif
#ifdef CPU_HAVE_NEONBF16
    {"neonbf16", CPUINFO_NEON | CPUINFO_NEONDOT | CPUINFO_NEONBF16},
#endif
#ifdef CPU_HAVE_AVX2
    {"avx2", CPUINFO_AVX2},
#endif
#ifdef CPU_HAVE_AVX512
    {"avx512", CPUINFO_AVX2 | CPUINFO_AVX512},
#endif
#ifdef CPU_HAVE_AVX512BF16
    {"avx512bf16", CPUINFO_AVX2 | CPUINFO_AVX512 | CPUINFO_AVX512BF16},
#endif
};

enum { TIER_COUNT = sizeof(tiers) / sizeof(tiers[0]) };

_Static_assert((int) TIER_COUNT <= (int) CPU_TIERS_MAX,
               "a device lists its tiers");

void cpu_kernels_init(struct cpu_kernels *k, unsigned flags)
{
#define KERNEL(family, isa, needs) \
    if (((needs) & ~flags) == 0)   \
        k->family = family##_##isa;
#include "engine/cpu/cpu_kernels.def"
#undef KERNEL
}

int cpu_tier_flags(unsigned *out, const char *name)
{
    for (int i = 0; i < TIER_COUNT; i++)
        if (strcmp(tiers[i].name, name) == 0) {
            *out = tiers[i].flags;
            return 0;
        }
    return -ENOENT;
}

uint32_t cpu_tiers(struct cpu_tier out[CPU_TIERS_MAX], unsigned flags)
{
    uint32_t n = 0;

    for (int i = 0; i < TIER_COUNT; i++)
        if ((tiers[i].flags & ~flags) == 0)
            out[n++] = tiers[i];
    return n;
}

const char *cpu_tier_name(unsigned flags)
{
    const char *best = NULL;
    for (int i = 0; i < TIER_COUNT; i++)
        if ((tiers[i].flags & ~flags) == 0)
            best = tiers[i].name;
    return best;
}

void cpu_tier_list(char *out, size_t size, unsigned flags)
{
    size_t used = 0;
    for (int i = 0; i < TIER_COUNT && used < size; i++)
        if ((tiers[i].flags & ~flags) == 0)
            used += (size_t) snprintf(out + used, size - used, "%s%s",
                                      used ? ", " : "", tiers[i].name);
}
