// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Greetings
 *
 * Who a connection is, from what the kernel says of its other end and what that
 * says of itself. A pure function: what decides about the owner's rights is
 * here, and nowhere else.
 */

#include "engine/base/peer.h"
#include "ipc/codec.h"
#include "ipc/rpc_error.h"

struct greeting {
    bool is_owner; // else an app, and all that follows
    struct appid app;
    enum peer_strength strength;
    bool is_trusted; // needs no grant
    uint32_t wants;  // enum store_purpose
};

// `may_own`: the peer is of the owner's user, or root. `asks`: the option
// `consent` is ask. `params` are those of hello, within its table. On failure
// *code says which error it is.
int greeting_read(struct greeting *out, const struct peer *peer, bool may_own,
                  bool asks, const msgpack_object *params, enum rpc_error *code,
                  struct error *err);
