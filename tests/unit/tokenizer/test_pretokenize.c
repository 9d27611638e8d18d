// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/tokenizer/pretokenize.h"

#include "engine/base/str.h"
#include "engine/tokenizer/unicode_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

// `want` is the text again with | between the pieces.
static void assert_cut_by(const char *name, const char *text, const char *want)
{
    struct pretokenize p;
    struct str got = {0};
    size_t n;
    const struct pretokenizer *pre = pretokenizer_find(name);
    assert_non_null(pre);
    pretokenize_start(&p, pre, text, strlen(text));
    while ((n = pretokenize_next(&p)) > 0) {
        if (got.bytes > 0)
            str_putc(&got, '|');
        str_append(&got, (const char *) p.at - n, n);
    }
    assert_int_equal(str_finish(&got), 0);
    if (strcmp(got.data ? got.data : "", want) != 0)
        fail_msg("%s: got %s, not %s", name, got.data, want);
    str_free(&got);
}

static void assert_cut(const char *text, const char *want)
{
    assert_cut_by("gpt-2", text, want);
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

static void cuts_as_llama3_and_qwen2(void **state)
{
    static const char text[] = "I'LL (see) 12345.\n\n  x\t y";
    assert_cut_by("llama-bpe", text,
                  "I|'LL| (|see|)| |123|45|.\n\n| | x|\t| y");
    assert_cut_by("qwen2", text, "I|'LL| (|see|)| |1|2|3|4|5|.\n\n| | x|\t| y");
    assert_cut_by("dbrx", "a  \n b", "a|  \n| b");
    assert_cut_by("llama3", "\xc3\xa9\xc3\xa9 \xd9\xa3",
                  "\xc3\xa9\xc3\xa9| |"
                  "\xd9\xa3");
    assert_cut_by("qwen2", "a\r\n\r\n", "a|\r\n\r\n");
    assert_cut_by("qwen2", " !a", " !|a");
    assert_cut_by("qwen2", "!a", "!a");
    assert_cut_by("qwen2", "  ", "  ");
}

static void cuts_numbers_first(void **state)
{
    assert_cut_by("smollm", "a 12 b", "a| |1|2| b");
    assert_cut_by("starcoder", "don't 1", "don|'t| |1");
    assert_cut_by("falcon", "a12345 (x)", "a|123|45| |(|x|)");
    assert_cut_by("default", "a1234`b", "a|123|4|`|b");
}

static void cuts_as_deepseek(void **state)
{
    assert_cut_by("deepseek-v3", "x=1234 f(a)\n", "x|=|123|4| f|(a|)\n");
    assert_cut_by("deepseek-v3", "\x01\x01 ab", "\x01\x01| ab");
    assert_cut_by("deepseek-v3", "\xe4\xbd\xa0\xe3\x81\x82x",
                  "\xe4\xbd\xa0\xe3\x81\x82|x");
    assert_cut_by("deepseek-llm", "a b,12\n\nx  ", "a| b|,|12|\n|\n|x|  ");
    assert_cut_by("deepseek-coder", "a b,12\n", "a| b|,|1|2|\n");
}

static void cuts_by_case(void **state)
{
    assert_cut_by("tekken", "HelloWorld ABCdef", "Hello|World| ABCdef");
    assert_cut_by("tekken", "it's//\n12", "it|'s|//\n|1|2");
    assert_cut_by("gpt-4o", "it's ABC'S 1234", "it's| ABC'S| |123|4");
    // What llama.cpp knows of case is ASCII.
    assert_cut_by("tekken", "aB\xc3\xa9\xc3\x89 e\xcc\x81x",
                  "a|B\xc3\xa9\xc3\x89| e|\xcc\x81x");
    assert_cut_by("hf:tekken", "aB\xc3\xa9\xc3\x89 e\xcc\x81x",
                  "a|B\xc3\xa9|\xc3\x89| e\xcc\x81x");
    // An upper-case letter behind one without case begins a word.
    assert_cut_by("gpt-4o",
                  "\xe4\xbd\xa0"
                  "B",
                  "\xe4\xbd\xa0|B");
}

static void gives_all_text_back(void **state)
{
    static const char alphabet[] = "aZ0 \n\r'\t.,$\xc3\xa9\xff\xe4\xbd\xa0";
    uint32_t seed = 1;
    for (int round = 0; round < 3000; round++) {
        char text[24];
        struct pretokenize p;
        size_t bytes = (size_t) round % sizeof(text), n, sum = 0;
        for (size_t i = 0; i < bytes; i++) {
            seed = seed * 1664525u + 1013904223u;
            text[i] = alphabet[(seed >> 16) % (sizeof(alphabet) - 1)];
        }
        const struct pretokenizer *pre;
        for (unsigned k = 0; (pre = pretokenizer_at(k)); k++) {
            pretokenize_start(&p, pre, text, bytes);
            for (sum = 0; (n = pretokenize_next(&p)) > 0; sum += n)
                assert_true(sum + n <= bytes);
            assert_int_equal(sum, bytes);
        }
    }
}

static void finds_names(void **state)
{
    struct str names = {0};
    assert_ptr_equal(pretokenizer_find("llama3"),
                     pretokenizer_find("llama-bpe"));
    assert_true(pretokenizer_find("llama3")->ignore_merges);
    assert_null(pretokenizer_find("llama"));
    assert_null(pretokenizer_find(""));
    assert_null(pretokenizer_find("gpt-2 gpt2"));
    pretokenizer_names(&names);
    assert_int_equal(str_finish(&names), 0);
    assert_non_null(strstr(names.data, " qwen2 "));
    str_free(&names);
}

static void knows_classes_of_characters(void **state)
{
    static const struct {
        uint32_t c;
        enum unicode_class class;
    } cases[] = {
        {'a', UNICODE_LOWER},      {'Z', UNICODE_UPPER},
        {0x1c5, UNICODE_UPPER},    {0xaa, UNICODE_LETTER},
        {0x4e00, UNICODE_LETTER},  {0x9fff, UNICODE_LETTER},
        {0xb2, UNICODE_NUMBER},    {0x2167, UNICODE_NUMBER},
        {0x85, UNICODE_SPACE},     {0x202f, UNICODE_SPACE},
        {0x200b, UNICODE_OTHER},   {0x1f600, UNICODE_SYMBOL},
        {0x301, UNICODE_MARK},     {0xe0100, UNICODE_MARK},
        {0x10ffff, UNICODE_OTHER}, {0xe000, UNICODE_OTHER},
        {0x3001, UNICODE_PUNCT},   {'$', UNICODE_SYMBOL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (unicode_class_of(cases[i].c) != cases[i].class)
            fail_msg("U+%04X is %d", cases[i].c, unicode_class_of(cases[i].c));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_words_numbers_and_marks),
        cmocka_unit_test(cuts_contractions),
        cmocka_unit_test(leaves_one_blank_to_the_next_word),
        cmocka_unit_test(takes_bytes_that_are_not_utf8),
        cmocka_unit_test(cuts_as_llama3_and_qwen2),
        cmocka_unit_test(cuts_numbers_first),
        cmocka_unit_test(cuts_as_deepseek),
        cmocka_unit_test(cuts_by_case),
        cmocka_unit_test(gives_all_text_back),
        cmocka_unit_test(finds_names),
        cmocka_unit_test(knows_classes_of_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
