// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/out_table.h"

#include "engine/base/fault.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct out_column columns[] = {{"ID", true, false},
                                            {"NAME", false, true},
                                            {"STATE", false, false}};

static struct out_table *sample(void)
{
    struct out_table *t;

    assert_int_equal(out_table_create(&t, columns, 3), 0);
    out_table_text(t, "7");
    out_table_text(t, "a name that is rather long");
    out_table_text(t, "ok");
    out_table_cell(t, "%d", 1234);
    out_table_text(t, "b");
    out_table_text(t, "blocked");
    out_table_style(t, TERM_BAD);
    return t;
}

static void check(const struct out_table *t, const struct term *like,
                  bool header, const char *expected)
{
    struct term term = *like;
    char *text = NULL;
    size_t bytes;

    term.file = open_memstream(&text, &bytes);
    assert_int_equal(out_table_print(t, &term, header), 0);
    fclose(term.file);
    assert_string_equal(text, expected);
    free(text);
}

static void aligns_columns(void **state)
{
    struct out_table *t = sample();

    check(t, &(struct term){0}, true,
          "  ID  NAME                        STATE\n"
          "   7  a name that is rather long  ok\n"
          "1234  b                           blocked\n");
    check(t, &(struct term){0}, false,
          "   7  a name that is rather long  ok\n"
          "1234  b                           blocked\n");
    out_table_destroy(t);
}

static void shrinks_the_marked_column_on_a_terminal_only(void **state)
{
    struct out_table *t = sample();

    check(t, &(struct term){.columns = 30}, false,
          "   7  a name that ...  ok\n"
          "1234  b                blocked\n");
    // It keeps eight columns, whatever the terminal.
    check(t, &(struct term){.columns = 5}, false,
          "   7  a nam...  ok\n"
          "1234  b         blocked\n");
    out_table_destroy(t);
}

static void wraps_the_last_column_between_words(void **state)
{
    static const struct out_column two[] = {{"KEY", false, false},
                                            {"MEANING", false, OUT_WRAPS}};
    struct out_table *t;

    assert_int_equal(out_table_create(&t, two, 2), 0);
    out_table_text(t, "power");
    out_table_text(t, "a charger is needed, or a battery that is full");
    out_table_text(t, "idle");
    out_table_text(t, "see /var/lib/pockd/a-very-long-name-of-a-file, there");
    check(t, &(struct term){0}, true,
          "KEY    MEANING\n"
          "power  a charger is needed, or a battery that is full\n"
          "idle   see /var/lib/pockd/a-very-long-name-of-a-file, there\n");
    // A word that is too long is not cut in two.
    check(t, &(struct term){.columns = 32}, false,
          "power  a charger is needed, or a\n"
          "       battery that is full\n"
          "idle   see\n"
          "       /var/lib/pockd/a-very-long-name-of-a-file,\n"
          "       there\n");
    // Where little room is left beside it, below.
    check(t, &(struct term){.columns = 29}, false,
          "power  \n"
          "      a charger is needed, or\n"
          "      a battery that is full\n"
          "idle   \n"
          "      see\n"
          "      /var/lib/pockd/a-very-long-name-of-a-file,\n"
          "      there\n");
    check(t, &(struct term){.columns = 1}, false,
          "power  \n      a\n      charger\n      is\n      needed,\n"
          "      or\n      a\n      battery\n      that\n      is\n"
          "      full\n"
          "idle   \n      see\n"
          "      /var/lib/pockd/a-very-long-name-of-a-file,\n"
          "      there\n");
    out_table_destroy(t);
}

static void colours_cells_only_where_it_may(void **state)
{
    struct out_table *t = sample();

    check(t, &(struct term){.has_color = true}, false,
          "   7  a name that is rather long  ok\n"
          "1234  b                           \033[31mblocked\033[0m\n");
    out_table_destroy(t);
}

static void counts_characters_by_their_width(void **state)
{
    struct out_table *t;

    assert_int_equal(out_table_create(&t, columns, 3), 0);
    out_table_text(t, "1");
    out_table_text(t, "\xc3\xa9t\xc3\xa9");
    out_table_text(t, "x");
    out_table_text(t, "2");
    out_table_text(t, "abcd");
    out_table_text(t, "y");
    check(t, &(struct term){0}, false,
          "1  \xc3\xa9t\xc3\xa9   x\n"
          "2  abcd  y\n");
    out_table_destroy(t);
}

static void lets_no_cell_control_the_terminal(void **state)
{
    struct out_table *t;

    assert_int_equal(out_table_create(&t, columns, 3), 0);
    out_table_text(t, "1");
    out_table_text(t, "a\033]0;title\007b\nc\td\xff");
    out_table_text(t, "x");
    check(t, &(struct term){0}, false, "1  a?]0;title?b c d?  x\n");
    out_table_destroy(t);
}

static void prints_an_empty_table_as_its_heading(void **state)
{
    struct out_table *t;

    assert_int_equal(out_table_create(&t, columns, 3), 0);
    assert_int_equal(out_table_rows(t), 0);
    check(t, &(struct term){0}, true, "ID  NAME  STATE\n");
    out_table_destroy(t);
    out_table_destroy(NULL);
}

static void tells_that_memory_ran_out(void **state)
{
    for (unsigned long n = 1;; n++) {
        struct out_table *t = NULL;
        struct term term = {.file = tmpfile()};
        fault_arm(FAULT_ALLOC, n);
        int rc = out_table_create(&t, columns, 3);
        for (int i = 0; rc == 0 && i < 300; i++)
            out_table_text(t, "some text");
        if (rc == 0)
            rc = out_table_print(t, &term, true);
        bool fired = fault_fired(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        out_table_destroy(t);
        fclose(term.file);
        assert_int_equal(rc, fired ? -ENOMEM : 0);
        if (!fired)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(aligns_columns),
        cmocka_unit_test(shrinks_the_marked_column_on_a_terminal_only),
        cmocka_unit_test(wraps_the_last_column_between_words),
        cmocka_unit_test(colours_cells_only_where_it_may),
        cmocka_unit_test(counts_characters_by_their_width),
        cmocka_unit_test(lets_no_cell_control_the_terminal),
        cmocka_unit_test(prints_an_empty_table_as_its_heading),
        cmocka_unit_test(tells_that_memory_ran_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
