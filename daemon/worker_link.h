// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Worker link (loop thread)
 *
 * pockd's end of one worker: starts it or connects to it, speaks the worker
 * protocol, checks what comes back, and ends it by the abort ladder. A worker
 * is not trusted: a packet that breaks the protocol, a file whose seals, size
 * or hash are not as it says, ends the worker.
 *
 * Callbacks come from the loop, never from inside a call of this module.
 * on_exit comes exactly once and last, unless worker_link_destroy() was called
 * before. destroy() may be called from any callback, on_exit included.
 */

#include "ipc/worker_proto.h"

#include <uv.h>

struct error;
struct worker_link;

struct worker_exit {
    // No bug and nobody's fault: it was told to stop, or had nothing to do.
    bool is_clean;
    // It broke the protocol or sent a file that is not what it said.
    bool is_protocol;
    int status; // exit status, or -1
    int signal; // 0, or what killed it (system mode cannot see it)
    // "the worker was killed by SIGKILL, perhaps for want of memory"
    char text[512];
};

struct worker_link_callbacks {
    // The hello was answered with the same protocol version. May be NULL.
    void (*on_ready)(struct worker_link *w, const struct worker_hello *hello,
                     void *user);
    // Take what you keep with worker_fd_take(); the rest is closed after the
    // call. Files (checkpoint, result, converted, tokens) are sealed memfds
    // whose length and hash were checked.
    void (*on_message)(struct worker_link *w, struct worker_msg *m, void *user);
    void (*on_exit)(struct worker_link *w, const struct worker_exit *exit,
                    void *user);
};

struct worker_link_params {
    uv_loop_t *loop;
    enum worker_kind kind;
    // Program to spawn with the socket as descriptor 3; or NULL and the path
    // of the socket of the system's worker unit.
    const char *program;
    const char *socket_path;
    uint32_t threads;   // 0: the worker chooses
    const char *device; // as engine/base/devname.h has it; NULL: the CPU
    // Of what a GPU's driver compiles; made when it is not there. NULL: none.
    // Both strings are borrowed for the call.
    const char *cache_path;
    bool is_urgent;       // train: the owner waits, do not use the idle class
    uint32_t idle_exit_s; // serve: exit after so long without a request; 0: no
    uint32_t hello_ms;    // 0: 10000
    uint32_t close_ms;    // abort ladder, 0: 5000
    uint32_t kill_ms;     // abort ladder, 0: 9500
};

// Messages may be sent at once: they wait until the hello was answered.
int worker_link_create(struct worker_link **out,
                       const struct worker_link_params *params,
                       const struct worker_link_callbacks *callbacks,
                       void *user, struct error *err);

// Tests: speak to a peer over a connected SOCK_SEQPACKET socket that stands
// for the worker. Takes `fd`, also on failure.
int worker_link_adopt(struct worker_link **out, int fd,
                      const struct worker_link_params *params,
                      const struct worker_link_callbacks *callbacks, void *user,
                      struct error *err);

// Ends it at once (socket closed, child killed) without on_exit. NULL is fine.
void worker_link_destroy(struct worker_link *w);

// The descriptors in `m` stay the caller's (the link duplicates what it must
// keep). -EAGAIN when 64 messages wait already, -EPIPE once it has ended.
int worker_link_send(struct worker_link *w, const struct worker_msg *m,
                     struct error *err);

// Start the abort ladder: stop now, socket closed after close_ms, SIGKILL
// after kill_ms. Again: no effect. `reason` is a stop reason such as POWER.
void worker_link_stop(struct worker_link *w, const char *reason);

bool worker_link_is_ready(const struct worker_link *w);
bool worker_link_is_stopping(const struct worker_link *w);
int worker_link_pid(const struct worker_link *w); // 0: unknown
const char *worker_kind_name(enum worker_kind kind);
