// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Server (loop thread)
 *
 * The listening socket and the connections behind it, within the limits of
 * PROTOCOL.md. Who a client is, the kernel says (engine/base/peer.h); a client
 * of which that cannot be told is not let in.
 */

#include "daemon/config.h"
#include "daemon/request.h"

#include <sys/types.h>
#include <uv.h>

struct server;

struct server_params {
    uv_loop_t *loop;
    const struct config *config;
    const char *path; // of the socket; ignored with `fd`
    int fd;           // a listening socket from the service manager, or -1
    uid_t owner;      // whose data this is; root may do everything too
    bool is_system;   // of another user than its owner, who must reach it
    // May a peer of this uid connect at all?
    bool others_may_connect;
    request_fn on_request;
    // A connection is gone: forget what it held.
    void (*on_session_end)(uint64_t session, void *user);
    void *user;
};

int server_create(struct server **out, const struct server_params *params,
                  struct error *err);
// Stop accepting and reading; answer what is in flight with SHUTTING_DOWN.
void server_stop(struct server *s);
// Closes everything and removes the socket; the loop must still run until it
// has no handles. NULL is fine.
void server_destroy(struct server *s);

size_t server_session_count(const struct server *s);
// What an app has under way is cancelled, and what its connections hold is let
// go; NULL: of all apps. They stay connected.
void server_stop_app(struct server *s, const char *app);
// A connection that somebody trusted accepted, from the app that is named, or
// from one that is looked at here (NULL). Takes `fd`, also on failure.
int server_adopt(struct server *s, int fd, const struct appid *app,
                 struct error *err);
