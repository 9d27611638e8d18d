// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Records
 *
 * What an app gives: a text, a pair of prompt and completion, a chat, or a text
 * that was shown and whether it was accepted. On the wire a map (record of
 * structs.def). In the store its texts are the body: one msgpack map {text} |
 * {prompt, completion} | {messages} | {prompt, completion, accepted}, always
 * the same bytes for the same texts, so that a retry can be told from another
 * record under the same uid.
 */

#include "engine/base/error.h"
#include "ipc/codec.h"
#include "ipc/encoder.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    RPC_RECORD_UID_BYTES = 16,
    RPC_RECORD_NAME_MAX = 64, // of a stream or adapter
    RPC_RECORD_MESSAGES_MAX = 256,
    RPC_RECORD_BYTES_MAX = FRAME_RECORD_BYTES_MAX, // of all texts together
};
#define RPC_RECORD_TIME_MAX INT64_C(253402300799999) // the end of year 9999

enum rpc_record_kind {
    RPC_RECORD_KIND_TEXT = 1,
    RPC_RECORD_KIND_PAIR = 2,
    RPC_RECORD_KIND_CHAT = 3,
    RPC_RECORD_KIND_FEEDBACK = 4,
};

// Points into the document it was decoded from.
struct rpc_record {
    int64_t id; // 0 on the way in
    uint8_t uid[RPC_RECORD_UID_BYTES];
    enum rpc_record_kind kind;
    struct codec_bytes stream;
    int64_t time_ms;
    struct codec_bytes text;            // TEXT
    struct codec_bytes prompt;          // PAIR, FEEDBACK
    struct codec_bytes completion;      // the same
    bool is_accepted;                   // FEEDBACK
    const msgpack_object *messages;     // CHAT: array of {role, content}
    const struct codec_bytes *contents; // CHAT: in place of theirs, or NULL
    size_t bytes;                       // of its texts
    bool is_secret;                     // on the way in: not to be stored
};

// "text", "pair", "chat", "feedback"; NULL for another number.
const char *rpc_record_kind_name(enum rpc_record_kind kind);

// [a-z0-9._-]{1,64} that begins with a letter or digit: names of streams and
// adapters.
bool rpc_record_name_is_valid(const char *name, size_t bytes);

// The map of the wire. -EINVAL: what is wrong and where; -E2BIG: the texts are
// longer than RPC_RECORD_BYTES_MAX, and the sentence names both numbers.
int rpc_record_decode(struct rpc_record *out, const msgpack_object *map,
                      struct error *err);
// The whole map, with id when it is not 0.
void rpc_record_encode(struct encoder *e, const struct rpc_record *r);

void rpc_record_body_encode(struct encoder *e, const struct rpc_record *r);
// The texts of a body from the store; r->kind says what to expect.
int rpc_record_body_decode(struct rpc_record *r, const msgpack_object *body,
                           struct error *err);
// One turn of a chat. False past the end.
bool rpc_record_message(const struct rpc_record *r, uint32_t i,
                        struct codec_bytes *role, struct codec_bytes *content);
