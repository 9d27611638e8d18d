// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Audit (loop thread, but for auditlog_before() and auditlog_after())
 *
 * Who did what, for the log of storage/store_audit.h. What changes the store
 * is noted in the transaction that changes it. What only reads is counted
 * here, by process and method, and written some seconds later: a look costs no
 * write. A crash forgets reads of the last seconds, never a write.
 */

#include "daemon/request.h"
#include "storage/store_audit.h"

struct auditlog;
struct dbcall;
struct pockd;

int auditlog_create(struct auditlog **out, struct pockd *p);
// Writes what is still counted; the database thread must be gone.
void auditlog_destroy(struct auditlog *a);

// A request of a method that is told at once, such as gen.start.
void auditlog_on_request(struct pockd *p, const struct request *r);
// A read that the store answered: so many records.
void auditlog_on_read(struct pockd *p, const struct request *r, int64_t count);

// Database thread, around a call that writes. The first goes with whatever
// transaction the call makes itself, the second with the one it is in, or
// makes one. `rc` is the call's.
int auditlog_before(struct store *s, const struct dbcall *c, bool is_alone,
                    struct error *err);
int auditlog_after(struct store *s, const struct dbcall *c, bool is_alone,
                   int rc, struct error *err);
// A request that the caller notes itself, in the transaction that comes next.
int auditlog_note(struct store *s, const struct request *r, int64_t count,
                  struct error *err);
// Something that pockd did by itself, in the open transaction.
int auditlog_own(struct store *s, const char *action, int64_t count,
                 const char *text, int64_t now_ms, struct error *err);
