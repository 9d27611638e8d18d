// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * A daemon to play: the other end of a socket pair
 *
 * Nothing runs by itself: a test writes answers, even before they are asked
 * for, as libpock counts its ids from 1 (the hello).
 */

#include "ipc/message.h"

#include <pock/pock.h>

struct peer {
    int fd;
    struct frame_buffer in;
    struct codec_doc doc; // of the last peer_read()
    struct message message;
    int received_fd; // that came with it, or -1
};

// Connects, with a hello's answer ready. Limits: `in_flight` requests.
void peer_start(struct peer *p, struct pock **out, int in_flight);
// The same with what the client says of itself; its hello is p->message then.
void peer_start_with(struct peer *p, struct pock **out, int in_flight,
                     const struct pock_options *how);
void peer_stop(struct peer *p);

// Messages into the socket.
void peer_answer(struct peer *p, uint32_t id, const char *key, int64_t value);
void peer_error(struct peer *p, uint32_t id, enum rpc_error code,
                const char *text);
void peer_text(struct peer *p, uint32_t id, int64_t seq, const char *text);
void peer_write(struct peer *p, const void *data, size_t bytes);

// The next message of the client, which must be there: p->message.
void peer_read(struct peer *p);
bool peer_has_more(struct peer *p);
