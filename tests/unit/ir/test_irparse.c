// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/ir/irparse.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/base/str.h"
#include "engine/ir/irprint.h"

static const char sample[] =
    "input @tokens i32[6]\n"
    "weight @token_embd.weight q8_0[64,32]\n"
    "weight @norm f32[32]\n"
    "state @sum f32[6,32]\n"
    "%4 f32[6,32] = embed @tokens, @token_embd.weight\n"
    "%5 f32[6,32], %6 f32[6] = rmsnorm %4, @norm {eps=1e-05}\n"
    "%7 f32[6,32] = rmsnorm_dx %5, %4, @norm, %6 backward\n"
    "%8 f32[6,32] = accumulate @sum, %7 backward\n"
    "output @y %5\n";

static int parse(char **printed, const char *text, struct error *err)
{
    struct str s = {0};
    struct arena *a;
    struct graph *g;

    assert_int_equal(arena_create(&a, 64u << 20), 0);
    int rc = irparse_graph(&g, text, strlen(text), a, err);
    if (rc == 0 && printed) {
        irprint_graph(&s, g);
        assert_int_equal(str_finish(&s), 0);
        *printed = s.data;
    }
    arena_destroy(a);
    return rc;
}

static void reads_back_what_is_printed(void **state)
{
    char *printed;
    struct error err = {0};

    assert_int_equal(parse(&printed, sample, &err), 0);
    assert_string_equal(printed, sample);
    free(printed);
}

static void floats_survive(void **state)
{
    static const char *const texts[] = {"0.1", "1e-05", "3.14159274",
                                        "16777216", "-0.00012207031"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char text[160];
        char *printed;
        (void) snprintf(text, sizeof(text),
                        "input @x f32[2]\n%%1 f32[2] = scale @x {alpha=%s}\n",
                        texts[i]);
        assert_int_equal(parse(&printed, text, NULL), 0);
        const float want = strtof(texts[i], NULL);
        assert_true(strtof(strstr(printed, "alpha=") + 6, NULL) == want);
        free(printed);
    }
}

static void skips_remarks_and_takes_any_numbers(void **state)
{
    char *printed;

    assert_int_equal(parse(&printed,
                           "# remark\n\n  input  @x   f32 [ 2 , 3 ]\n"
                           "%900 f32[2,3]=scale @x{alpha = 2}\n"
                           "%7 f32[2,3] = add %900,%900",
                           NULL),
                     0);
    assert_string_equal(printed, "input @x f32[2,3]\n"
                                 "%1 f32[2,3] = scale @x {alpha=2}\n"
                                 "%2 f32[2,3] = add %1, %1\n");
    free(printed);
}

static void says_what_is_wrong_and_where(void **state)
{
    static const char *const rows[][2] = {
        {"input x", "line 1: expected @"},
        {"\noops @x f32[1]", "line 2: unexpected oops"},
        {"input @x f31[1]", "line 1: there is no type f31"},
        {"input @x f32[0]",
         "line 1: dimensions must be 1 or more, and hold at most 2^40 values"},
        {"input @x f32[2000000000,2000000000]",
         "line 1: dimensions must be 1 or more, and hold at most 2^40 values"},
        {"input @x f32[99999999999]", "line 1: number above 2147483647"},
        {"input @x f32[1,1,1,1,1]", "line 1: more than 4 dimensions"},
        {"weight @x q8_0[2,31]",
         "line 1: rows of q8_0 must be multiples of 32"},
        {"input @x f32[1]\ninput @x f32[1]", "line 2: @x is defined twice"},
        {"%1 f32[1] = scale @x", "line 1: @x is not defined"},
        {"%1 f32[1] = scale %2", "line 1: %2 is not defined"},
        {"%99999 f32[1] = scale %2", "line 1: number above 65535"},
        {"input @x f32[1]\n%1 f32[1] = melt @x",
         "line 2: there is no operator melt"},
        {"input @x f32[1]\n%1 f32[2] = scale @x",
         "line 2: output 0 must be f32[1]"},
        {"input @x f32[1]\n%1 f32[1], %2 f32[1] = scale @x",
         "line 2: scale has 1 outputs"},
        {"input @x f32[1]\n%1 f32[1] = scale @x {beta=1}",
         "line 2: there is no attribute beta"},
        {"input @x f32[1]\n%1 f32[1] = scale @x {trans_a=0.5}",
         "line 2: trans_a cannot be 0.5"},
        {"input @x f32[1]\n%1 f32[1] = scale @x {alpha=nan}",
         "line 2: alpha cannot be nan"},
        {"input @x f32[1]\n%1 f32[1] = add @x, @x, @x",
         "line 2: add: takes 2 to 2 inputs, got 3"},
        {"input @x f32[1]\n%1 f32[1] = scale @x sideways",
         "line 2: unexpected sideways"},
        {"input @x f32[1]\n%1 f32[1] = scale @x\noutput @x %1",
         "line 3: @x: the name or the value is taken"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct error err = {0};
        assert_int_equal(parse(NULL, rows[i][0], &err), -EINVAL);
        assert_string_equal(err.text, rows[i][1]);
    }
}

static void every_prefix_is_read_or_refused(void **state)
{
    char text[sizeof(sample)];

    for (size_t n = 0; n < sizeof(sample); n++) {
        memcpy(text, sample, n);
        text[n] = '\0';
        const int rc = parse(NULL, text, NULL);
        assert_true(rc == 0 || rc == -EINVAL);
    }
}

// As an empty file is mapped.
static void nothing_at_all_is_an_empty_graph(void **state)
{
    struct arena *a;
    struct graph *g;

    assert_int_equal(arena_create(&a, 64u << 20), 0);
    assert_int_equal(irparse_graph(&g, NULL, 0, a, NULL), 0);
    arena_destroy(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_back_what_is_printed),
        cmocka_unit_test(floats_survive),
        cmocka_unit_test(skips_remarks_and_takes_any_numbers),
        cmocka_unit_test(says_what_is_wrong_and_where),
        cmocka_unit_test(every_prefix_is_read_or_refused),
        cmocka_unit_test(nothing_at_all_is_an_empty_graph),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
