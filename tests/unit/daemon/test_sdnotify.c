// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/sdnotify.h"

// Listens at a path (or, with '@', a name) and reads what comes.
static void hear(const char *path, const char *wants)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    char text[64] = "";

    assert_true(fd >= 0);
    memcpy(addr.sun_path, path, strlen(path));
    if (path[0] == '@')
        addr.sun_path[0] = '\0';
    (void) unlink(path);
    assert_int_equal(bind(fd, (struct sockaddr *) &addr,
                          (socklen_t) (offsetof(struct sockaddr_un, sun_path) +
                                       strlen(path))),
                     0);
    setenv("NOTIFY_SOCKET", path, 1);
    sdnotify_send(wants);
    assert_int_equal(recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT),
                     strlen(wants));
    assert_string_equal(text, wants);
    (void) close(fd);
    (void) unlink(path);
}

static void tells_a_manager_that_listens(void **state)
{
    char path[108];

    (void) snprintf(path, sizeof(path), "/tmp/pockd-notify-%ld",
                    (long) getpid());
    hear(path, "READY=1");
    (void) snprintf(path, sizeof(path), "@pockd-notify-%ld", (long) getpid());
    hear(path, "WATCHDOG=1");
    // Nobody, or no address: nothing happens.
    sdnotify_send("STOPPING=1");
    setenv("NOTIFY_SOCKET", "relative", 1);
    sdnotify_send("STOPPING=1");
    unsetenv("NOTIFY_SOCKET");
    sdnotify_send("STOPPING=1");
}

static void pings_twice_as_often_as_it_must(void **state)
{
    char pid[16];

    unsetenv("WATCHDOG_USEC");
    assert_int_equal(sdnotify_watchdog_ms(), 0);
    setenv("WATCHDOG_USEC", "30000000", 1);
    // Of nobody: a child has it from its parent.
    unsetenv("WATCHDOG_PID");
    assert_int_equal(sdnotify_watchdog_ms(), 0);
    (void) snprintf(pid, sizeof(pid), "%ld", (long) getpid());
    setenv("WATCHDOG_PID", pid, 1);
    assert_int_equal(sdnotify_watchdog_ms(), 15000);
    setenv("WATCHDOG_PID", "1", 1);
    assert_int_equal(sdnotify_watchdog_ms(), 0);
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

static void pass(const char *pid, const char *fds, const char *names)
{
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", fds, 1);
    if (names)
        setenv("LISTEN_FDNAMES", names, 1);
    else
        unsetenv("LISTEN_FDNAMES");
}

static void finds_the_socket_of_a_name(void **state)
{
    char pid[16];

    (void) snprintf(pid, sizeof(pid), "%ld", (long) getpid());
    unsetenv("LISTEN_PID");
    assert_int_equal(sdnotify_listen_fd("client"), -1);
    // Of another process.
    pass("1", "1", NULL);
    assert_int_equal(sdnotify_listen_fd("client"), -1);
    pass(pid, "1", NULL);
    assert_int_equal(sdnotify_listen_fd("client"), 3);
    assert_null(getenv("LISTEN_FDS"));
    pass(pid, "3", "agent:client:worker");
    assert_int_equal(sdnotify_listen_fd("client"), 4);
    pass(pid, "3", "agent:clients:worker");
    assert_int_equal(sdnotify_listen_fd("client"), -1);
    pass(pid, "2", NULL);
    assert_int_equal(sdnotify_listen_fd("client"), -1);
    pass(pid, "0", "client");
    assert_int_equal(sdnotify_listen_fd("client"), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_a_manager_that_listens),
        cmocka_unit_test(pings_twice_as_often_as_it_must),
        cmocka_unit_test(finds_the_socket_of_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
