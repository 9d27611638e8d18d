// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Replies of a worker: errors with a name, and files
 */

#include "daemon/worker/worker_control.h"
#include "engine/base/error.h"

#include <stdint.h>

// A failure on its way to pockd. `name` is one of WORKER.md.
struct worker_failure {
    const char *name;
    enum worker_severity severity;
    uint32_t record_first, record_count, step;
    struct error err;
};

// Say what failed with `rc` (its sentence is in f->err) and return rc, so that
// a failure is one line. For -ENOMEM and -EINTR the name is known.
int worker_failure_set(struct worker_failure *f, int rc, const char *name,
                       enum worker_severity severity);
void worker_reply_failure(struct worker_control *c, uint64_t req,
                          const struct worker_failure *f);
void worker_reply_done(struct worker_control *c, uint64_t req);

// Seal a file that was written, and say its length and hash.
int worker_file_seal(int fd, uint64_t *bytes, uint8_t sha256[WORKER_HASH_BYTES],
                     struct error *err);
