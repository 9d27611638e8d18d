// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

// As shells have them.
enum {
    STATUS_CANNOT_RUN = 126,
    STATUS_NO_COMMAND = 127,
    STATUS_SIGNAL = 128,
};

static void run_child(struct ctl *c)
{
    execvp(c->line.args[0], c->line.args);
    int rc = errno;
    (void) ctl_fail(c, CTL_FAILED, "cannot run %s: %s", c->line.args[0],
                    strerror(rc));
    _exit(rc == ENOENT ? STATUS_NO_COMMAND : STATUS_CANNOT_RUN);
}

// Ctrl-C is for the command; when it ends, so do we, with its status.
static int run(struct ctl *c)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct sigaction old_int;
    struct sigaction old_quit;
    int state = 0;

    (void) fflush(NULL);
    (void) sigaction(SIGINT, &ignore, &old_int);
    (void) sigaction(SIGQUIT, &ignore, &old_quit);
    pid_t pid = fork();
    if (pid == 0) {
        (void) sigaction(SIGINT, &old_int, NULL);
        (void) sigaction(SIGQUIT, &old_quit, NULL);
        run_child(c);
    }
    if (pid < 0)
        return ctl_fail_errno(c, -errno, "cannot start a process");
    while (waitpid(pid, &state, 0) < 0 && errno == EINTR)
        ;
    if (WIFSIGNALED(state))
        return STATUS_SIGNAL + WTERMSIG(state);
    return WEXITSTATUS(state);
}

int cmd_inhibit(struct ctl *c)
{
    struct pock_error err;
    struct pock_request *r;
    int status;

    // The owner wants the command; that nothing trains anyway is no reason to
    // refuse it.
    if (ctl_try_connect(c, &err) < 0) {
        if (err.code != POCK_ERROR_NOT_READY)
            return ctl_fail_pock(c, &err);
        ctl_remark(c, "pockctl: pockd is not running, so nothing trains now; "
                      "running the command all the same");
        return run(c);
    }
    if ((status = ctl_request(c, &r, "inhibit.acquire")) != CTL_OK)
        return status;
    const char *slash = strrchr(c->line.args[0], '/');
    char who[65];
    snprintf(who, sizeof(who), "%.64s", slash ? slash + 1 : c->line.args[0]);
    pock_set_str(r, "who", *who ? who : "pockctl");
    pock_set_str(r, "why", "pockctl inhibit");
    if ((status = ctl_send(c, r, NULL, NULL)) != CTL_OK)
        return status;
    // The end of the connection ends the inhibition, however we end.
    return run(c);
}
