// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

// Known answers of Random123's philox4x32, 10 rounds.
static void agrees_with_the_known_answers(void **state)
{
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } known[] = {
        {{0, 0, 0, 0},
         {0, 0},
         {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint32_t out[4];
        rng_philox(out, known[i].counter, known[i].key);
        assert_memory_equal(out, known[i].out, sizeof out);
    }
}

static void a_position_can_be_reached_directly(void **state)
{
    struct rng a, b;

    rng_init(&a, 7, 3);
    for (int i = 0; i < 1001; i++)
        rng_u32(&a);
    rng_init(&b, 7, 3);
    b.at = 1001;
    assert_int_equal(rng_u32(&a), rng_u32(&b));
    rng_init(&b, 7, 4);
    b.at = 1002;
    assert_int_not_equal(rng_u32(&a), rng_u32(&b));
}

static void numbers_have_the_promised_shape(void **state)
{
    enum { N = 100000 };
    struct rng r;
    double sum = 0, squares = 0, uniform = 0;
    uint32_t hits[7] = {0};

    rng_init(&r, 1, 0);
    for (int i = 0; i < N; i++) {
        const double z = rng_normal(&r);
        const double u = rng_uniform(&r);
        sum += z;
        squares += z * z;
        assert_true(u >= 0 && u < 1);
        uniform += u;
        hits[rng_below(&r, 7)]++;
    }
    // Five standard deviations of each mean; the seed is fixed anyhow.
    assert_true(fabs(sum / N) < 5 / sqrt(N));
    assert_true(fabs(squares / N - 1) < 5 * sqrt(2.0 / N));
    assert_true(fabs(uniform / N - 0.5) < 5 * sqrt(1 / 12.0 / N));
    for (int i = 0; i < 7; i++)
        assert_true(fabs(hits[i] - N / 7.0) < 5 * sqrt(N * 6 / 49.0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_known_answers),
        cmocka_unit_test(a_position_can_be_reached_directly),
        cmocka_unit_test(numbers_have_the_promised_shape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
