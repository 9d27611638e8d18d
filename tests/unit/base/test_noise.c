// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/noise.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct noise_key key = {{1, 0, 5, 0}, 2, 3};

// Of all 2^23 numbers that there are, and their negatives.
static void the_gaussian_has_the_moments_of_one(void **state)
{
    double square = 0, fourth = 0, below_one = 0, last = 6;

    for (uint32_t n = 0; n < 1u << 23; n++) {
        const double z = (double) noise_gaussian(n << 9);
        assert_true(z > -1e-5 && z < 5.5);
        assert_true(z < last + 1e-4);
        last = z;
        assert_true((double) noise_gaussian(n << 9 | 1) == -z);
        square += z * z;
        fourth += z * z * z * z;
        below_one += z < 1;
    }
    assert_true(fabs(square / (1 << 23) - 1) < 1e-5);
    assert_true(fabs(fourth / (1 << 23) - 3) < 1e-3);
    assert_true(fabs(below_one / (1 << 23) - 0.6826894921) < 1e-5);
}

static void directions_are_independent(void **state)
{
    enum { N = 40000 };
    struct noise_key other[4] = {key, key, key, key};

    other[0].draw[0] = 2;
    other[1].draw[2] = 6;
    other[2].stream = 4;
    other[3].query = 4;
    for (int kind = 0; kind < NOISE_KINDS; kind++) {
        double mean = 0, square = 0, product[4] = {0};
        for (uint64_t i = 0; i < N; i++) {
            const double z = (double) noise_value((enum noise) kind, &key, i);
            mean += z / N;
            square += z * z / N;
            for (int k = 0; k < 4; k++)
                product[k] +=
                    z * (double) noise_value((enum noise) kind, &other[k], i) /
                    N;
        }
        // Five sigma of the mean of so many.
        assert_true(fabs(mean) < 5 / sqrt(N));
        assert_true(fabs(square - 1) < 5 * sqrt(2.0 / N));
        for (int k = 0; k < 4; k++)
            assert_true(fabs(product[k]) < 5 / sqrt(N));
    }
}

// What was made once is made again in later versions, or journals are lost.
static void values_are_those_of_the_first_version(void **state)
{
    static const float gaussian[6] = {
        -0x1.1e5874p-2f, 0x1.2eccdp+0f,   -0x1.d4cc0ap-1f,
        0x1.e3115ap-1f,  -0x1.65f6eep+0f, 0x1.4c11fp-2f,
    };
    static const char signs[] = "--+++-++++-----++++--+--";

    for (uint64_t i = 0; i < 6; i++)
        assert_true(noise_value(NOISE_GAUSSIAN, &key, 1000 + i) == gaussian[i]);
    for (uint64_t i = 0; signs[i]; i++)
        assert_true(noise_value(NOISE_RADEMACHER, &key, 120 + i) ==
                    (signs[i] == '+' ? 1.0f : -1.0f));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_gaussian_has_the_moments_of_one),
        cmocka_unit_test(directions_are_independent),
        cmocka_unit_test(values_are_those_of_the_first_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
