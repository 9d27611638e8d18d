// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * What a question needs (database thread)
 *
 * Which model and which version answer it, opened, and the texts of the
 * request in a sealed memfd.
 */

#include "engine/base/error.h"
#include "ipc/codec.h"
#include "ipc/rpc_error.h"
#include "storage/store_adapter.h"

enum {
    SERVE_STREAMS_MAX = 256,
};

struct serve_input {
    // From the request
    bool is_app; // who asks: of the owner's files it is told no paths
    bool is_score;
    const msgpack_object *params; // the request's
    // Found
    char model[STORE_NAME_SIZE];
    uint8_t model_sha256[STORE_HASH_BYTES];
    int64_t model_bytes;
    char chat[32]; // the owner's word on its chat format
    int model_fd;
    char adapter[STORE_NAME_SIZE]; // "": the base model
    uint32_t version;
    uint8_t adapter_sha256[STORE_HASH_BYTES];
    int adapter_fd; // -1: the base model
    int records_fd;
    int times_fd; // goes along with the model; -1: none
    size_t count; // records
    // score heldout: the stream of each record, as an index into `streams`
    uint16_t *stream_of;
    char (*streams)[STORE_NAME_SIZE];
    size_t stream_count;
    enum rpc_error code; // of a failure; NONE: by its errno
};

void serve_input_init(struct serve_input *in);
void serve_input_finish(struct serve_input *in);
int serve_input_gather(struct serve_input *in, struct store *s,
                       struct error *err);
