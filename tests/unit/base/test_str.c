// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/str.h"

#include "engine/base/fault.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void grows_and_formats(void **state)
{
    struct str s = {0};
    for (int i = 0; i < 100; i++)
        str_printf(&s, "%d,", i);
    str_putc(&s, '!');
    assert_int_equal(str_finish(&s), 0);
    assert_int_equal(s.bytes, 10 * 2 + 90 * 3 + 1);
    assert_int_equal(strlen(s.data), s.bytes);
    str_free(&s);
}

static void latches_the_first_failure(void **state)
{
    struct str s = {.limit = 8};
    str_puts(&s, "12345678");
    assert_int_equal(str_finish(&s), 0);
    str_putc(&s, '9');
    assert_int_equal(str_finish(&s), -E2BIG);
    str_clear(&s);
    str_puts(&s, "ok");
    assert_string_equal(s.data, "ok");
    str_free(&s);

    fault_arm(FAULT_ALLOC, 1);
    str_puts(&s, "x");
    fault_arm(FAULT_ALLOC, 0);
    str_puts(&s, "y");
    assert_int_equal(str_finish(&s), -ENOMEM);
    str_free(&s);
}

static void escapes_json(void **state)
{
    struct str s = {0};
    str_json(&s, "a\"b\\\n\x01\xc3\xa9\xff", 9);
    assert_string_equal(s.data, "\"a\\\"b\\\\\\n\\u0001\xc3\xa9\\ufffd\"");
    str_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_formats),
        cmocka_unit_test(latches_the_first_failure),
        cmocka_unit_test(escapes_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
