// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/worker/worker_limits.h"

#include "daemon/worker/worker_confine.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

// linux/ioprio.h is younger than the oldest system that we build on.
enum {
    IOPRIO_WHO_PROCESS = 1,
    IOPRIO_CLASS_IDLE = 3,
    IOPRIO_CLASS_SHIFT = 13,
    FILES_MAX = 512, // a full queue of requests with their descriptors
};

static void limit(int which, rlim_t value)
{
    struct rlimit r = {value, value};

    (void) setrlimit(which, &r);
}

static void be_killed_first(void)
{
    static const char score[] = "900";

    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void) !write(fd, score, strlen(score));
    (void) close(fd);
}

void worker_limits_begin(bool is_child)
{
    // This writes to /proc, which a process may not do to itself that is
    // confined or cannot be dumped.
    be_killed_first();
    if (is_child)
        worker_confine();
}

void worker_limits_apply(bool is_background)
{
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_NOFILE, FILES_MAX);
    (void) prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    (void) prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (!is_background)
        return;

    struct sched_param none = {0};
    (void) sched_setscheduler(0, SCHED_IDLE, &none);
    (void) setpriority(PRIO_PROCESS, 0, 19);
    (void) syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
                   IOPRIO_CLASS_IDLE << IOPRIO_CLASS_SHIFT);
}
