// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * A whole pockd in a thread, for targets that speak to it
 *
 * Its directory is a new one in memory; its worker is /bin/false, so that no
 * bytes make it compute; its deadlines are short, so that half a frame costs
 * 10 ms.
 */

#include <stdbool.h>
#include <stddef.h>

// The first call starts it; it is stopped, and its directory removed, at exit.
// A new connection, blocking. Aborts when pockd does not answer any more.
int live_connect(void);
// Everything, or until the other end hangs up.
void live_send(int fd, const void *data, size_t bytes);
// Reads until the other end hangs up, or it answered a request with this id.
void live_wait(int fd, unsigned char id);

// The same for a ping, behind whatever was sent.
void live_ping(int fd);
// hello, and the answer to it. False: it was not accepted.
bool live_hello(int fd);
// Somebody else is still served: a new connection, hello, data.count (which
// waits for what the database thread has to do), ping.
void live_check(void);
