// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Requests (loop thread)
 *
 * One call of a method, from its frame to its one response. A handler gets it
 * with parameters that fit the method's table, and ends it exactly once, now
 * or later, with request_end() or request_fail(); both free it. When the
 * client hangs up, cancels, or its deadline passes, on_cancel tells the
 * handler, which must still end it; what it then says is dropped where nobody
 * listens any more.
 */

#include "engine/base/error.h"
#include "engine/base/peer.h"
#include "ipc/encoder.h"
#include "ipc/message.h"
#include "ipc/method.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct request;

typedef void (*request_fn)(struct request *r, void *user);
typedef void (*request_cancel_fn)(struct request *r);

enum request_end {
    REQUEST_END_NONE,
    REQUEST_END_CANCELLED, // by $/cancel
    REQUEST_END_TIMEOUT,   // timeout_ms; answered already
    REQUEST_END_GONE,      // the client hung up
};

enum method request_method(const struct request *r);
const msgpack_object *request_params(const struct request *r);
uint64_t request_session(const struct request *r);
uid_t request_uid(const struct request *r);
pid_t request_pid(const struct request *r);
bool request_is_owner(const struct request *r);
// The namespace of the client's records, and who it is. Settled by hello, once
// for a connection.
const char *request_app(const struct request *r);
const struct peer *request_peer(const struct request *r);
bool request_may_own(const struct request *r); // by its user alone
bool request_is_settled(const struct request *r);
void request_settle(struct request *r, const char *app, bool is_owner);
bool request_is_stream(const struct request *r);
enum request_end request_ended(const struct request *r);
// The descriptor that came along; the request keeps it. -1: none.
int request_fd(const struct request *r);
int request_take_fd(struct request *r); // the caller closes it

// For the handler: its own pointer, and who is told about a cancel.
void request_set_user(struct request *r, void *user,
                      request_cancel_fn on_cancel);
void *request_user(const struct request *r);

// A response: begin, put the results, end.
struct encoder *request_begin(struct request *r);
void request_end(struct request *r);
// A response whose result is encoded already, as one map.
void request_end_raw(struct request *r, const void *map, size_t bytes);
// One part of a streamed answer. The request goes on.
struct encoder *request_begin_item(struct request *r, const char *kind);
void request_end_item(struct request *r);
// Bytes that wait for the client to read them.
size_t request_backlog(const struct request *r);

void request_fail(struct request *r, enum rpc_error code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
// With error.data and retry_ms: begin, put data, request_end().
struct encoder *request_begin_error(struct request *r, enum rpc_error code,
                                    const char *text, int64_t retry_ms);
// For a negative errno and its sentence.
void request_fail_errno(struct request *r, int rc, const struct error *err);
