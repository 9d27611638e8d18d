// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/suggest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void check(const char *typed, const char *meant)
{
    static const char *const words[] = {"status", "why",   "data", "train",
                                        "gen",    "score", "on",   "off"};
    struct suggest s;

    suggest_init(&s, typed, strlen(typed));
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        suggest_consider(&s, words[i], strlen(words[i]));
    if (!meant) {
        assert_null(s.best);
        return;
    }
    assert_non_null(s.best);
    assert_int_equal(s.best_bytes, strlen(meant));
    assert_memory_equal(s.best, meant, s.best_bytes);
}

static void finds_the_word_that_a_slip_made_wrong(void **state)
{
    check("statu", "status");
    check("sttatus", "status");
    check("stabus", "status");
    check("stauts", "status"); // two in the wrong order
    check("staust", "status"); // two slips
    check("dtaa", "data");
    check("wy", "why");
    check("of", "on"); // and as near to off, which comes later
}

static void leaves_alone_what_is_far_from_all(void **state)
{
    check("frobnicate", NULL);
    check("date-of-birth", NULL);
    check("xx", NULL);
    check("dxxa", NULL); // two slips in a short word
    check("", NULL);
    check("o", NULL);
    check("a-word-that-is-far-longer-than-any-command-could-be", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_word_that_a_slip_made_wrong),
        cmocka_unit_test(leaves_alone_what_is_far_from_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
