// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/utf8.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool valid(const char *s)
{
    return utf8_is_valid(s, strlen(s));
}

static void accepts_each_length(void **state)
{
    assert_true(valid(""));
    assert_true(valid("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x9d"));
    assert_true(valid("\xf4\x8f\xbf\xbf"));
}

static void refuses_what_the_standard_forbids(void **state)
{
    static const char *const bad[] = {
        "\x80",             // a continuation alone
        "\xc0\x80",         // overlong NUL
        "\xe0\x80\x80",     // overlong
        "\xed\xa0\x80",     // a surrogate
        "\xf0\x80\x80\x80", // overlong
        "\xf4\x90\x80\x80", // above U+10FFFF
        "\xf5\x80\x80\x80",
        "\xe2\x82",
        "\xff",
        "\xe2\x28\xa1",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(valid(bad[i]));
}

// Every scalar value encodes to a sequence that decodes to it again.
static void decodes_every_scalar_value(void **state)
{
    for (uint32_t c = 0; c < 0x110000; c++) {
        unsigned char b[4];
        size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        static const unsigned char lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
        for (size_t i = n; i-- > 0;)
            b[i] = (unsigned char) (0x80 | (c >> 6 * (n - 1 - i) & 0x3f));
        b[0] = (unsigned char) (lead[n] | c >> 6 * (n - 1));
        size_t got = utf8_length(b, n);
        if (c >= 0xd800 && c < 0xe000) {
            assert_int_equal(got, 0);
            continue;
        }
        assert_int_equal(got, n);
        assert_int_equal(utf8_decode(b, n), c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_each_length),
        cmocka_unit_test(refuses_what_the_standard_forbids),
        cmocka_unit_test(decodes_every_scalar_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
