// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Packets with file descriptors
 *
 * One packet of a SOCK_SEQPACKET socket with descriptors beside it. Nothing is
 * leaked: a packet that was cut short is refused and its descriptors closed.
 */

#include <stddef.h>
#include <stdint.h>

enum { FDPASS_MAX = 16 };

// The descriptors stay the caller's. -EAGAIN when the socket is full and does
// not block. Never raises SIGPIPE.
int fdpass_send(int sock, const void *data, size_t bytes, const int *fds,
                uint32_t n_fds);
// At most `n_max` descriptors, close-on-exec, are the caller's. *bytes is 0
// when the other end has closed. -EMSGSIZE when there were more bytes or
// descriptors than room; all of them are gone then.
int fdpass_recv(int sock, void *data, size_t size, size_t *bytes, int *fds,
                uint32_t n_max, uint32_t *n_fds);
void fdpass_close(int *fds, uint32_t n_fds);
