// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/half.h"

#include "engine/base/bits.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

// The value of a finite half by its definition.
static double half_value(uint16_t h)
{
    int exponent = h >> 10 & 31;
    double m = exponent ? 1024 + (h & 1023) : (h & 1023);
    double x = ldexp(m, (exponent ? exponent : 1) - 25);
    return h & 0x8000 ? -x : x;
}

static void widens_every_half_exactly(void **state)
{
    for (uint32_t h = 0; h < 0x10000; h++) {
        float f = half_to_f32((uint16_t) h);
        if ((h >> 10 & 31) < 31)
            assert_true((double) f == half_value((uint16_t) h));
        else if (h & 1023)
            assert_true(isnan(f));
        else
            assert_true(isinf(f) && (f < 0) == (h >> 15));
        assert_int_equal(half_from_f32(f) & 0xfdff, h & 0xfdff);
        if (!isnan(f))
            assert_int_equal(half_from_f32(f), h);
    }
}

// Between two neighbours: the nearer, and in the middle the even one.
static void narrows_to_the_nearest_half(void **state)
{
    for (uint16_t h = 0; h < 0x7bff; h++) {
        double lo = half_value(h), hi = half_value((uint16_t) (h + 1));
        float middle = (float) ((lo + hi) / 2);
        assert_int_equal(half_from_f32(middle), h & 1 ? h + 1 : h);
        assert_int_equal(half_from_f32(nextafterf(middle, 0)), h);
        assert_int_equal(half_from_f32(nextafterf(middle, 1e9f)), h + 1);
        assert_int_equal(half_from_f32(-nextafterf(middle, 0)), h | 0x8000);
    }
    assert_int_equal(half_from_f32(65519.996f), 0x7bff);
    assert_int_equal(half_from_f32(65520.0f), 0x7c00);
    assert_int_equal(half_from_f32(1e30f), 0x7c00);
    assert_int_equal(half_from_f32(1e-30f), 0);
}

static void narrows_to_the_nearest_bf16(void **state)
{
    for (uint32_t b = 0; b < 0x7f7f; b++) {
        uint32_t middle = b << 16 | 0x8000;
        assert_int_equal(bf16_from_f32(bf16_to_f32((uint16_t) b)), b);
        assert_int_equal(bf16_from_f32(bits_to_f32(middle)), b & 1 ? b + 1 : b);
        assert_int_equal(bf16_from_f32(bits_to_f32(middle - 1)), b);
        assert_int_equal(bf16_from_f32(bits_to_f32(middle + 1)), b + 1);
    }
    assert_int_equal(bf16_from_f32(INFINITY), 0x7f80);
    assert_true(isnan(bf16_to_f32(bf16_from_f32(bits_to_f32(0x7f800001)))));
}

static void checks_sizes(void **state)
{
    uint64_t x = 7;
    assert_false(bits_add(&x, UINT64_MAX, 1));
    assert_false(bits_mul(&x, UINT64_MAX / 2, 3));
    assert_false(bits_align_checked(&x, UINT64_MAX - 3, 32));
    assert_int_equal(x, 7);
    assert_true(bits_align_checked(&x, 33, 32));
    assert_int_equal(x, 64);
    assert_true(bits_is_pow2(32) && !bits_is_pow2(0) && !bits_is_pow2(24));
    unsigned char b[9] = {0};
    bits_store64(b + 1, 0x0102030405060708);
    assert_int_equal(bits_load64(b + 1), 0x0102030405060708);
    assert_int_equal(bits_load32(b + 1), 0x05060708);
    assert_int_equal(bits_load16(b + 1), 0x0708);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(widens_every_half_exactly),
        cmocka_unit_test(narrows_to_the_nearest_half),
        cmocka_unit_test(narrows_to_the_nearest_bf16),
        cmocka_unit_test(checks_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
