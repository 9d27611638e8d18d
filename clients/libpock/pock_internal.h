// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Inside of libpock: a connection and its queues.
 */

#include "clients/libpock/pock_value.h"
#include "ipc/encoder.h"
#include "ipc/frame.h"

enum {
    POCK_QUEUE_BYTES_MAX = 4 << 20,
    POCK_FDS_MAX = 8,
    POCK_IN_FLIGHT_MAX = 64, // what pockd takes, if it does not say otherwise
    // The daemon keeps a deadline itself; past it we wait this long for its
    // word before we give up alone.
    POCK_TIMEOUT_GRACE_MS = 300,
};

// A message on its way out, the oldest first.
struct pock_outgoing {
    struct pock_outgoing *next;
    uint8_t *data;
    size_t bytes;
    size_t sent;
    int fd; // goes with the first byte; -1: none or gone
};

// A request that waits for its answer.
struct pock_pending {
    struct pock_pending *next;
    uint32_t id;
    pock_item_fn on_item;
    pock_reply_fn on_reply;
    void *user;
    uint64_t deadline_ns; // 0: none
};

struct pock {
    int fd;
    char *path;
    int rc; // why the connection has ended; 0 while it works
    bool in_callback;
    uint32_t last_id;
    size_t in_flight_max;
    struct frame_buffer in;
    int fds[POCK_FDS_MAX]; // that came in, the oldest first
    size_t fd_count;
    struct pock_outgoing *out;
    struct pock_outgoing *out_last;
    size_t out_bytes;
    struct pock_pending *pending;
    size_t pending_count;
    struct pock_reply *hello;
    struct pock_reply *current; // while its on_reply runs
    struct pock_error end_text; // why it ended
    char last_words[256];       // of a daemon that is about to hang up
    pock_trace_fn trace;
    void *trace_user;
};

struct pock_request {
    struct pock *pock;
    uint32_t id;
    struct encoder message; // open at the map of parameters
};

// Fill `err`, which may be NULL, with a failure of this side. Returns `rc`.
int pock_error_set(struct pock_error *err, int code, int rc, const char *fmt,
                   ...) __attribute__((format(printf, 4, 5)));
// The sentence for a negative errno of pock_send() and the like.
int pock_error_from_rc(struct pock_error *err, int rc, const char *method);

// Append a complete message; duplicates `fd` unless it is -1.
int pock_queue(struct pock *p, const uint8_t *data, size_t bytes, int fd);
// The connection ends with this error: every open request gets it.
int pock_fail(struct pock *p, int code, int rc, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void pock_queue_clear(struct pock *p);

// Add a request that waits; NULL without memory.
struct pock_pending *pock_pending_add(struct pock *p, uint32_t id);
// Take the newest one back, which was not sent.
void pock_pending_drop(struct pock *p, struct pock_pending *q);

// A request with one string, or none, sent and waited for.
int pock_call_plain(struct pock *p, const char *method, const char *key,
                    const char *value, struct pock_reply **out,
                    struct pock_error *err);
// The same, with an integer that is left out when it is 0.
int pock_call_int(struct pock *p, const char *method, const char *key,
                  int64_t value, struct pock_reply **out,
                  struct pock_error *err);
// pock_call() with a descriptor and items.
int pock_call_with(struct pock_request *r,
                   const struct pock_send_options *options,
                   struct pock_reply **out, struct pock_error *err);
