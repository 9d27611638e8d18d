// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Merging again (loop thread)
 *
 * What an erase took of merged versions is merged again from clean parts, one
 * after the other, as soon as none of its parts waits to be learned again: see
 * storage/store_remerge.h. Nothing of it is kept here; after a crash the next
 * start finds it in the store. What fails is tried again, later each time.
 */

#include "ipc/encoder.h"

struct facts;
struct pockd;
struct remerge;

int remerge_create(struct remerge **out, struct pockd *p);
// After the tools. NULL is fine.
void remerge_destroy(struct remerge *m);
// Something waits in the store, and may be due by now.
void remerge_look(struct remerge *m);
// Key "remerges": those that wait.
void remerge_encode(struct encoder *e, const struct facts *f);
