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

static void what_contradicts_itself_is_refused_with_a_sentence(void **state)
{
    static const struct {
        const char *key;
        double value;
        const char *says;
    } cases[] = {
        {"level_start_pct", 20, "level_keep_pct is 30: training would stop"},
        {"level_keep_pct", 50, "level_start_pct is 40"},
        {"battery_temp_start_c", 43, "at most the second"},
        {"battery_temp_keep_c", 10, "battery_temp_keep_c is 10"},
        {"thermal_start", 2, "thermal_keep is 1"},
        {"psi_mem_full", 0.5, "psi_mem_full_start is 1"},
        {"window_end_min", 0, "the window is empty"},
        {"window_start_min", 1440, "the window is empty"},
    };
    const struct policy_row *a;
    const struct policy_row *b;
    struct policy fallback;

    policy_init(&fallback);
    assert_int_equal(policy_check(&fallback, &a, &b, NULL), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct policy p = fallback;
        struct error err = {0};
        assert_int_equal(policy_set(&p, cases[i].key, cases[i].value, &err), 0);
        assert_int_equal(policy_check(&p, &a, &b, &err), -EINVAL);
        if (!strstr(err.text, cases[i].says))
            fail_msg("%s: %s", cases[i].key, err.text);
        // The store may hold it; then the configuration's values are taken.
        assert_int_equal(policy_mend(&p, &fallback, &err), -EINVAL);
        assert_int_equal(policy_check(&p, &a, &b, NULL), 0);
    }
}

static void windows_are_checked_when_they_are_set(void **state)
{
    const struct policy_row *a;
    const struct policy_row *b;
    struct error err = {0};
    struct policy p;

    policy_init(&p);
    assert_int_equal(policy_set_text(&p, "windows", "mon-fri/22:00-06:00",
                                     &err),
                     0);
    assert_int_equal(policy_check(&p, &a, &b, &err), 0);
    // The two numbers do not matter then.
    p.window_end_min = 0;
    assert_int_equal(policy_check(&p, &a, &b, &err), 0);
    assert_int_equal(policy_set_text(&p, "windows", "at-night", &err), 0);
    assert_int_equal(policy_check(&p, &a, &b, &err), -EINVAL);
    assert_non_null(strstr(err.text, "policy windows: at-night is no window"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_default_is_one_that_may_be_set),
        cmocka_unit_test(numbers_and_texts_are_not_mixed_up),
        cmocka_unit_test(a_text_is_kept_without_idle_blanks),
        cmocka_unit_test(wrong_texts_are_refused_and_change_nothing),
        cmocka_unit_test(a_text_has_a_longest_length),
        cmocka_unit_test(what_contradicts_itself_is_refused_with_a_sentence),
        cmocka_unit_test(windows_are_checked_when_they_are_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
