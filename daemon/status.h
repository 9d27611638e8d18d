// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Status (loop thread)
 *
 * What `status` and `why` say, from what pockd knows without asking anybody.
 */

#include "ipc/encoder.h"

#include <stdbool.h>
#include <stddef.h>

struct gate;
struct pockd;

// The keys of a result of `status`, into an open map.
void status_encode(struct encoder *e, const struct pockd *p);
// A list of gates: all of them, or those that are closed.
void status_encode_gates(struct encoder *e, const char *key,
                         const struct gate *gates, bool only_closed);
// One sentence: what blocks, or that nothing does.
void status_why(char *out, size_t size, const struct gate *gates);
