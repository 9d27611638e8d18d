// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Dropped branches
 *
 * Which branches of the residual stream a step leaves out of its backward pass:
 * one of a handful of masks in turn, so that each is a program that is
 * compiled once. Every branch is dropped as often as the others, give or take
 * one. DropBP, arXiv 2402.17812, with one rate for all branches.
 */

#include "engine/models/scheme.h"

struct recipe;

enum { DROP_MASKS = 4 };

// A function of the recipe's seed and rate and of the step. Something that
// learns is always left.
void drop_choose(struct model_drop *out, const struct scheme *s,
                 const struct model_config *m, const struct recipe *r,
                 uint64_t step);
