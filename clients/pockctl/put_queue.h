// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Pipeline of records
 *
 * Records are gathered into batches of 64 and sent while the answers of the
 * batches before are still on their way. The daemon takes a batch as a whole
 * or not at all; when it names a record that it does not take, that one is
 * reported and the rest of the batch is sent again.
 */

#include "clients/pockctl/ctl.h"
#include "clients/pockctl/importer.h"
#include "ipc/redact.h"

struct put_queue;

struct put_counts {
    uint64_t records; // taken or known
    uint64_t added;   // of these, new to the daemon
    uint64_t refused;
    uint64_t dropped; // taken, and not stored
    uint64_t redacted[REDACT_CLASSES];
};

struct put_params {
    struct ctl *ctl;
    // Where a refused record came from is told to it.
    void (*on_refused)(void *user, uint64_t line, const char *reason);
    void *user;
    bool print_ids;
};

int put_queue_create(struct put_queue **out, const struct put_params *params);
void put_queue_destroy(struct put_queue *q);

// Copies the record. Status 0, or the one to end with.
int put_queue_add(struct put_queue *q, const struct import_record *r);
// Until everything added so far is answered.
int put_queue_flush(struct put_queue *q);
// Since the last call.
struct put_counts put_queue_take_counts(struct put_queue *q);
