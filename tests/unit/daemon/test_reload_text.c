// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/reload.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void reads_addresses_of_this_machine(void **state)
{
    static const struct {
        const char *url, *path;
        int is_ipv6, port;
    } rows[] = {
        {"http://127.0.0.1", "", 0, 8080},
        {"http://127.0.0.1/", "", 0, 8080},
        {"http://localhost:80", "", 0, 80},
        {"http://[::1]:65535/", "", 1, 65535},
        {"unix:/run/llama.sock", "/run/llama.sock", 0, 8080},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct reload_target t;
        struct error err = {0};
        if (reload_parse_url(&t, rows[i].url, &err) < 0)
            fail_msg("%s: %s", rows[i].url, err.text);
        assert_string_equal(t.path, rows[i].path);
        assert_int_equal(t.is_ipv6, rows[i].is_ipv6);
        assert_int_equal(t.port, rows[i].port);
    }
}

static void refuses_all_others(void **state)
{
    static const char *const urls[] = {
        "",
        "http://",
        "http://127.0.0.2",
        "http://127.0.0.11",
        "http://127.0.0.1.example.org",
        "http://localhost.example.org",
        "http://localhost@example.org",
        "http://localhost:8080@example.org",
        "http://localhost:0",
        "http://localhost:-1",
        "http://localhost:65536",
        "http://localhost:99999999999999999999",
        "http://localhost:80/lora-adapters",
        "https://localhost",
        "HTTP://localhost",
        "unix:llama.sock",
        "/run/llama.sock",
    };
    char longest[200] = "unix:/";

    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        struct reload_target t;
        struct error err = {0};
        if (reload_parse_url(&t, urls[i], &err) != -EINVAL)
            fail_msg("%s was taken", urls[i]);
        assert_non_null(strstr(err.text, "nobody outside this machine"));
    }
    memset(longest + 6, 'x', sizeof(longest) - 7);
    struct reload_target t;
    struct error err = {0};
    assert_int_equal(reload_parse_url(&t, longest, &err), -EINVAL);
    assert_non_null(strstr(err.text, "at most 107 characters"));
}

static void reads_commands_word_by_word(void **state)
{
    char room[64], *args[RELOAD_ARGS_MAX];
    struct error err = {0};

    assert_int_equal(reload_parse_command(args, room, sizeof(room),
                                          "[\"/bin/x\",\"-q; rm\",\"\"]", &err),
                     0);
    assert_string_equal(args[0], "/bin/x");
    assert_string_equal(args[1], "-q; rm");
    assert_string_equal(args[2], "");
    assert_null(args[3]);
}

static void refuses_what_is_no_command(void **state)
{
    static const struct {
        const char *json, *says;
    } rows[] = {
        {"/bin/x", "byte"},
        {"[]", "JSON array"},
        {"{}", "JSON array"},
        {"[\"x\"]", "absolute path"},
        {"[\"\"]", "absolute path"},
        {"[\"/x\",1]", "strings only"},
        {"[\"/x\\u0000y\"]", "strings only"},
        {"[\"/0123456789012345678901234567890123456789\"]", "too long"},
    };
    char many[512] = "[\"/x\"";

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char room[32], *args[RELOAD_ARGS_MAX];
        struct error err = {0};
        assert_true(reload_parse_command(args, room, sizeof(room), rows[i].json,
                                         &err) < 0);
        if (!strstr(err.text, rows[i].says))
            fail_msg("%s: %s", rows[i].json, err.text);
    }
    char room[512], *args[RELOAD_ARGS_MAX];
    struct error err = {0};
    for (int i = 1; i < RELOAD_ARGS_MAX - 2; i++)
        strcat(many, ",\"a\"");
    strcat(many, "]");
    assert_int_equal(reload_parse_command(args, room, sizeof(room), many, &err),
                     -EINVAL);
    assert_non_null(strstr(err.text, "at most 29 words"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_addresses_of_this_machine),
        cmocka_unit_test(refuses_all_others),
        cmocka_unit_test(reads_commands_word_by_word),
        cmocka_unit_test(refuses_what_is_no_command),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
