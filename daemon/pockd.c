// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#define LOG_MODULE "pockd"

#include "daemon/pockd.h"

#include <string.h>
#include <unistd.h>

#include "daemon/handlers.h"
#include "daemon/sdnotify.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"

enum {
    EXIT_FAILED = 1,
    EXIT_NEWER = 78,
};

static void stop(struct pockd *p)
{
    if (p->is_stopping)
        return;
    p->is_stopping = true;
    sdnotify_send("STOPPING=1");
    log_info("event=stopping");
    uv_stop(&p->loop);
}

static void on_signal(uv_signal_t *s, int number)
{
    stop(s->data);
}

static void on_watchdog(uv_timer_t *t)
{
    sdnotify_send("WATCHDOG=1");
}

static void on_session_end(uint64_t session, void *user)
{
}

static void on_signals_change(void *user)
{
}

static int start_loop(struct pockd *p, struct error *err)
{
    int rc = uv_loop_init(&p->loop);

    if (rc < 0)
        return error_set(err, rc, "cannot make a loop: %s", uv_strerror(rc));
    (void) uv_signal_init(&p->loop, &p->on_term);
    (void) uv_signal_init(&p->loop, &p->on_int);
    (void) uv_timer_init(&p->loop, &p->watchdog);
    p->on_term.data = p;
    p->on_int.data = p;
    p->watchdog.data = p;
    if ((rc = uv_signal_start(&p->on_term, on_signal, SIGTERM)) < 0 ||
        (rc = uv_signal_start(&p->on_int, on_signal, SIGINT)) < 0)
        return error_set(err, rc, "cannot watch for signals");
    uint64_t watchdog_ms = sdnotify_watchdog_ms();
    if (watchdog_ms > 0)
        (void) uv_timer_start(&p->watchdog, on_watchdog, watchdog_ms,
                              watchdog_ms);
    return 0;
}

static int start_signals(struct pockd *p, struct error *err)
{
    return signals_create(&p->signals,
                          &(struct signals_params){
                              .loop = &p->loop,
                              .root = p->config->sysroot,
                              .state_dir = p->paths.state,
                              .use_logind = p->config->sysroot[0] == '\0',
                              .on_change = on_signals_change,
                              .user = p,
                          },
                          err);
}

static int start_server(struct pockd *p, struct error *err)
{
    bool is_system = !p->config->is_user && !p->config->dir[0];

    return server_create(&p->server,
                         &(struct server_params){
                             .loop = &p->loop,
                             .config = p->config,
                             .path = p->paths.socket,
                             .fd = sdnotify_listen_fd("client"),
                             .owner = is_system ? (uid_t) p->config->owner_uid
                                                : geteuid(),
                             .on_request = handlers_dispatch,
                             .on_session_end = on_session_end,
                             .user = p,
                         },
                         err);
}

static int start(struct pockd *p, struct error *err)
{
    int rc;

    if ((rc = paths_init(&p->paths, p->config, err)) < 0 ||
        (rc = paths_create(&p->paths, p->config, err)) < 0 ||
        (rc = start_loop(p, err)) < 0 || (rc = start_signals(p, err)) < 0 ||
        (rc = start_server(p, err)) < 0)
        return rc;
    p->started_unix_ms = clock_unix_ms();
    p->started_ns = clock_monotonic_ns();
    sdnotify_send("READY=1");
    log_info("event=started version=%s socket=%s", POCK_VERSION,
             p->paths.socket);
    return 0;
}

// The reverse of start(), whatever of it was reached.
static void finish(struct pockd *p)
{
    server_destroy(p->server);
    signals_destroy(p->signals);
    if (p->on_term.loop) {
        uv_close((uv_handle_t *) &p->on_term, NULL);
        uv_close((uv_handle_t *) &p->on_int, NULL);
        uv_close((uv_handle_t *) &p->watchdog, NULL);
        while (uv_run(&p->loop, UV_RUN_DEFAULT) != 0)
            continue;
        (void) uv_loop_close(&p->loop);
    }
}

int pockd_run(const struct config *config)
{
    struct pockd p = {.config = config};
    struct error err = {0};
    int rc = start(&p, &err);

    if (rc < 0)
        log_error("cannot start: %s", err.text);
    else
        (void) uv_run(&p.loop, UV_RUN_DEFAULT);
    finish(&p);
    return rc == 0 ? 0 : EXIT_FAILED;
}
