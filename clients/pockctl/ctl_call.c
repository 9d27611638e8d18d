// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Requests of pockctl, and Ctrl-C
 *
 * SIGINT is blocked while requests are open, but for the moment of waiting:
 * ppoll() lets it in there, so it cannot get lost between a look at the flag
 * and the wait. The first one cancels, the second one leaves at once.
 */

#include "clients/pockctl/ctl.h"
#include "clients/pockctl/out_json.h"
#include "ipc/rpc_error.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

static volatile sig_atomic_t interrupts;

static void on_signal(int number)
{
    (void) number;
    interrupts++;
}

struct guard {
    struct sigaction old_action;
    sigset_t old_mask;
};

static void guard_begin(struct guard *g)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t set;

    (void) sigemptyset(&action.sa_mask);
    (void) sigemptyset(&set);
    (void) sigaddset(&set, SIGINT);
    interrupts = 0;
    (void) sigprocmask(SIG_BLOCK, &set, &g->old_mask);
    (void) sigaction(SIGINT, &action, &g->old_action);
}

static void guard_end(const struct guard *g)
{
    (void) sigaction(SIGINT, &g->old_action, NULL);
    (void) sigprocmask(SIG_SETMASK, &g->old_mask, NULL);
}

static void on_trace(void *user, bool is_incoming,
                     const struct pock_value *message, size_t bytes)
{
    struct str s = {0};

    (void) user;
    out_json_value(&s, message);
    if (str_finish(&s) == 0)
        fprintf(stderr, "%s %zu bytes %s\n", is_incoming ? "<-" : "->", bytes,
                s.data);
    str_free(&s);
}

int ctl_try_connect(struct ctl *c, struct pock_error *err)
{
    struct pock_options options = {
        .path = c->line.values[FLAG_SOCKET],
        .client = "pockctl/" POCK_VERSION,
        .timeout_ms = c->timeout_ms,
        .trace = c->line.given[FLAG_DEBUG] ? on_trace : NULL,
        .as_owner = true,
    };

    if (c->pock)
        return 0;
    return pock_connect_with(&c->pock, &options, err);
}

int ctl_connect(struct ctl *c)
{
    struct pock_error err;

    return ctl_try_connect(c, &err) < 0 ? ctl_fail_pock(c, &err) : CTL_OK;
}

int ctl_request(struct ctl *c, struct pock_request **r, const char *method)
{
    int status = ctl_connect(c);

    if (status != CTL_OK)
        return status;
    int rc = pock_request_create(r, c->pock, method);
    if (rc == -ENOTCONN)
        return ctl_fail(c, CTL_NOT_RUNNING,
                        "the daemon closed the connection: see `pockctl logs`");
    return rc < 0 ? ctl_no_memory(c) : CTL_OK;
}

// Sleep until the connection or a signal has something to say, then see to it.
static int step(struct ctl *c, const struct guard *g)
{
    struct timespec wait;
    int ms = pock_timeout(c->pock);
    struct pollfd f = {.fd = pock_fd(c->pock), .events = pock_events(c->pock)};

    wait.tv_sec = ms / 1000;
    wait.tv_nsec = (long) (ms % 1000) * 1000000;
    if (ppoll(&f, 1, ms < 0 ? NULL : &wait, &g->old_mask) < 0 && errno != EINTR)
        return -errno;
    return pock_dispatch(c->pock, 0);
}

struct call {
    struct ctl *ctl;
    const struct ctl_call *how;
    bool is_done;
    int status;
    bool is_cancelled;
    struct pock_reply *reply;
};

static void on_item(void *user, const struct pock_value *item)
{
    struct call *call = user;

    if (!call->is_cancelled)
        call->how->on_item(call->how->user, item);
}

static void on_reply(void *user, const struct pock_value *result,
                     const struct pock_error *err)
{
    struct call *call = user;
    struct ctl *c = call->ctl;

    call->is_done = true;
    if (!err) {
        call->reply = pock_take_reply(c->pock);
        return;
    }
    if (call->is_cancelled)
        call->status = CTL_INTERRUPTED;
    else if (call->how->on_error && call->how->on_error(c, err, result))
        call->status = rpc_error_exit(err->code);
    else
        call->status = ctl_fail_pock(c, err);
}

static int send_failed(struct ctl *c, int rc)
{
    if (rc == -E2BIG)
        return ctl_fail(c, CTL_FAILED,
                        "the request is larger than 1 MiB: send less at once");
    if (rc == -EINVAL)
        return ctl_fail(c, CTL_USAGE,
                        "a text is not UTF-8: convert it first, "
                        "with iconv for example");
    return ctl_fail(c, CTL_FAILED, "cannot send the request: %s",
                    strerror(-rc));
}

int ctl_send(struct ctl *c, struct pock_request *r, const struct ctl_call *how,
             struct pock_reply **out)
{
    static const struct ctl_call plain;
    struct call call = {.ctl = c, .how = how ? how : &plain};
    struct pock_send_options options = {
        .on_item = call.how->on_item ? on_item : NULL,
        .on_reply = on_reply,
        .user = &call,
        .timeout_ms = c->timeout_ms,
        .has_fd = call.how->has_fd,
        .fd = call.how->fd,
    };
    struct guard g;
    uint32_t id = 0;
    int rc;

    if ((rc = pock_send(r, &options, &id)) < 0)
        return send_failed(c, rc);
    guard_begin(&g);
    rc = pock_dispatch(c->pock, 0);
    while (!call.is_done && interrupts < 2 && (rc >= 0 || rc == -EINTR)) {
        if (interrupts > 0 && !call.is_cancelled) {
            call.is_cancelled = true;
            (void) pock_cancel(c->pock, id);
        }
        rc = step(c, &g);
    }
    guard_end(&g);
    if (!call.is_done) {
        // The answer must not find this frame: see pock_destroy().
        call.is_cancelled = true;
        pock_destroy(c->pock);
        c->pock = NULL;
        return interrupts ? CTL_INTERRUPTED : send_failed(c, rc);
    }
    if (call.is_cancelled && call.reply) {
        pock_reply_destroy(call.reply);
        return CTL_INTERRUPTED;
    }
    if (call.reply && out)
        *out = call.reply;
    else
        pock_reply_destroy(call.reply);
    return call.status;
}

int ctl_ask(struct ctl *c, const char *method, const char *key,
            const char *value, struct pock_reply **out)
{
    struct pock_request *r;
    int status;

    if ((status = ctl_request(c, &r, method)) != CTL_OK)
        return status;
    if (key)
        pock_set_str(r, key, value);
    return ctl_send(c, r, NULL, out);
}

int ctl_wait_open(struct ctl *c, size_t count)
{
    struct guard g;
    int rc = 0;

    guard_begin(&g);
    if (pock_open_requests(c->pock) > count)
        rc = pock_dispatch(c->pock, 0);
    while (pock_open_requests(c->pock) > count && !interrupts &&
           (rc >= 0 || rc == -EINTR))
        rc = step(c, &g);
    guard_end(&g);
    if (interrupts)
        return CTL_INTERRUPTED;
    // Those who waited were told why.
    return rc < 0 && rc != -EINTR ? CTL_NOT_RUNNING : CTL_OK;
}
