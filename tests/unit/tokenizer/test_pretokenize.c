// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/tokenizer/pretokenize.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

// `want` is the text again with | between the pieces.
static void assert_cut(const char *text, const char *want)
{
    char got[200];
    size_t n = 0, left = strlen(text);
    while (left > 0) {
        size_t piece = pretokenize_gpt2(text, left);
        assert_true(piece > 0 && piece <= left);
        if (n > 0)
            got[n++] = '|';
        memcpy(got + n, text, piece);
        n += piece;
        text += piece;
        left -= piece;
    }
    got[n] = '\0';
    assert_string_equal(got, want);
}

static void cuts_words_numbers_and_marks(void **state)
{
    assert_cut("Hello, world!", "Hello|,| world|!");
    assert_cut("ab12!?x", "ab|12|!?|x");
    assert_cut(" 12 ab !", " 12| ab| !");
    assert_cut("\xc3\xa9t\xc3\xa9 \xe4\xbd\xa0\xe5\xa5\xbd",
               "\xc3\xa9t\xc3\xa9| \xe4\xbd\xa0\xe5\xa5\xbd");
    assert_cut("\xd9\xa3\xd9\xa4x", "\xd9\xa3\xd9\xa4|x");
}

static void cuts_contractions(void **state)
{
    assert_cut("I'll we've don't he'd I'm it's they're",
               "I|'ll| we|'ve| don|'t| he|'d| I|'m| it|'s| they|'re");
    assert_cut("I'LL", "I|'|LL");
    assert_cut("'sx", "'s|x");
    assert_cut("''s", "''|s");
    assert_cut(" 's", " '|s");
    assert_cut("'l", "'|l");
    assert_cut("'", "'");
}

static void leaves_one_blank_to_the_next_word(void **state)
{
    assert_cut("a   b", "a|  | b");
    assert_cut("a  ", "a|  ");
    assert_cut("  ", "  ");
    assert_cut("\n\nb", "\n|\n|b");
    assert_cut(" \nb", " |\n|b");
    assert_cut("a \n", "a| \n");
    assert_cut("a\xc2\xa0\xe3\x80\x80"
               "b",
               "a|\xc2\xa0|\xe3\x80\x80|b");
    assert_cut("a \xe3\x80\x80 b", "a| \xe3\x80\x80| b");
}

static void takes_bytes_that_are_not_utf8(void **state)
{
    assert_cut("a\xff\xfe"
               "b",
               "a|\xff\xfe|b");
    assert_cut(" \xc3", " \xc3");
    assert_cut("\xed\xa0\x80", "\xed\xa0\x80");
    assert_cut("!\x80\x80", "!\x80\x80");
}

static void knows_classes_of_characters(void **state)
{
    assert_int_equal(pretokenize_class('a'), UNICODE_LETTER);
    assert_int_equal(pretokenize_class(0xaa), UNICODE_LETTER);
    assert_int_equal(pretokenize_class(0x4e00), UNICODE_LETTER);
    assert_int_equal(pretokenize_class(0x9fff), UNICODE_LETTER);
    assert_int_equal(pretokenize_class(0xb2), UNICODE_NUMBER);
    assert_int_equal(pretokenize_class(0x2167), UNICODE_NUMBER);
    assert_int_equal(pretokenize_class(0x85), UNICODE_SPACE);
    assert_int_equal(pretokenize_class(0x202f), UNICODE_SPACE);
    assert_int_equal(pretokenize_class(0x200b), UNICODE_OTHER);
    assert_int_equal(pretokenize_class(0x1f600), UNICODE_OTHER);
    assert_int_equal(pretokenize_class(0x301), UNICODE_OTHER);
    assert_int_equal(pretokenize_class(0x10ffff), UNICODE_OTHER);
    for (size_t i = 0; i < unicode_n_ranges; i++) {
        assert_true(unicode_ranges[i].first <= unicode_ranges[i].last);
        if (i > 0)
            assert_true(unicode_ranges[i - 1].last < unicode_ranges[i].first);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_words_numbers_and_marks),
        cmocka_unit_test(cuts_contractions),
        cmocka_unit_test(leaves_one_blank_to_the_next_word),
        cmocka_unit_test(takes_bytes_that_are_not_utf8),
        cmocka_unit_test(knows_classes_of_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
