// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/term.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void colours_a_file_only_when_told_to(void **state)
{
    struct term t;
    FILE *f = tmpfile();

    unsetenv("NO_COLOR");
    setenv("TERM", "xterm", 1);
    term_init(&t, f, TERM_COLOR_AUTO);
    assert_false(t.is_tty);
    assert_false(t.has_color);
    assert_int_equal(t.columns, 0);
    assert_string_equal(term_on(&t, TERM_BAD), "");
    assert_string_equal(term_off(&t, TERM_BAD), "");
    term_init(&t, f, TERM_COLOR_ALWAYS);
    assert_true(t.has_color);
    assert_string_equal(term_on(&t, TERM_BAD), "\033[31m");
    assert_string_equal(term_off(&t, TERM_PLAIN), "");
    term_init(&t, f, TERM_COLOR_NEVER);
    assert_false(t.has_color);
    fclose(f);
}

static void measures_what_is_no_text_as_one_column_a_byte(void **state)
{
    assert_int_equal(term_width("abc", 3), 3);
    assert_int_equal(term_width("\xc3\xa9", 2), 1);
    assert_int_equal(term_width("\xff\xfe", 2), 2);
    assert_int_equal(term_fit("abcdef", 6, 4), 4);
    assert_int_equal(term_fit("\xc3\xa9\xc3\xa9\xc3\xa9", 6, 2), 4);
    assert_int_equal(term_fit("", 0, 4), 0);
}

static void makes_text_harmless(void **state)
{
    static const struct {
        const char *in;
        const char *one_line;
        const char *many;
    } rows[] = {
        {"plain", "plain", "plain"},
        {"a\nb\tc", "a b c", "a\nb\tc"},
        {"\033[2J", "?[2J", "?[2J"},
        {"\xc2\x9b"
         "31m",
         "?31m", "?31m"},           // CSI as one C1 character
        {"\xe2\x80\xae", "?", "?"}, // right-to-left override
        {"a\rb\x7f", "a?b?", "a?b?"},
        {"\xc3\xa9\xff", "\xc3\xa9?", "\xc3\xa9?"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct str s = {0};
        term_text(&s, rows[i].in, strlen(rows[i].in), true);
        assert_string_equal(s.data, rows[i].one_line);
        str_clear(&s);
        term_text(&s, rows[i].in, strlen(rows[i].in), false);
        assert_string_equal(s.data, rows[i].many);
        str_free(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(colours_a_file_only_when_told_to),
        cmocka_unit_test(measures_what_is_no_text_as_one_column_a_byte),
        cmocka_unit_test(makes_text_harmless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
