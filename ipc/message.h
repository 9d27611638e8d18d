// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Messages
 *
 * msgpack-rpc: request [0, id, method, [params]], response [1, id, error,
 * result], notification [2, method, [params]], with params one map. Of the
 * notifications "$/item" carries the parts of a streamed answer and "$/cancel"
 * ends a request.
 *
 * Encoding: begin, fill the map that it left open with encoder_put_*(), end.
 */

#include "engine/base/error.h"
#include "ipc/codec.h"
#include "ipc/encoder.h"
#include "ipc/rpc_error.h"

#include <stdbool.h>
#include <stdint.h>

#define MESSAGE_ITEM   "$/item"
#define MESSAGE_CANCEL "$/cancel"

enum message_type {
    MESSAGE_REQUEST = 0,
    MESSAGE_RESPONSE = 1,
    MESSAGE_NOTIFICATION = 2,
};

// Everything points into the codec_doc and its frame.
struct message {
    enum message_type type;
    uint32_t id;                  // request, response
    struct codec_bytes method;    // request, notification
    const msgpack_object *params; // request, notification: a map
    const msgpack_object *result; // response without error: a map, or NULL
    struct {
        int code; // 0 = no error
        struct codec_bytes name;
        struct codec_bytes text;
        const msgpack_object *data; // NULL when absent
        int64_t retry_ms;           // 0 when absent
    } error;
};

// -EPROTO and a sentence when it has not one of the three shapes.
int message_decode(struct message *out, const struct codec_doc *doc,
                   struct error *err);

// What "$/item" and "$/cancel" carry.
struct message_item {
    uint32_t id;             // of the request it belongs to
    int64_t seq;             // 0, 1, ...
    struct codec_bytes kind; // text, progress, event, status
    const msgpack_object *params;
};
int message_item_decode(struct message_item *out, const struct message *m,
                        struct error *err);
int message_cancel_decode(uint32_t *id, const struct message *m,
                          struct error *err);

// Each leaves a map open for parameters, result or fields; message_end()
// closes it and the message.
void message_begin_request(struct encoder *e, uint32_t id, const char *method);
void message_begin_response(struct encoder *e, uint32_t id);
void message_begin_item(struct encoder *e, uint32_t id, int64_t seq,
                        const char *kind);
// The map left open is error.data. retry_ms 0 = absent.
void message_begin_error(struct encoder *e, uint32_t id, enum rpc_error code,
                         const char *text, int64_t retry_ms);
int message_end(struct encoder *e); // as encoder_finish()

// Whole messages.
int message_encode_error(struct encoder *e, uint32_t id, enum rpc_error code,
                         const char *text, int64_t retry_ms);
int message_encode_cancel(struct encoder *e, uint32_t id);
