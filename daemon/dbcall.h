// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Calls of the store for a request
 *
 * Most methods read or write the store and answer with what they found. Such a
 * handler gives one function that runs on the database thread and encodes the
 * result map there, and perhaps one for the loop that does what follows from
 * it. Failures become error answers here. When the owner took something away
 * while a request waited, it is judged again first.
 */

#include "daemon/dbthread.h"
#include "daemon/pockd.h"
#include "ipc/encoder.h"

struct dbcall {
    struct pockd *p;
    struct request *r;
    const msgpack_object *params; // of the request; both threads read it
    struct encoder out;           // the result; a map is open while run() runs
    int64_t index;                // error.data.index; -1: none
    enum rpc_error code;          // of a failure of run(); NONE: by its errno
    int64_t number[4];            // from run() to after()
    char text[160];               // the same
    bool is_alone;                // DBTHREAD_ALONE
    bool is_stale;                // run() was not called: judge it again
    uint32_t closings;            // of consent, when it was admitted
    int64_t audited;              // by run(), for the audit log: so many; 1
    char audit_text[96];          // the same: of which adapter, or so
    void *data;                   // the handler's; freed with free()
    void (*free_data)(void *data);
    int (*run)(struct store *s, struct dbcall *c, struct error *err);
    void (*after)(struct dbcall *c); // loop thread, on success; may be NULL
};

// Starts the call; `data` is taken, also on failure. Answers BUSY itself when
// too much waits.
struct dbcall_params {
    enum dbthread_kind kind;
    int (*run)(struct store *s, struct dbcall *c, struct error *err);
    void (*after)(struct dbcall *c);
    void *data;
    void (*free_data)(void *data); // NULL: free()
};
void dbcall_start(struct pockd *p, struct request *r,
                  const struct dbcall_params *params);

// In after(): request and data become the caller's, and the call ends without
// an answer.
struct request *dbcall_take(struct dbcall *c);
