// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/check/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Each kernel is checked by the run of its own tier; without one, all are.
static bool is_asked_for(const char *tier, const char *isa)
{
    return !tier || !*tier || strcmp(tier, isa) == 0;
}

// Are these the tiers of this machine?
static int check_tiers(const char *want)
{
    char list[96];

    cpu_tier_list(list, sizeof(list), cpuinfo_detect());
    if (strcmp(list, want) == 0)
        return 0;
    printf("FAIL the tiers are %s, should be %s\n", list, want);
    return 1;
}

// usage: check [--bench | --fifth | --tenth]     of the cases of products
//        check --tiers LIST
int main(int argc, char **argv)
{
    const bool bench = argc > 1 && strcmp(argv[1], "--bench") == 0;
    const unsigned have = cpuinfo_detect();
    const char *tier = getenv("POCK_CPU");
    unsigned flags = have;
    int bad = 0;

    if (argc > 2 && strcmp(argv[1], "--tiers") == 0)
        return check_tiers(argv[2]);
    if (tier && *tier &&
        (cpu_tier_flags(&flags, tier) < 0 || (flags & ~have))) {
        printf("skipped: no tier %s in this build or machine\n", tier);
        return 77;
    }
    if (argc > 1 && strcmp(argv[1], "--fifth") == 0)
        check_stride = 5;
    if (argc > 1 && strcmp(argv[1], "--tenth") == 0)
        check_stride = 11; // which goes through types and orders alike
    for (uint32_t i = 0; i < CHECK_POOLS; i++)
        if (pool_create(&check_pools[i], i < 2 ? i + 1 : CHECK_THREADS) < 0)
            return 1;

#define KERNEL(family, isa, needs)                                      \
    if (((needs) & ~flags) == 0 && is_asked_for(tier, #isa)) {          \
        srand(1);                                                       \
        bad |= check_##family(family##_c, family##_##isa, #isa, bench); \
        bad |= !check_end(#family "_" #isa);                            \
    }
#include "engine/cpu/cpu_kernels.def"
#undef KERNEL

    for (int i = 0; i < CHECK_POOLS; i++)
        pool_destroy(check_pools[i]);
    printf("%s: %s\n", cpu_tier_name(flags), bad ? "FAILED" : "ok");
    return bad;
}
