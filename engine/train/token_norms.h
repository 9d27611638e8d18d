// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Token norms
 *
 * How long the gradients of each token of the training data were the last time
 * it was seen, for those who choose tokens (KEPT_TOKENS): one number a token,
 * over all linears that choose, in that of the average token of its
 * micro-batch; 1 before the first time. It only has to be above zero where a
 * gradient may be: any such numbers give the right mean, good ones a low
 * variance.
 */

#include "engine/train/packing.h"

#include <stddef.h>
#include <stdint.h>

struct token_norms;

// Borrows `d`. `places`: in the largest program.
int token_norms_create(struct token_norms **out, const struct dataset *d,
                       size_t places);
void token_norms_destroy(struct token_norms *n);

// Of the places of rows [first, first + rows) of a packing, zero in padding.
// Borrowed until the next call.
const float *token_norms_of_rows(struct token_norms *n, const struct packing *p,
                                 uint32_t first, uint32_t rows);
// What a program says about the same rows: sums of squares, of any unit.
void token_norms_take(struct token_norms *n, const struct packing *p,
                      uint32_t first, uint32_t rows, const float *squares);
// The windows of this packing are done: what was taken of them counts from now
// on. A step that is done again before that starts from the same numbers.
void token_norms_commit(struct token_norms *n, const struct packing *p);

// All of them, window by window.
size_t token_norms_floats(const struct token_norms *n);
float *token_norms_values(struct token_norms *n);
