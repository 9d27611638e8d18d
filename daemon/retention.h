// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Retention (loop thread)
 *
 * Records whose time is up are erased: minutes after the start, every few
 * hours, and soon after somebody changed how long they stay. Not while a
 * worker trains, which would have to begin anew.
 */

struct pockd;
struct retention;

int retention_create(struct retention **out, struct pockd *p);
// NULL is fine; after dbthread_destroy().
void retention_destroy(struct retention *t);
// The policy or a stream's days changed.
void retention_changed(struct retention *t);
