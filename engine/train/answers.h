// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Answers
 *
 * What a model with some adapter says to the prompts of a dataset, word by word
 * the most likely, and how far that is from the replies in it: for the
 * objective that no pass over given text can tell.
 */

#include <stdint.h>

struct adapter;
struct answers;
struct base_model;
struct dataset;
struct error;

int answers_create(struct answers **out, struct base_model *base,
                   struct error *err);
void answers_destroy(struct answers *a);

// The values that answer from now on; copied.
int answers_use(struct answers *a, const struct adapter *adapter,
                struct error *err);
// 1 - F1 of the words that are said against those of the reply, which is what
// counts in the window; a dataset for objective f1 has none but such. -EINTR
// when the device was stopped.
int answers_loss(double *loss, struct answers *a, const struct dataset *d,
                 uint32_t window, struct error *err);
