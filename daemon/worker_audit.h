// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Worker audit (loop thread, but for audit_files_check())
 *
 * What pockd believes of a worker's messages: an answer must belong to a
 * request that was made and is still open, and must be of a kind that this
 * request may get; a file must be sealed and of the length and hash that the
 * message says.
 */

#include "ipc/worker_proto.h"

#include <stdbool.h>
#include <stdint.h>

struct error;

enum { WORKER_AUDIT_OPEN_MAX = 64 };

struct worker_audit {
    struct {
        uint64_t req;
        enum worker_msg_type type;
    } open[WORKER_AUDIT_OPEN_MAX];
    uint32_t n_open;
};

// Note a request before it is sent. -EAGAIN when too many are open, -EEXIST
// when its number is. Messages that are no requests always pass.
int worker_audit_request(struct worker_audit *a, const struct worker_msg *m,
                         struct error *err);
// -EPROTO when nothing asked for this message. A final answer closes its
// request.
int worker_audit_answer(struct worker_audit *a, const struct worker_msg *m,
                        struct error *err);

bool worker_audit_has_files(const struct worker_msg *m);
// Reads whole files: not for the loop thread.
int worker_audit_files(const struct worker_msg *m, struct error *err);
