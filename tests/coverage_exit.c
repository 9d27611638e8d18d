// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Linked into every program that tests/coverage.sh builds. Workers mostly end
 * without exit(): by _exit() from their control thread, or killed by pockd when
 * there is nothing more for them to do. What they ran until then must be
 * written down too: _exit() does so first, and what pockd kills is asked by a
 * signal to do so and to kill itself, and killed if it does not.
 */

#include <signal.h>
#include <stddef.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

enum { PATIENCE_MS = 2000 };

void __gcov_dump(void);
_Noreturn void __real__exit(int status);
_Noreturn void __wrap__exit(int status);
__attribute__((weak)) int __real_uv_process_kill(uv_process_t *p,
                                                 int signal_number);
int __wrap_uv_process_kill(uv_process_t *p, int signal_number);

_Noreturn void __wrap__exit(int status)
{
    __gcov_dump();
    __real__exit(status);
}

static void on_last_words(int signal_number)
{
    (void) signal_number;
    __gcov_dump();
    (void) kill(getpid(), SIGKILL);
}

__attribute__((constructor)) static void listen_for_last_words(void)
{
    struct sigaction a = {.sa_handler = on_last_words};

    (void) sigaction(SIGRTMAX, &a, NULL);
}

// (What is none of ours, a command of the owner say, ends by this signal.)
int __wrap_uv_process_kill(uv_process_t *p, int signal_number)
{
    const struct timespec ms = {.tv_nsec = 1000000};
    siginfo_t info = {0};

    if (signal_number != SIGKILL || kill(p->pid, SIGRTMAX) < 0)
        return __real_uv_process_kill(p, signal_number);
    for (int i = 0; i < PATIENCE_MS && info.si_pid == 0; i++) {
        if (waitid(P_PID, (id_t) p->pid, &info, WEXITED | WNOHANG | WNOWAIT))
            break;
        (void) nanosleep(&ms, NULL);
    }
    return __real_uv_process_kill(p, signal_number);
}
