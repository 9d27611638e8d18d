// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/paths.h"

static int setup(void **state)
{
    unsetenv("POCKD_SOCKET");
    unsetenv("POCKD_LOG");
    unsetenv("POCKD_SYSROOT");
    return 0;
}

static int parse(struct config *c, struct error *err, const char *text)
{
    assert_int_equal(config_init(c, err), 0);
    return config_parse_text(c, "pockd.conf", text, strlen(text), err);
}

static void reads_keys_comments_and_policy(void **state)
{
    struct error err;
    struct config c;

    assert_int_equal(parse(&c, &err,
                           "# mine\n\n  log-level = debug \n"
                           "threads=3\r\nlevel_start_pct = 55.5\n"
                           "respect_idle = no\n"
                           "train_scheme = {\"rules\": [1]}"),
                     0);
    assert_string_equal(c.log_level, "debug");
    assert_int_equal(c.threads, 3);
    assert_true(c.policy.level_start_pct == 55.5);
    assert_false(c.policy.respect_idle);
    assert_string_equal(c.policy.train_scheme, "{\"rules\":[1]}");
}

static void names_line_and_key_of_what_is_wrong(void **state)
{
    static const struct {
        const char *text;
        int rc;
        const char *says;
    } bad[] = {
        {"\ncolour = red\n", -ENOENT, "pockd.conf line 2: unknown key colour"},
        {"threads = many\n", -EINVAL, "line 1: option threads is many"},
        {"threads = 99999\n", -ERANGE, "must be 0 to 256"},
        {"hello\n", -EINVAL, "hello is not `key = value`"},
        {"idle_s = 1.5\n", -EINVAL, "must be a whole number"},
        {"idle_s = -1\n", -ERANGE, "must be 0 to 86400"},
        {"idle_s = nan\n", -ERANGE, "idle_s"},
        {"train_scheme =\n", -EINVAL, "line 1: policy train_scheme is empty"},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error err = {0};
        struct config c;
        assert_int_equal(parse(&c, &err, bad[i].text), bad[i].rc);
        if (!strstr(err.text, bad[i].says))
            fail_msg("'%s' does not say '%s'", err.text, bad[i].says);
    }
}

static void refuses_zero_bytes_and_long_lines(void **state)
{
    struct error err = {0};
    struct config c;
    char text[8192];

    assert_int_equal(config_init(&c, &err), 0);
    assert_int_equal(config_parse_text(&c, "f", "a\0=b", 4, &err), -EINVAL);
    memset(text, 'x', sizeof(text));
    assert_int_equal(config_parse_text(&c, "f", text, sizeof(text), &err),
                     -E2BIG);
}

static void the_command_line_beats_the_environment(void **state)
{
    const char *argv[] = {"pockd", "--user", "--dir=/tmp/x", "--log-level",
                          "warn"};
    struct error err;
    struct config c;

    setenv("POCKD_LOG", "debug", 1);
    assert_int_equal(config_load(&c, 5, argv, NULL, &err), 0);
    assert_true(c.is_user);
    assert_string_equal(c.dir, "/tmp/x");
    assert_string_equal(c.log_level, "warn");
    assert_int_equal(config_load(&c, 3, argv, NULL, &err), 0);
    assert_string_equal(c.log_level, "debug");
    unsetenv("POCKD_LOG");
}

static void unknown_arguments_and_missing_files_are_named(void **state)
{
    const char *unknown[] = {"pockd", "--fast"};
    const char *missing[] = {"pockd", "--config", "/nonexistent/pockd.conf"};
    const char *cut[] = {"pockd", "--dir"};
    struct error err;
    struct config c;

    assert_int_equal(config_load(&c, 2, unknown, NULL, &err), -EINVAL);
    assert_non_null(strstr(err.text, "--fast"));
    assert_int_equal(config_load(&c, 3, missing, NULL, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/nonexistent/pockd.conf"));
    assert_int_equal(config_load(&c, 2, cut, NULL, &err), -EINVAL);
}

static void a_usual_file_may_be_missing(void **state)
{
    const char *argv[] = {"pockd"};
    struct error err;
    struct config c;

    assert_int_equal(config_load(&c, 1, argv, "/nonexistent/pockd.conf", &err),
                     0);
}

static void dir_keeps_everything_below_it(void **state)
{
    const char *argv[] = {"pockd", "--user", "--dir=/tmp/x"};
    struct error err;
    struct config c;
    struct paths p;

    assert_int_equal(config_load(&c, 3, argv, NULL, &err), 0);
    assert_int_equal(paths_init(&p, &c, &err), 0);
    assert_string_equal(p.state, "/tmp/x");
    assert_string_equal(p.socket, "/tmp/x/pockd.sock");
    assert_string_equal(p.checkpoints, "/tmp/x/ckpt");
}

static void the_systems_daemon_has_places_for_each_owner(void **state)
{
    const char *argv[] = {"pockd", "--owner-uid=1001",
                          "--worker-sockets=/run/pockd/worker"};
    struct error err;
    struct config c;
    struct paths p;

    assert_int_equal(config_load(&c, 2, argv, NULL, &err), 0);
    assert_true(paths_is_system(&c));
    assert_int_equal(unsetenv("STATE_DIRECTORY"), 0);
    assert_int_equal(paths_init(&p, &c, &err), 0);
    assert_string_equal(p.state, "/var/lib/pockd/1001");
    assert_string_equal(p.socket, "/run/pockd/1001/pockd.sock");
    // Without units for them, workers are children.
    assert_null(paths_worker_socket(&p, PATHS_WORKER_TRAIN));
    assert_string_equal(paths_worker_program(&p), p.worker);

    // As systemd starts it, which names the state directory.
    assert_int_equal(config_load(&c, 3, argv, NULL, &err), 0);
    assert_int_equal(setenv("STATE_DIRECTORY", "/var/lib/private/pockd/1001",
                            1),
                     0);
    assert_int_equal(paths_init(&p, &c, &err), 0);
    assert_int_equal(unsetenv("STATE_DIRECTORY"), 0);
    assert_string_equal(p.state, "/var/lib/private/pockd/1001");
    assert_null(paths_worker_program(&p));
    assert_string_equal(paths_worker_socket(&p, PATHS_WORKER_TRAIN),
                        "/run/pockd/worker/train.sock");
    assert_string_equal(paths_worker_socket(&p, PATHS_WORKER_TOOL),
                        "/run/pockd/worker/tool.sock");
}

static void a_socket_path_that_is_too_long_is_named(void **state)
{
    struct error err;
    struct config c;
    struct paths p;

    assert_int_equal(config_init(&c, &err), 0);
    c.is_user = true;
    memset(c.dir, 'd', 120);
    c.dir[0] = '/';
    assert_int_equal(paths_init(&p, &c, &err), -ENAMETOOLONG);
    assert_non_null(strstr(err.text, "socket"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_keys_comments_and_policy),
        cmocka_unit_test(names_line_and_key_of_what_is_wrong),
        cmocka_unit_test(refuses_zero_bytes_and_long_lines),
        cmocka_unit_test(the_command_line_beats_the_environment),
        cmocka_unit_test(unknown_arguments_and_missing_files_are_named),
        cmocka_unit_test(a_usual_file_may_be_missing),
        cmocka_unit_test(dir_keeps_everything_below_it),
        cmocka_unit_test(the_systems_daemon_has_places_for_each_owner),
        cmocka_unit_test(a_socket_path_that_is_too_long_is_named),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
