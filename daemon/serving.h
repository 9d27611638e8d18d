// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Serving (loop thread)
 *
 * Answers gen.start and score by a worker that is started when it is needed
 * and exits when it was not for a while. It has one base model loaded and the
 * adapters that were asked for; requests are answered one after another, those
 * of an app in turns with those of others.
 */

#include "daemon/request.h"

struct pockd;
struct serving;

int serving_create(struct serving **out, struct pockd *p);
// Requests are answered with SHUTTING_DOWN. NULL is fine.
void serving_destroy(struct serving *s);

// Both take the request.
void serving_generate(struct serving *s, struct request *r);
void serving_score(struct serving *s, struct request *r);

// Hands over what waited for its turn; soon after each question that ended.
void serving_take_turns(struct serving *s);

// Requests are being answered, and there is not memory enough for training
// beside them.
bool serving_needs_machine(const struct serving *s);
