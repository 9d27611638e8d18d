// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/policy.h"

static void every_default_is_one_that_may_be_set(void **state)
{
    struct error err = {0};
    struct policy p;

    policy_init(&p);
    for (size_t i = 0; i < policy_row_count; i++) {
        const struct policy_row *row = &policy_rows[i];
        if (row->kind == POLICY_KIND_TEXT)
            assert_string_equal(policy_get_text(&p, row), "");
        else
            assert_int_equal(policy_set(&p, row->name, row->fallback, &err), 0);
    }
}

static void numbers_and_texts_are_not_mixed_up(void **state)
{
    const struct policy_row *number = policy_find("train_rank");
    const struct policy_row *text = policy_find("train_scheme");
    struct error err = {0};
    struct policy p;

    policy_init(&p);
    assert_int_equal(policy_set(&p, "train_scheme", 1, &err), -EINVAL);
    assert_non_null(strstr(err.text, "train_scheme must be a text"));
    assert_int_equal(policy_set_bytes(&p, number, "4", 1, &err), -EINVAL);
    assert_non_null(strstr(err.text, "train_rank must be a number"));
    assert_string_equal(policy_get_text(&p, text), "");
    assert_string_equal(policy_get_text(&p, number), "");
    assert_true(policy_get(&p, number) == 8);
}

static void a_text_is_kept_without_idle_blanks(void **state)
{
    const struct policy_row *row = policy_find("train_scheme");
    struct error err = {0};
    struct policy p;
    struct policy other;

    policy_init(&p);
    policy_init(&other);
    assert_int_equal(policy_set_text(&p, "train_scheme", " lora-last:4\n",
                                     &err),
                     0);
    assert_string_equal(p.train_scheme, "lora-last:4");
    policy_copy(&other, &p, row);
    assert_string_equal(other.train_scheme, "lora-last:4");
    assert_int_equal(policy_set_text(&p, "train_scheme",
                                     "{ \"rules\":\r\n\t[ 1 ] }", &err),
                     0);
    assert_string_equal(p.train_scheme, "{\"rules\":[1]}");
    policy_init(&p);
    assert_string_equal(p.train_scheme, "");
}

static void wrong_texts_are_refused_and_change_nothing(void **state)
{
    static const struct {
        const char *text;
        size_t bytes;
        const char *says;
    } bad[] = {
        {"", 0, "train_scheme is empty"},
        {" \n", 2, "train_scheme is empty"},
        {"lora\x01", 5, "printable ASCII"},
        {"lora\0all", 8, "printable ASCII"},
        {"{\"a b\":1}", 9, "without blanks in its names"},
        {"{\"a\n\":1}", 9, "printable ASCII"},
        {"l\xc3\xb6ra", 5, "printable ASCII"},
    };
    const struct policy_row *row = policy_find("train_scheme");
    struct policy p;

    policy_init(&p);
    strcpy(p.train_scheme, "norms");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error err = {0};
        assert_int_equal(policy_set_bytes(&p, row, bad[i].text, bad[i].bytes,
                                          &err),
                         -EINVAL);
        if (!strstr(err.text, bad[i].says))
            fail_msg("'%s' does not say '%s'", err.text, bad[i].says);
        assert_string_equal(p.train_scheme, "norms");
    }
}

static void a_text_has_a_longest_length(void **state)
{
    const struct policy_row *row = policy_find("train_scheme");
    struct error err = {0};
    char text[POLICY_TEXT_BYTES];
    struct policy p;

    policy_init(&p);
    memset(text, 'x', sizeof(text));
    assert_true(row->max == POLICY_TEXT_BYTES - 1);
    assert_int_equal(policy_set_bytes(&p, row, text, sizeof(text), &err),
                     -E2BIG);
    assert_non_null(strstr(err.text, "longer than 4095 characters"));
    assert_string_equal(p.train_scheme, "");
    assert_int_equal(policy_set_bytes(&p, row, text, sizeof(text) - 1, &err),
                     0);
    assert_int_equal(strlen(p.train_scheme), sizeof(text) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_default_is_one_that_may_be_set),
        cmocka_unit_test(numbers_and_texts_are_not_mixed_up),
        cmocka_unit_test(a_text_is_kept_without_idle_blanks),
        cmocka_unit_test(wrong_texts_are_refused_and_change_nothing),
        cmocka_unit_test(a_text_has_a_longest_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
