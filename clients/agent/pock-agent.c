// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SYSTEM_SOCKET "/run/pockd/pockd.sock"

static volatile sig_atomic_t is_ending;

static void on_signal(int number)
{
    (void) number;
    is_ending = 1;
}

int64_t agent_now_ms(void)
{
    struct timespec t;

    (void) clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void agent_log(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void) fputs("pock-agent: ", stderr);
    (void) vfprintf(stderr, fmt, ap);
    (void) fputc('\n', stderr);
    va_end(ap);
}

static int set_path(char out[AGENT_PATH_SIZE], const char *dir,
                    const char *name)
{
    int n = snprintf(out, AGENT_PATH_SIZE, "%s%s", dir, name);

    if (n > 0 && n < AGENT_PATH_SIZE)
        return 0;
    agent_log("the path %s%s is longer than a socket's may be", dir, name);
    return -ENAMETOOLONG;
}

// The system's daemon where there is one, else the user's own, which has the
// place of the door.
static int find_paths(struct agent *a, const char *socket, const char *door)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    bool has_runtime = runtime && runtime[0] == '/';
    char of_user[AGENT_PATH_SIZE];
    int rc;

    (void) snprintf(of_user, sizeof(of_user), "/run/pockd/%ld/pockd.sock",
                    (long) geteuid());

    if (socket)
        rc = set_path(a->daemon_path, socket, "");
    else if (access(of_user, F_OK) == 0)
        rc = set_path(a->daemon_path, of_user, "");
    else if (access(SYSTEM_SOCKET, F_OK) == 0 || !has_runtime)
        rc = set_path(a->daemon_path, SYSTEM_SOCKET, "");
    else
        rc = set_path(a->daemon_path, runtime, "/pockd/pockd.sock");
    if (rc == 0 && door)
        rc = set_path(a->door_path, door, "");
    else if (rc == 0 && has_runtime)
        rc = set_path(a->door_path, runtime, "/pockd/pockd.sock");
    if (rc == 0 && strcmp(a->door_path, a->daemon_path) == 0)
        a->door_path[0] = '\0';
    return rc;
}

// One per session: the lock is held until the process ends.
static bool is_first(const struct agent *a)
{
    char path[AGENT_PATH_SIZE + 16];

    (void) snprintf(path, sizeof(path), "%s",
                    a->door_path[0] ? a->door_path : a->daemon_path);
    char *slash = strrchr(path, '/');
    if (!slash)
        return true;
    *slash = '\0';
    (void) mkdir(path, 0700);
    strcpy(slash, "/agent.lock");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0;
}

static int sooner(int a, int b)
{
    return a < 0 ? b : b < 0 ? a : a < b ? a : b;
}

static void turn(struct agent *a, const sigset_t *mask)
{
    struct pollfd fds[3] = {{.fd = -1}, {.fd = -1}, {.fd = a->door}};
    struct timespec wait;
    int ms = -1;

    fds[0].events = agent_bus_poll(a, &fds[0].fd, &ms);
    if (a->pock) {
        fds[1].fd = pock_fd(a->pock);
        fds[1].events = pock_events(a->pock);
        ms = sooner(ms, pock_timeout(a->pock));
    } else {
        int64_t left = a->retry_ms - agent_now_ms();
        ms = sooner(ms, left > 0 ? (int) left : 0);
    }
    fds[2].events = POLLIN;
    wait.tv_sec = ms / 1000;
    wait.tv_nsec = (long) (ms % 1000) * 1000000;
    if (ppoll(fds, 3, ms < 0 ? NULL : &wait, mask) < 0 && errno != EINTR)
        is_ending = 1;
    if (fds[2].revents)
        agent_door_run(a);
    agent_bus_run(a);
    agent_link_run(a);
    agent_link_try(a);
}

static void run(struct agent *a)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t set;
    sigset_t old;

    (void) sigemptyset(&action.sa_mask);
    (void) sigemptyset(&set);
    (void) sigaddset(&set, SIGTERM);
    (void) sigaddset(&set, SIGINT);
    (void) sigprocmask(SIG_BLOCK, &set, &old);
    (void) sigaction(SIGTERM, &action, NULL);
    (void) sigaction(SIGINT, &action, NULL);
    (void) agent_bus_open(a);
    (void) agent_door_open(a);
    agent_link_try(a);
    while (!is_ending && !a->is_over)
        turn(a, &old);
    agent_door_close(a);
    agent_link_close(a);
    agent_bus_close(a);
}

static void print_help(void)
{
    printf("usage: pock-agent [--socket PATH] [--door PATH]\n\n"
           "  --socket PATH  of pockd; else the system's, else the session's\n"
           "  --door PATH    socket for apps in sandboxes; else\n"
           "                 $XDG_RUNTIME_DIR/pockd/pockd.sock\n");
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"socket", required_argument, NULL, 's'},
        {"door", required_argument, NULL, 'd'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    static struct agent a = {.door = -1};
    const char *socket = NULL;
    const char *door = NULL;
    int c;

    while ((c = getopt_long(argc, argv, "hV", options, NULL)) >= 0) {
        if (c == 's') {
            socket = optarg;
        } else if (c == 'd') {
            door = optarg;
        } else if (c == 'h') {
            print_help();
            return 0;
        } else if (c == 'V') {
            printf("pock-agent %s\n", POCK_VERSION);
            return 0;
        } else {
            return 2;
        }
    }
    if (find_paths(&a, socket, door) < 0)
        return 2;
    if (!is_first(&a)) {
        agent_log("another agent runs in this session");
        return 0;
    }
    run(&a);
    return a.is_over;
}
