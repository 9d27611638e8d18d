// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/cmdline.h"
#include "clients/pockctl/ctl.h"
#include "ipc/rpc_error.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WORDS_MAX = 32 };

struct parsed {
    struct cmdline line;
    struct error err;
    char *argv[WORDS_MAX];
    char text[512];
    int rc;
};

// Splits at single blanks, as a shell would.
static void parse(struct parsed *p, const char *command)
{
    int argc = 0;

    *p = (struct parsed){0};
    snprintf(p->text, sizeof(p->text), "pockctl %s", command);
    for (char *word = strtok(p->text, " "); word; word = strtok(NULL, " "))
        p->argv[argc++] = word;
    p->rc = cmdline_parse(&p->line, argc, p->argv, &p->err);
}

static void check_error(const char *command, const char *sentence)
{
    struct parsed p;

    parse(&p, command);
    assert_int_equal(p.rc, -EINVAL);
    if (!strstr(p.err.text, sentence))
        fail_msg("\"%s\" says: %s", command, p.err.text);
}

static void finds_a_command_of_two_words_and_its_arguments(void **state)
{
    struct parsed p;

    parse(&p, "data import a.jsonl b.md");
    assert_int_equal(p.rc, 0);
    assert_string_equal(p.line.command->words, "data import");
    assert_int_equal(p.line.arg_count, 2);
    assert_string_equal(p.line.args[1], "b.md");
}

static void takes_options_anywhere(void **state)
{
    static const char *const same[] = {
        "--json data list --stream notes -q",
        "data --json -q list -s notes",
        "data list -qs notes --json",
        "data list --stream=notes -q --json",
        "data list -snotes -q --json",
    };

    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        struct parsed p;
        parse(&p, same[i]);
        assert_int_equal(p.rc, 0);
        assert_string_equal(p.line.command->words, "data list");
        assert_true(p.line.given[FLAG_JSON]);
        assert_true(p.line.given[FLAG_QUIET]);
        assert_string_equal(p.line.values[FLAG_STREAM], "notes");
        assert_int_equal(p.line.arg_count, 0);
    }
}

static void ends_options_at_two_dashes(void **state)
{
    struct parsed p;

    parse(&p, "gen -- --what");
    assert_int_equal(p.rc, 0);
    assert_string_equal(p.line.args[0], "--what");
    parse(&p, "gen -");
    assert_int_equal(p.rc, 0);
    assert_string_equal(p.line.args[0], "-");
}

static void leaves_an_inhibited_command_alone(void **state)
{
    struct parsed p;

    parse(&p, "inhibit --debug make -j4 --json");
    assert_int_equal(p.rc, 0);
    assert_true(p.line.given[FLAG_DEBUG]);
    assert_false(p.line.given[FLAG_JSON]);
    assert_int_equal(p.line.arg_count, 3);
    assert_string_equal(p.line.args[2], "--json");
    parse(&p, "inhibit -- --odd");
    assert_int_equal(p.rc, 0);
    assert_string_equal(p.line.args[0], "--odd");
}

static void explains_what_is_wrong(void **state)
{
    check_error("frobnicate", "there is no command \"frobnicate\"");
    check_error("data", "needs a second word");
    check_error("data improt x", "there is no command \"data improt\"");
    check_error("data list --bogus",
                "there is no option --bogus: see `pockctl help`");
    check_error("data list -z", "there is no option -z");
    check_error("status --jsn", "did you mean --json?");
    check_error("data list --strema=x", "--strema: did you mean --stream?");
    check_error("stauts", "did you mean \"status\"?");
    check_error("models list", "did you mean \"model\"?");
    check_error("data improt x", "did you mean \"data import\"?");
    check_error("data frobnicate", "see `pockctl help data`");
    check_error("data", "one of import, list, show,");
    check_error("history", "did you mean train history?");
    check_error("list", "did you mean model list, data list, scheme list");
    check_error("data list --stream", "--stream needs a value");
    check_error("status --json=yes", "--json takes no value");
    check_error("data import", "needs FILE...: see `pockctl help data import`");
    check_error("model show a b", "one argument too many");
    check_error("gen two words", "put the prompt in quotes");
    check_error("why --stream x", "does not belong to \"why\"");
}

static void needs_no_arguments_for_help(void **state)
{
    struct parsed p;

    parse(&p, "data import --help");
    assert_int_equal(p.rc, 0);
    assert_true(p.line.given[FLAG_HELP]);
    assert_string_equal(p.line.command->words, "data import");
    parse(&p, "--version");
    assert_int_equal(p.rc, 0);
    assert_null(p.line.command);
}

static void reads_numbers_whole_and_inside_of_bounds(void **state)
{
    struct error err;
    int64_t n = 0;
    double x = 0;

    assert_int_equal(cmdline_int(&n, "n", "42", 0, 100, &err), 0);
    assert_int_equal(n, 42);
    assert_int_equal(cmdline_int(&n, "n", "101", 0, 100, &err), -EINVAL);
    assert_int_equal(cmdline_int(&n, "n", "4x", 0, 100, &err), -EINVAL);
    assert_int_equal(cmdline_int(&n, "n", "", 0, 100, &err), -EINVAL);
    assert_int_equal(cmdline_int(&n, "n", "99999999999999999999", 0, INT64_MAX,
                                 &err),
                     -EINVAL);
    assert_int_equal(cmdline_float(&x, "x", "0.5", 0, 1, &err), 0);
    assert_int_equal(cmdline_float(&x, "x", "nan", 0, 1, &err), -EINVAL);
    assert_int_equal(cmdline_float(&x, "x", "inf", 0, 1e308, &err), -EINVAL);
}

static void every_command_has_its_words_to_itself(void **state)
{
    for (size_t i = 0; i < command_count; i++) {
        struct parsed p;
        parse(&p, command_table[i].words);
        // Its own words find it, whatever stands above it in the table.
        if (p.rc == 0)
            assert_ptr_equal(p.line.command, &command_table[i]);
        else
            assert_non_null(strstr(p.err.text, command_table[i].words));
        assert_true(command_table[i].args_min <= command_table[i].args_max);
    }
}

static void no_letter_stands_for_two_options(void **state)
{
    for (int i = 0; i < FLAG_COUNT; i++)
        for (int k = i + 1; k < FLAG_COUNT; k++) {
            assert_string_not_equal(flag_table[i].name, flag_table[k].name);
            assert_true(flag_table[i].letter == 0 ||
                        flag_table[i].letter != flag_table[k].letter);
        }
    assert_true(FLAG_COUNT - FLAG_WATCH <= 64);
}

static void errors_have_the_documented_statuses(void **state)
{
    static const struct {
        enum rpc_error code;
        int status;
    } rows[] = {
        {RPC_ERROR_BAD_PARAMS, CTL_USAGE},
        {RPC_ERROR_NOT_READY, CTL_NOT_RUNNING},
        {RPC_ERROR_SHUTTING_DOWN, CTL_NOT_RUNNING},
        {RPC_ERROR_DENIED, 4},
        {RPC_ERROR_NOT_CONSENTED, 4},
        {RPC_ERROR_NOT_FOUND, CTL_NOT_FOUND},
        {RPC_ERROR_NO_MODEL, CTL_NOT_FOUND},
        {RPC_ERROR_NO_ADAPTER, CTL_NOT_FOUND},
        {RPC_ERROR_ERASED, CTL_NOT_FOUND},
        {RPC_ERROR_EXISTS, 6},
        {RPC_ERROR_CONFLICT, 6},
        {RPC_ERROR_CONDITIONS, 7},
        {RPC_ERROR_TIMEOUT, 8},
        {RPC_ERROR_VERSION, 9},
        {RPC_ERROR_CANCELLED, CTL_INTERRUPTED},
        {RPC_ERROR_INTERNAL, CTL_FAILED},
        {RPC_ERROR_DB, CTL_FAILED},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(rpc_error_exit(rows[i].code), rows[i].status);
    // Libpock's names for them are the protocol's.
    assert_int_equal(POCK_ERROR_NOT_FOUND, RPC_ERROR_NOT_FOUND);
    assert_int_equal(POCK_ERROR_CANCELLED, RPC_ERROR_CANCELLED);
    assert_int_equal(POCK_ERROR_UNSUPPORTED, RPC_ERROR_UNSUPPORTED);
}

static void reads_adapters_by_version_name_or_both(void **state)
{
    struct ctl c = {.quiet = true};
    struct ctl_adapter ref;

    assert_int_equal(ctl_adapter_ref(&c, "2", &ref), CTL_OK);
    assert_string_equal(ref.name, "default");
    assert_int_equal(ref.version, 2);
    assert_int_equal(ctl_adapter_ref(&c, "notes:12", &ref), CTL_OK);
    assert_string_equal(ref.name, "notes");
    assert_int_equal(ref.version, 12);
    assert_int_equal(ctl_adapter_ref(&c, "notes", &ref), CTL_OK);
    assert_int_equal(ref.version, 0);
    assert_int_equal(ctl_adapter_ref(&c, "active", &ref), CTL_OK);
    assert_string_equal(ref.name, "default");
    assert_int_equal(ctl_adapter_ref(&c, "notes:x", &ref), CTL_USAGE);
    assert_int_equal(ctl_adapter_ref(&c, ":1", &ref), CTL_USAGE);
    assert_int_equal(ctl_adapter_ref(&c, "", &ref), CTL_USAGE);
    assert_int_equal(ctl_adapter_ref(&c, "99999999999", &ref), CTL_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_a_command_of_two_words_and_its_arguments),
        cmocka_unit_test(takes_options_anywhere),
        cmocka_unit_test(ends_options_at_two_dashes),
        cmocka_unit_test(leaves_an_inhibited_command_alone),
        cmocka_unit_test(explains_what_is_wrong),
        cmocka_unit_test(needs_no_arguments_for_help),
        cmocka_unit_test(reads_numbers_whole_and_inside_of_bounds),
        cmocka_unit_test(every_command_has_its_words_to_itself),
        cmocka_unit_test(no_letter_stands_for_two_options),
        cmocka_unit_test(errors_have_the_documented_statuses),
        cmocka_unit_test(reads_adapters_by_version_name_or_both),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
