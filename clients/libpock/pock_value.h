// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Values
 *
 * The tree behind the public getters: a decoded message, copied into an arena
 * with terminated strings, so that it outlives the receive buffer.
 */

#include "pock/pock.h"

#include "ipc/codec.h"

struct arena;

struct pock_value {
    enum pock_kind kind;
    const char *key; // as a map's entry
    union {
        bool boolean;
        int64_t integer;
        double number;
        const char *data;               // STR, BYTES; terminated
        const struct pock_value *first; // LIST, MAP: an array
    };
    size_t count; // bytes or entries
};

struct pock_reply {
    struct arena *arena;
    const struct pock_value *message; // all of it, as it came
    const struct pock_value *result;  // the map inside
};

// Decode a frame. -EPROTO with a sentence, -ENOMEM.
int pock_reply_decode(struct pock_reply **out, const void *frame, size_t bytes,
                      struct error *err);
