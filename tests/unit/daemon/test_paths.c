// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "../storage/fixture.h"

#include "daemon/paths.h"

#include <errno.h>
#include <sys/stat.h>

static struct config config;
static struct paths paths;

static void set(const char *name, const char *value)
{
    assert_int_equal(value ? setenv(name, value, 1) : unsetenv(name), 0);
}

static int paths_setup(void **state)
{
    static const char *const names[] = {
        "HOME",
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
        "XDG_RUNTIME_DIR",
        "STATE_DIRECTORY",
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        set(names[i], NULL);
    OK(config_init(&config, &err));
    make_dir();
    return 0;
}

static int paths_teardown(void **state)
{
    remove_dir();
    return 0;
}

static void a_persons_own_lies_in_xdg_directories(void **state)
{
    char file[PATHS_BYTES];

    config.is_user = true;
    set("HOME", "/home/ann");
    OK(paths_init(&paths, &config, &err));
    assert_string_equal(paths.state, "/home/ann/.local/share/pockd");
    assert_string_equal(paths.runtime, "/home/ann/.local/share/pockd/run");
    assert_string_equal(paths.key, "/home/ann/.config/pockd/pockd.key");
    OK(paths_config_file(file, &config, &err));
    assert_string_equal(file, "/home/ann/.config/pockd/pockd.conf");

    set("XDG_CONFIG_HOME", "/c");
    set("XDG_DATA_HOME", "/d");
    set("XDG_RUNTIME_DIR", "/run/user/7");
    OK(paths_init(&paths, &config, &err));
    assert_string_equal(paths.state, "/d/pockd");
    assert_string_equal(paths.socket, "/run/user/7/pockd/pockd.sock");
    assert_string_equal(paths.key, "/c/pockd/pockd.key");
    OK(paths_config_file(file, &config, &err));
    assert_string_equal(file, "/c/pockd/pockd.conf");
    // Relative ones are not valid, as their specification says.
    set("XDG_DATA_HOME", "d");
    OK(paths_init(&paths, &config, &err));
    assert_string_equal(paths.state, "/home/ann/.local/share/pockd");
}

static void without_a_home_it_says_what_to_do(void **state)
{
    char file[PATHS_BYTES];

    config.is_user = true;
    assert_int_equal(paths_init(&paths, &config, &err), -ENOENT);
    assert_says("neither XDG_DATA_HOME nor HOME is set: use --dir DIR");
    assert_int_equal(paths_config_file(file, &config, &err), -ENOENT);
    set("XDG_DATA_HOME", "/d");
    assert_int_equal(paths_init(&paths, &config, &err), -ENOENT);
    assert_says("XDG_CONFIG_HOME");
}

static void the_systems_has_a_directory_for_each_owner(void **state)
{
    char file[PATHS_BYTES];

    config.is_user = false;
    config.owner_uid = 1000;
    OK(paths_init(&paths, &config, &err));
    assert_string_equal(paths.state, "/var/lib/pockd/1000");
    assert_string_equal(paths.socket, "/run/pockd/1000/pockd.sock");
    assert_string_equal(paths.key, "/var/lib/pockd/1000/pockd.key");
    OK(paths_config_file(file, &config, &err));
    assert_string_equal(file, "/etc/pockd/pockd.conf");
    set("STATE_DIRECTORY", "/srv/pockd/1000");
    OK(paths_init(&paths, &config, &err));
    assert_string_equal(paths.state, "/srv/pockd/1000");
}

static void one_directory_holds_everything(void **state)
{
    char cwd[PATHS_BYTES], want[PATHS_BYTES + 8];

    assert_non_null(getcwd(cwd, sizeof(cwd)));
    (void) snprintf(config.dir, sizeof(config.dir), "here");
    (void) snprintf(want, sizeof(want), "%s/here", cwd);
    OK(paths_init(&paths, &config, &err));
    assert_string_equal(paths.state, want);
    (void) snprintf(config.key_file, sizeof(config.key_file), "/usb/key");
    (void) snprintf(config.dir, sizeof(config.dir), "/x");
    OK(paths_init(&paths, &config, &err));
    assert_string_equal(paths.socket, "/x/pockd.sock");
    assert_string_equal(paths.key, "/usb/key");
}

static void what_no_socket_can_be_named_is_told(void **state)
{
    memset(config.dir, 'a', 150);
    config.dir[0] = '/';
    assert_int_equal(paths_init(&paths, &config, &err), -ENAMETOOLONG);
    assert_says("use a shorter --dir or --socket");
    (void) snprintf(config.socket, sizeof(config.socket), "/s");
    OK(paths_init(&paths, &config, &err));
    assert_string_equal(paths.socket, "/s");
}

static void directories_are_the_owners_alone_and_tmp_is_emptied(void **state)
{
    char path[PATHS_BYTES + 16];
    struct stat st;

    (void) snprintf(config.dir, sizeof(config.dir), "%s/deep/state", dir);
    OK(paths_init(&paths, &config, &err));
    OK(paths_create(&paths, &config, &err));
    assert_int_equal(stat(paths.state, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    (void) snprintf(path, sizeof(path), "%s/left", paths.tmp);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void) fclose(f);
    OK(paths_create(&paths, &config, &err));
    assert_int_not_equal(access(path, F_OK), 0);
    // A file is in the way.
    (void) snprintf(path, sizeof(path), "%s/file", dir);
    f = fopen(path, "w");
    assert_non_null(f);
    (void) fclose(f);
    (void) snprintf(config.dir, sizeof(config.dir), "%s/file/state", dir);
    OK(paths_init(&paths, &config, &err));
    assert_int_equal(paths_create(&paths, &config, &err), -ENOTDIR);
    assert_says("cannot make directory");
}

static void directories_that_others_may_write_are_refused(void **state)
{
    const char *state_dir = config.dir;

    (void) snprintf(config.dir, sizeof(config.dir), "%s/state", dir);
    assert_int_equal(mkdir(state_dir, 0700), 0);
    OK(paths_init(&paths, &config, &err));
    for (mode_t mode = 0; mode < 01000; mode++) {
        const bool is_open = (mode & 022) != 0;
        assert_int_equal(chmod(state_dir, 0700 | mode), 0);
        assert_int_equal(paths_create(&paths, &config, &err),
                         is_open ? -EPERM : 0);
        if (is_open)
            assert_says("chmod go-w");
    }
    if (geteuid() == 0) {
        assert_int_equal(chmod(state_dir, 0700), 0);
        assert_int_equal(chown(state_dir, 12345, (gid_t) -1), 0);
        assert_int_equal(paths_create(&paths, &config, &err), -EPERM);
        assert_says("belongs to another user (12345)");
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, paths_setup, paths_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_persons_own_lies_in_xdg_directories),
        TEST(without_a_home_it_says_what_to_do),
        TEST(the_systems_has_a_directory_for_each_owner),
        TEST(one_directory_holds_everything),
        TEST(what_no_socket_can_be_named_is_told),
        TEST(directories_are_the_owners_alone_and_tmp_is_emptied),
        TEST(directories_that_others_may_write_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
