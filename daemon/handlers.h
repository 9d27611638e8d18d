// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Handlers (loop thread)
 *
 * One function for each row of methods.def. The parameters fit the table when
 * a handler sees them. Those that need the store hand a task to the database
 * thread and answer when it comes back.
 */

#include "daemon/request.h"

struct pockd;

#define METHOD(sym, ...) void handle_##sym(struct pockd *p, struct request *r);
#include "ipc/methods.def"

// For server's on_request; `user` is the struct pockd.
void handlers_dispatch(struct request *r, void *user);
