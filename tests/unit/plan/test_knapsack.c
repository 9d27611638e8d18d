// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/plan/knapsack.h"

#include "engine/base/fault.h"
#include "engine/base/rng.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { GROUPS = 5, OPTIONS = 3 };

struct instance {
    struct knapsack_option options[GROUPS][OPTIONS];
    struct knapsack_group groups[GROUPS];
    uint64_t limits[KNAPSACK_LIMITS];
};

// Costs up to `most`; limits are the grid itself times `unit`.
static void make(struct instance *in, struct rng *rng, uint64_t unit)
{
    uint64_t fixed[KNAPSACK_LIMITS] = {0, 0};

    memset(in, 0, sizeof(*in));
    in->limits[0] = KNAPSACK_STEPS_0 * unit;
    in->limits[1] = KNAPSACK_STEPS_1 * unit;
    for (int g = 0; g < GROUPS; g++) {
        for (int i = 0; i < KNAPSACK_LIMITS; i++)
            fixed[i] += rng_u64(rng) % (in->limits[i] / 4);
        for (int o = 0; o < OPTIONS; o++) {
            in->options[g][o].gain = (double) (rng_u64(rng) % 100) - 5;
            for (int i = 0; i < KNAPSACK_LIMITS; i++)
                in->options[g][o].cost[i] = rng_u64(rng) % (in->limits[i] / 2);
        }
        in->groups[g] = (struct knapsack_group){in->options[g],
                                                OPTIONS,
                                                {fixed[0], fixed[1]}};
    }
}

// What a choice gains, or -1 when it costs too much.
static double worth(const struct instance *in, const int32_t *choice)
{
    uint64_t cost[KNAPSACK_LIMITS] = {0, 0};
    double gain = 0;
    int last = -1;

    for (int g = 0; g < GROUPS; g++) {
        if (choice[g] < 0)
            continue;
        last = g;
        gain += in->options[g][choice[g]].gain;
        for (int i = 0; i < KNAPSACK_LIMITS; i++)
            cost[i] += in->options[g][choice[g]].cost[i];
    }
    for (int i = 0; i < KNAPSACK_LIMITS; i++)
        if (cost[i] + (last < 0 ? 0 : in->groups[last].fixed[i]) >
            in->limits[i])
            return -1;
    return gain;
}

static double brute_force(const struct instance *in)
{
    double best = 0;
    int n = 1;

    for (int g = 0; g < GROUPS; g++)
        n *= OPTIONS + 1;
    for (int k = 0; k < n; k++) {
        int32_t choice[GROUPS];
        for (int g = 0, rest = k; g < GROUPS; g++, rest /= OPTIONS + 1)
            choice[g] = rest % (OPTIONS + 1) - 1;
        const double gain = worth(in, choice);
        best = gain > best ? gain : best;
    }
    return best;
}

static void finds_what_brute_force_finds(void **state)
{
    struct rng rng;

    rng_init(&rng, 1, 0);
    for (int round = 0; round < 60; round++) {
        struct instance in;
        int32_t choice[GROUPS];
        double gain;
        make(&in, &rng, 1);
        assert_int_equal(knapsack_solve(choice, &gain, in.groups, GROUPS,
                                        in.limits),
                         0);
        assert_true(gain == brute_force(&in));
        assert_true(worth(&in, choice) == gain);
    }
}

static void never_spends_more_than_there_is(void **state)
{
    struct rng rng;

    rng_init(&rng, 2, 0);
    for (int round = 0; round < 60; round++) {
        struct instance in;
        int32_t choice[GROUPS];
        double gain;
        make(&in, &rng, 999983); // costs fall between the steps
        assert_int_equal(knapsack_solve(choice, &gain, in.groups, GROUPS,
                                        in.limits),
                         0);
        assert_true(worth(&in, choice) == gain);
        assert_true(gain <= brute_force(&in));
    }
}

static void without_limits_takes_the_best_of_each_group(void **state)
{
    struct rng rng;
    struct instance in;
    int32_t choice[GROUPS];
    double gain;

    rng_init(&rng, 3, 0);
    make(&in, &rng, 1);
    in.limits[0] = in.limits[1] = UINT64_MAX;
    assert_int_equal(knapsack_solve(choice, &gain, in.groups, GROUPS,
                                    in.limits),
                     0);
    assert_true(gain == brute_force(&in));
}

static void takes_nothing_when_nothing_fits_or_gains(void **state)
{
    const struct knapsack_option bad[] = {{-1, {0, 0}}, {9, {11, 0}}};
    const struct knapsack_option good[] = {{1, {1, 0}}};
    const struct knapsack_group groups[] = {{bad, 2, {0, 0}},
                                            {good, 1, {10, 0}}};
    const uint64_t limits[] = {10, UINT64_MAX};
    int32_t choice[2];
    double gain = 7;

    assert_int_equal(knapsack_solve(choice, &gain, groups, 2, limits), 0);
    assert_true(gain == 0 && choice[0] == -1 && choice[1] == -1);
    assert_int_equal(knapsack_solve(choice, &gain, groups, 0, limits), 0);
    assert_true(gain == 0);
}

static void refuses_costs_that_shrink_and_survives_missing_memory(void **state)
{
    const struct knapsack_option one = {1, {1, 1}};
    const struct knapsack_group groups[] = {{&one, 1, {5, 0}},
                                            {&one, 1, {4, 0}}};
    const uint64_t limits[] = {100, 100};
    int32_t choice[2];
    double gain;

    assert_int_equal(knapsack_solve(choice, &gain, groups, 2, limits), -EINVAL);
    for (unsigned long n = 1; n <= 2; n++) {
        fault_arm(FAULT_ALLOC, n);
        assert_int_equal(knapsack_solve(choice, &gain, groups, 1, limits),
                         -ENOMEM);
    }
    fault_arm(FAULT_ALLOC, 0);
    assert_int_equal(knapsack_solve(choice, &gain, groups, 1, limits), 0);
    assert_true(gain == 1 && choice[0] == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_brute_force_finds),
        cmocka_unit_test(never_spends_more_than_there_is),
        cmocka_unit_test(without_limits_takes_the_best_of_each_group),
        cmocka_unit_test(takes_nothing_when_nothing_fits_or_gains),
        cmocka_unit_test(refuses_costs_that_shrink_and_survives_missing_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
