// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/plan/place.h"

#include "engine/base/fault.h"
#include "engine/base/rng.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { STEPS = 6, TARGETS = 4 };

struct instance {
    double cost[STEPS][TARGETS];
    double change[TARGETS][TARGETS];
    double change_byte[TARGETS][TARGETS];
    uint64_t alive[STEPS];
    struct place_problem problem;
};

// Whole numbers, so that sums in any order are equal.
static double number(struct rng *rng, uint64_t below)
{
    return (double) (rng_u64(rng) % below);
}

// `rarity`: one in that many costs cannot be paid.
static void make(struct instance *in, struct rng *rng, uint64_t rarity)
{
    memset(in, 0, sizeof(*in));
    for (int i = 0; i < STEPS; i++) {
        in->alive[i] = rng_u64(rng) % 4;
        for (int t = 0; t < TARGETS; t++)
            in->cost[i][t] =
                rng_u64(rng) % rarity == 0 ? INFINITY : number(rng, 100);
    }
    for (int f = 0; f < TARGETS; f++)
        for (int t = 0; t < TARGETS; t++) {
            in->change[f][t] =
                rng_u64(rng) % rarity == 0 ? INFINITY : number(rng, 40);
            in->change_byte[f][t] = number(rng, 20);
        }
    in->problem = (struct place_problem){
        .n_steps = STEPS,
        .n_targets = TARGETS,
        .cost = in->cost[0],
        .change = in->change[0],
        .change_byte = in->change_byte[0],
        .alive = in->alive,
    };
}

// Added up here, not by place_cost().
static double sum_of(const struct instance *in, const uint16_t *choice)
{
    double sum = 0;

    for (int i = 0; i < STEPS; i++) {
        sum += in->cost[i][choice[i]];
        if (i > 0 && choice[i] != choice[i - 1])
            sum += in->change[choice[i - 1]][choice[i]] +
                   in->change_byte[choice[i - 1]][choice[i]] *
                       (double) in->alive[i];
    }
    return sum;
}

static double brute_force(const struct instance *in)
{
    double best = INFINITY;
    int n = 1;

    for (int i = 0; i < STEPS; i++)
        n *= TARGETS;
    for (int k = 0; k < n; k++) {
        uint16_t choice[STEPS];
        for (int i = 0, rest = k; i < STEPS; i++, rest /= TARGETS)
            choice[i] = (uint16_t) (rest % TARGETS);
        best = fmin(best, sum_of(in, choice));
    }
    return best;
}

static void check(const struct instance *in)
{
    const double want = brute_force(in);
    uint16_t choice[STEPS];
    double total = -1;
    int rc = place_solve(choice, &total, &in->problem);

    assert_int_equal(rc, isfinite(want) ? 0 : -ENOTSUP);
    if (rc < 0) {
        assert_true(total == -1);
        return;
    }
    assert_true(total == want);
    assert_true(sum_of(in, choice) == want);
    assert_true(place_cost(&in->problem, choice) == want);
}

static void finds_what_brute_force_finds(void **state)
{
    struct rng rng;

    rng_init(&rng, 1, 0);
    for (int round = 0; round < 200; round++) {
        struct instance in;
        make(&in, &rng, UINT64_MAX);
        check(&in);
    }
}

static void goes_around_what_cannot_be(void **state)
{
    struct rng rng;
    int refused = 0;

    rng_init(&rng, 2, 0);
    for (int round = 0; round < 200; round++) {
        struct instance in;
        make(&in, &rng, 2);
        refused += !isfinite(brute_force(&in));
        check(&in);
    }
    assert_in_range(refused, 1, 199); // both were tried
}

static void nothing_that_is_given_costs_nothing(void **state)
{
    struct rng rng;

    rng_init(&rng, 3, 0);
    for (int round = 0; round < 50; round++) {
        struct instance in;
        make(&in, &rng, UINT64_MAX);
        memset(in.change, 0, sizeof(in.change));
        memset(in.change_byte, 0, sizeof(in.change_byte));
        in.problem.change = NULL;
        in.problem.change_byte = NULL;
        in.problem.alive = NULL;
        check(&in);
    }
}

// The greedy way, each step where it is cheapest, is not taken when copies cost
// more than they save.
static void does_not_move_for_less_than_it_costs(void **state)
{
    static const double cost[] = {1, 9, 5, 4, 1, 9};
    static const double change[] = {0, 1, 1, 0};
    const struct place_problem p = {3, 2, cost, change, NULL, NULL};
    uint16_t choice[3];
    double total;

    assert_int_equal(place_solve(choice, &total, &p), 0);
    assert_int_equal(choice[0], 0);
    assert_int_equal(choice[1], 0);
    assert_int_equal(choice[2], 0);
    assert_true(total == 7);
}

static void takes_the_first_of_equals(void **state)
{
    static const double cost[] = {3, 3, 3, 3, 3, 3};
    const struct place_problem p = {2, 3, cost, NULL, NULL, NULL};
    uint16_t choice[2] = {9, 9};
    double total;

    assert_int_equal(place_solve(choice, &total, &p), 0);
    assert_int_equal(choice[0], 0);
    assert_int_equal(choice[1], 0);
}

static void says_when_memory_is_short(void **state)
{
    static const double cost[] = {1, 2};
    const struct place_problem p = {1, 2, cost, NULL, NULL, NULL};
    uint16_t choice[1];
    double total;

    fault_arm(FAULT_ALLOC, 1);
    assert_int_equal(place_solve(choice, &total, &p), -ENOMEM);
    fault_arm(FAULT_ALLOC, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_brute_force_finds),
        cmocka_unit_test(goes_around_what_cannot_be),
        cmocka_unit_test(nothing_that_is_given_costs_nothing),
        cmocka_unit_test(does_not_move_for_less_than_it_costs),
        cmocka_unit_test(takes_the_first_of_equals),
        cmocka_unit_test(says_when_memory_is_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
