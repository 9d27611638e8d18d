// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Service manager
 *
 * Readiness, watchdog and passed sockets in systemd's protocol, which is a
 * datagram and two environment variables, so no library is needed. Without a
 * service manager all of it does nothing.
 */

#include <stdint.h>

// "READY=1", "STOPPING=1", "WATCHDOG=1", "STATUS=...".
void sdnotify_send(const char *state);
// How often to send WATCHDOG=1; 0: never.
uint64_t sdnotify_watchdog_ms(void);
// The listening socket named `name` that the manager passed, or -1. Unsets
// the variables, so that children do not see them.
int sdnotify_listen_fd(const char *name);
