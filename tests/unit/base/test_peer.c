// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];
static int listener = -1;
static struct error err;

static void path_of(char out[128], const char *name)
{
    (void) snprintf(out, 128, "%s/%s", dir, name);
}

static int setup(void **state)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    strcpy(dir, "/tmp/pockd-peer-XXXXXX");
    assert_non_null(mkdtemp(dir));
    (void) snprintf(at.sun_path, sizeof(at.sun_path), "%s/s", dir);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *) &at, sizeof(at)), 0);
    assert_int_equal(listen(listener, 4), 0);
    return 0;
}

static int teardown(void **state)
{
    static const char *const names[] = {"s", ".flatpak-info", "other"};
    char path[128];

    (void) close(listener);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        path_of(path, names[i]);
        (void) remove(path);
    }
    return rmdir(dir);
}

static void write_file(const char *name, const char *text)
{
    char path[128];

    path_of(path, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void) fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

// A process that connects, perhaps from a root of its own, and waits.
static pid_t start_client(bool in_root)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    (void) prctl(PR_SET_NAME, "my editor");
    (void) snprintf(at.sun_path, sizeof(at.sun_path), "%s/s", dir);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (in_root && (chroot(dir) < 0 || chdir("/") < 0))
        _exit(1);
    if (in_root)
        strcpy(at.sun_path, "/s");
    if (connect(fd, (struct sockaddr *) &at, sizeof(at)) < 0)
        _exit(2);
    (void) pause();
    _exit(0);
}

static void end_client(pid_t pid)
{
    (void) kill(pid, SIGKILL);
    (void) waitpid(pid, NULL, 0);
}

static int identify(struct peer *p, bool in_root)
{
    pid_t pid = start_client(in_root);
    int fd = accept(listener, NULL, NULL);

    assert_true(fd >= 0);
    int rc = peer_identify(p, fd, &err);
    assert_int_equal(p->pid, pid);
    assert_int_equal(p->uid, getuid());
    end_client(pid);
    (void) close(fd);
    return rc;
}

static void knows_a_program_outside_of_a_sandbox(void **state)
{
    struct peer p;
    int rc = identify(&p, false);

    // These tests may run below a unit that looks like an app's.
    if (rc == 0 && p.app.kind != APPID_NONE)
        skip();
    if (rc < 0)
        fail_msg("%s", err.text);
    assert_false(p.is_sandboxed);
    assert_int_equal(p.strength, PEER_STRENGTH_UID);
    assert_string_equal(p.comm, "my editor");
}

static void knows_a_flatpak_by_what_lies_in_its_root(void **state)
{
    struct peer p;

    if (geteuid() != 0) {
        print_message("# skipped: only root can change its root\n");
        skip();
    }
    write_file(".flatpak-info", "[Application]\nname=org.example.Notes\n");
    if (identify(&p, true) < 0)
        fail_msg("%s", err.text);
    assert_string_equal(p.app.name, "flatpak:org.example.Notes");
    assert_int_equal(p.strength, PEER_STRENGTH_SANDBOXED);
    assert_true(p.is_sandboxed);
}

static void refuses_what_it_cannot_tell(void **state)
{
    struct peer p;
    char path[128];

    if (geteuid() != 0) {
        print_message("# skipped: only root can change its root\n");
        skip();
    }
    write_file(".flatpak-info", "[Runtime]\nname=x\n");
    assert_int_equal(identify(&p, true), -EINVAL);
    // A link, a directory: of the app's making, and never followed.
    path_of(path, ".flatpak-info");
    write_file("other", "[Application]\nname=org.example.Bank\n");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/other", path), 0);
    assert_int_equal(identify(&p, true), -EPROTO);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(identify(&p, true), -EPROTO);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(identify(&p, true), -EPROTO);
}

static void refuses_a_program_that_has_ended(void **state)
{
    struct peer p;
    pid_t pid = start_client(false);
    int fd = accept(listener, NULL, NULL);

    assert_true(fd >= 0);
    end_client(pid);
    assert_true(peer_identify(&p, fd, &err) < 0);
    assert_true(strlen(err.text) > 0);
    assert_int_equal(p.uid, getuid());
    (void) close(fd);
}

static void refuses_what_is_no_socket(void **state)
{
    struct peer p;
    int fd = open("/dev/null", O_RDONLY);

    assert_true(peer_identify(&p, fd, &err) < 0);
    assert_int_equal(p.uid, (uid_t) -1);
    (void) close(fd);
}

static void a_name_is_worth_what_its_kind_is(void **state)
{
    assert_int_equal(peer_strength_of(APPID_FLATPAK), PEER_STRENGTH_SANDBOXED);
    assert_int_equal(peer_strength_of(APPID_SNAP), PEER_STRENGTH_SCOPE);
    assert_int_equal(peer_strength_of(APPID_SCOPE), PEER_STRENGTH_SCOPE);
    assert_int_equal(peer_strength_of(APPID_HOST), PEER_STRENGTH_UID);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(knows_a_program_outside_of_a_sandbox),
        TEST(knows_a_flatpak_by_what_lies_in_its_root),
        TEST(refuses_what_it_cannot_tell),
        TEST(refuses_a_program_that_has_ended),
        TEST(refuses_what_is_no_socket),
        cmocka_unit_test(a_name_is_worth_what_its_kind_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
