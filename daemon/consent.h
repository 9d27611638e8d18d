// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Consent (loop thread)
 *
 * Which apps there are, what their owner granted them, and until when; and the
 * one switch that closes everything. The table of the store is held here, so
 * that every request is judged without asking anybody. A job's records are
 * judged once more by the query that reads them (storage/store_filter.h).
 *
 * The owner's own tools are not apps: programs of the owner's user, or root,
 * outside of every sandbox known here. By the option `consent`: trust (that of
 * --user and --dir) takes such a program for the owner unless it says that it
 * is an app, and grants those that say so; ask (that of the system service)
 * takes it for an app unless it asks to be the owner.
 */

#include "daemon/request.h"
#include "storage/store_app.h"

struct pockd;
struct consent;

enum { CONSENT_APPS_MAX = 256 };

// Reads the store, so before the database thread begins.
int consent_create(struct consent **out, struct pockd *p, struct error *err);
// What ended while nobody was there to see it. Once, when all parts are there.
void consent_start(struct consent *c);
void consent_destroy(struct consent *c); // NULL is fine

// hello: who the connection is from here on. A failure is told by *code and the
// sentence.
int consent_meet(struct consent *c, struct request *r, enum rpc_error *code,
                 struct error *err);
// The app's word for itself, or NULL for the owner's tools.
const struct store_app *consent_of(const struct consent *c,
                                   const struct request *r);
// Whether what the owner granted, or switched off, says if it may be made.
bool consent_judges(const struct request *r);
// Whether the request may be made. When not, it has been answered.
bool consent_admits(struct consent *c, struct request *r);
// Whether a record of that kind and stream may be put. When not, why.
int consent_admits_record(const struct consent *c, const struct request *r,
                          uint32_t kind, const char *stream, size_t bytes,
                          struct error *err);

// By name, or by what follows the colon where that is one app only: -ENOENT,
// -ENOTUNIQ and a sentence.
int consent_find(const struct consent *c, const char *name,
                 struct store_app *out, struct error *err);
const struct store_app *consent_at(const struct consent *c, size_t i);
size_t consent_count(const struct consent *c);
size_t consent_pending(const struct consent *c);

// The owner speaks of an app, or (NULL) of the switch: what is said last holds,
// in whatever order the store is done with it.
uint32_t consent_say(struct consent *c, const char *name);
bool consent_is_last(const struct consent *c, const char *name, uint32_t said);
// A row as it holds from now on; the store is the caller's. -ENOSPC: too many;
// -ESTALE: something was said later.
int consent_set(struct consent *c, const struct store_app *row, uint32_t said);
// Whether jobs and puts that this row allowed must be looked at again.
bool consent_takes_records(const struct store_app *before,
                           const struct store_app *after);
// Any thread: moves on when something is taken away. What was admitted before
// and is not in the store yet must be judged again.
uint32_t consent_closings(const struct consent *c);

bool consent_is_off(const struct consent *c);
// At once, unless something was said later; the store is the caller's.
void consent_switch(struct consent *c, bool is_off, uint32_t said);
#define CONSENT_OFF_KEY "state.off"

// What may be done now: purposes of a granted row whose time has not ended.
uint32_t consent_purposes(const struct store_app *a, int64_t unix_ms);
const char *consent_state_name(const struct store_app *a, int64_t unix_ms);
