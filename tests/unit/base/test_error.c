// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/error.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void returns_the_code_with_a_sentence(void **state)
{
    struct error err = {0};
    assert_int_equal(error_set(&err, -EINVAL, "rank %d", 3), -EINVAL);
    assert_string_equal(err.text, "rank 3");
    assert_int_equal(err.code, -EINVAL);
    assert_int_equal(error_set(NULL, -ENOMEM, "no sink"), -ENOMEM);
}

static void puts_the_context_in_front(void **state)
{
    struct error err = {0};
    error_set(&err, -EINVAL, "tensor 3 ends past the file");
    error_prefix(&err, -EINVAL, "model %s", "a.gguf");
    assert_string_equal(err.text, "model a.gguf: tensor 3 ends past the file");
}

static void cuts_a_sentence_that_is_too_long(void **state)
{
    struct error err = {0};
    char text[2 * sizeof(err.text)];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    error_set(&err, -EINVAL, "%s", text);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    error_prefix(&err, -EINVAL, "%s", text);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(returns_the_code_with_a_sentence),
        cmocka_unit_test(puts_the_context_in_front),
        cmocka_unit_test(cuts_a_sentence_that_is_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
