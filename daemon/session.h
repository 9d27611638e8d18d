// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Session (loop thread)
 *
 * One connection: bytes to frames, frames to requests, answers back. Limits
 * are kept here: hello in time, whole frames in time, requests in flight, and
 * clients that do not read. Between server.c and request.c, nobody else's.
 */

#include "daemon/request.h"
#include "daemon/server.h"
#include "ipc/frame.h"

enum {
    SESSION_IN_FLIGHT_MAX = 64,
    SESSION_STREAMS_MAX = 8,
    SESSION_FDS_MAX = 4,
    SESSION_FRAMES_BYTES_MAX = 8 << 20, // of requests in flight
    SESSION_OUT_PAUSE_BYTES = 1 << 20,  // no reading above
    SESSION_OUT_BYTES_MAX = 8 << 20,    // closed above
    SESSION_OUT_SLACK_BYTES = 2 << 20,  // of one answer beyond that
};

struct session {
    struct server *server;
    struct session *next;
    struct session *prev;
    uint64_t id;
    int fd;
    uid_t uid;
    struct peer peer;
    char app[APPID_SIZE]; // "" until hello
    bool is_owner;
    bool is_settled; // app and is_owner hold
    bool may_own;    // the owner's user, or root
    bool has_hello;
    bool is_draining; // says its last words, reads nothing
    bool is_closing;
    bool is_stopping; // the daemon stops
    bool is_paused;   // not reading because of a limit
    bool is_in_dispatch;
    bool has_more; // frames, when its turn was over

    uv_poll_t poll;
    uv_timer_t timer;
    uv_idle_t again; // runs while has_more
    int handles;
    int events;
    uint64_t hello_due_ms;
    uint64_t frame_due_ms; // 0: no frame has begun
    uint64_t drain_due_ms; // 0: nothing waits

    struct frame_buffer in;
    uint8_t *out;
    size_t out_start;
    size_t out_end;
    size_t out_size;

    int fds[SESSION_FDS_MAX];
    int fd_count;

    struct request *requests;
    unsigned in_flight;
    unsigned streams;
    size_t frames_bytes;
};

// Takes `fd` also on failure.
int session_create(struct session **out, struct server *server, int fd,
                   const struct peer *peer, uint64_t id);
void session_close(struct session *s);
// Answers everything with SHUTTING_DOWN, and closes when that was read.
void session_stop(struct session *s);

// For request.c
void session_send(struct session *s, const void *data, size_t bytes);
void session_forget(struct session *s, struct request *r);

// server.c, for session.c
const struct server_params *server_params(const struct server *s);
struct encoder *server_encoder(struct server *s);
void server_on_session_end(struct server *s, struct session *session);

// request.c, for session.c
struct request_params_in {
    uint32_t id;
    enum method method;
    struct method_common common;
    int fd;
};
// Takes doc, frame and fd.
int request_create(struct request **out, struct session *s,
                   const struct request_params_in *in, struct codec_doc *doc,
                   uint8_t *frame, size_t bytes, const msgpack_object *params);
void request_cancel(struct request *r, enum request_end how);
struct request *request_find(struct request *list, uint32_t id);
struct request *request_next(const struct request *r);
bool request_uses_stream(const struct request *r);
size_t request_bytes(const struct request *r);
void request_link(struct request *r, struct request **list);
