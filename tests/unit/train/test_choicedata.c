// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/support/choicedata.h"

#include "engine/base/error.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void put(const char *dir, const char *name, const char *text)
{
    char path[256];

    (void) snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void) fputs(text, f);
    (void) fclose(f);
}

static int setup(void **state)
{
    static char dir[32];

    (void) strcpy(dir, "/tmp/choice.XXXXXX");
    *state = mkdtemp(dir);
    return *state ? 0 : -1;
}

static int teardown(void **state)
{
    static const char *const names[] = {"train.tsv", "dev.tsv"};
    char path[256];

    for (int i = 0; i < 2; i++) {
        (void) snprintf(path, sizeof path, "%s/%s", (char *) *state, names[i]);
        (void) unlink(path);
    }
    return rmdir(*state);
}

static void as_many_of_each_label_are_taken(void **state)
{
    struct choicedata d;
    struct error err = {0};

    put(*state, "train.tsv",
        "label\tsentence\n1\tfine \n1\tlovely\n1\tgreat\n0\tdull\r\n0\tbad\n");
    put(*state, "dev.tsv", "label\tcontent\n0\tso so\n1\tnice");
    assert_int_equal(choicedata_load(&d, *state, 4, 2, &err), 0);
    assert_int_equal(d.n_learned, 4);
    assert_int_equal(d.n, 6);
    int good = 0;
    for (size_t i = 0; i < d.n; i++)
        good += d.choices[i].label;
    assert_int_equal(good, 3);
    assert_string_equal(d.choices[0].prompt,
                        "Review: fine\nIs it good or bad?");
    assert_string_equal(d.choices[2].prompt,
                        "Review: dull\nIs it good or bad?");
    choicedata_finish(&d);
}

static void a_line_without_label_is_refused(void **state)
{
    static const char *const bad[] = {"2\tfine\n", "good\n", "1 fine\n",
                                      "1\t\n", "1\t \n"};

    put(*state, "dev.tsv", "label\tcontent\n0\tso so\n");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct choicedata d;
        struct error err = {0};
        char text[64];
        (void) snprintf(text, sizeof text, "label\tsentence\n%s", bad[i]);
        put(*state, "train.tsv", text);
        assert_int_equal(choicedata_load(&d, *state, 4, 2, &err), -EINVAL);
        assert_non_null(strstr(err.text, "train.tsv: a line is no label"));
    }
}

static void a_missing_file_is_named(void **state)
{
    struct choicedata d;
    struct error err = {0};

    put(*state, "train.tsv", "label\tsentence\n1\tfine\n");
    assert_int_equal(choicedata_load(&d, *state, 4, 2, &err), -ENOENT);
    assert_non_null(strstr(err.text, "dev.tsv"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(as_many_of_each_label_are_taken, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_line_without_label_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_missing_file_is_named, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
