// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/worker/worker_confine.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/*
 * What a program that took a worker over would try. Each runs in a child that
 * is confined; its exit status is errno, or 0 when it got through.
 */

static char dir[64];
static char file[96];
static pid_t other; // a process of this user that waits

static int answer(long rc)
{
    return rc < 0 ? errno : 0;
}

static int a_network_socket(void)
{
    return answer(socket(AF_INET, SOCK_STREAM, 0));
}

static int a_socket_of_a_bus(void)
{
    return answer(socket(AF_UNIX, SOCK_STREAM, 0));
}

static int sockets_by_a_ring(void)
{
    char params[256] = {0};

    return answer(syscall(425, 4, params));
}

static int another_program(void)
{
    return answer(execl("/bin/true", "true", (char *) NULL));
}

#ifndef WORKER_MAY_TRACE
static int a_look_into_another(void)
{
    return answer(ptrace(PTRACE_ATTACH, other, NULL, NULL));
}

static int anothers_end(void)
{
    return answer(kill(other, SIGKILL));
}
#endif

static int anothers_descriptors(void)
{
    return answer(syscall(434, other, 0));
}

static int words_into_a_terminal(void)
{
    return answer(ioctl(0, TIOCSTI, "x"));
}

static int a_terminal(void)
{
    return answer(open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC));
}

static int a_new_file(void)
{
    char path[128];

    (void) snprintf(path, sizeof(path), "%s/new", dir);
    return answer(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

static int a_file_that_is_there(void)
{
    return answer(open(file, O_WRONLY | O_CLOEXEC));
}

static int a_files_end(void)
{
    return answer(unlink(file));
}

static void *do_nothing(void *arg)
{
    return arg;
}

// What a worker does do.
static int its_own_work(void)
{
    char text[4] = "";
    pthread_t thread;
    int fds[2];

    const int held = atoi(getenv("HELD"));
    if (write(held, "x", 1) != 1 || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds))
        return errno;
    if (send(fds[0], "hi", 2, 0) != 2 || recv(fds[1], text, 2, 0) != 2)
        return errno;
    if (pthread_create(&thread, NULL, do_nothing, NULL) ||
        pthread_join(thread, NULL))
        return EAGAIN;
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    const int read = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    if (null < 0 || read < 0)
        return errno;
    (void) signal(SIGUSR1, SIG_IGN);
    return answer(raise(SIGUSR1));
}

static int confined(int (*what)(void))
{
    int status = 0;
    const pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        worker_confine();
        _exit(what());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

// Of a kernel that cannot do it, nothing is promised.
static bool can_confine(int (*what)(void), const char *name)
{
    const bool can = confined(what) != 0;

    if (!can)
        print_message("# skipped: this kernel does not confine %s\n", name);
    return can;
}

static void nothing_leaves_it(void **state)
{
    if (!can_confine(a_network_socket, "system calls"))
        return;
    assert_int_equal(confined(a_network_socket), EPERM);
    assert_int_equal(confined(a_socket_of_a_bus), EPERM);
    assert_int_equal(confined(sockets_by_a_ring), EPERM);
    assert_int_equal(confined(another_program), EPERM);
    assert_int_equal(confined(words_into_a_terminal), EPERM);
}

static void other_processes_are_out_of_reach(void **state)
{
    if (!can_confine(anothers_descriptors, "system calls"))
        return;
#ifndef WORKER_MAY_TRACE
    assert_int_equal(confined(a_look_into_another), EPERM);
    assert_int_equal(confined(anothers_end), EPERM);
#endif
    assert_int_equal(confined(anothers_descriptors), EPERM);
    assert_int_equal(kill(other, 0), 0);
}

static void no_file_is_written_but_what_is_open(void **state)
{
    if (!can_confine(a_new_file, "files"))
        return;
    assert_int_equal(confined(a_new_file), EACCES);
    assert_int_equal(confined(a_file_that_is_there), EACCES);
    assert_int_equal(confined(a_files_end), EACCES);
    if (access("/dev/ptmx", F_OK) == 0)
        assert_int_equal(confined(a_terminal), EACCES);
    assert_int_equal(access(file, F_OK), 0);
}

static void it_can_do_its_work(void **state)
{
    char held[16];
    struct stat st;
    const int fd = open(file, O_WRONLY | O_TRUNC | O_CLOEXEC);

    assert_true(fd >= 0);
    (void) snprintf(held, sizeof(held), "%d", fd);
    (void) setenv("HELD", held, 1);
    assert_int_equal(confined(its_own_work), 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 1);
    (void) close(fd);
}

static int setup(void **state)
{
    (void) strcpy(dir, "/tmp/pock-confine-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    (void) snprintf(file, sizeof(file), "%s/file", dir);
    const int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    (void) close(fd);
    if ((other = fork()) == 0) {
        for (;;)
            (void) pause();
    }
    return other < 0 ? -1 : 0;
}

static int teardown(void **state)
{
    char path[128];

    (void) kill(other, SIGKILL);
    (void) waitpid(other, NULL, 0);
    (void) snprintf(path, sizeof(path), "%s/new", dir);
    (void) unlink(path);
    (void) unlink(file);
    return rmdir(dir);
}

int main(void)
{
#define TEST(f) cmocka_unit_test(f)
    const struct CMUnitTest tests[] = {
        TEST(nothing_leaves_it),
        TEST(other_processes_are_out_of_reach),
        TEST(no_file_is_written_but_what_is_open),
        TEST(it_can_do_its_work),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
