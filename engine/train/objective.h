// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Objectives
 *
 * What a step without gradients makes smaller. Anything that forward passes can
 * tell will do (Malladi et al., arXiv 2305.17333, 3.3): it need not have a
 * derivative. Each is a mean over examples, and smaller is better:
 *
 *   nll       nats a token, over all tokens that count
 *   feedback  records of kind feedback: text that was shown and accepted, or
 *             not. With p the geometric mean of the text's token probabilities,
 *             -log(p) where it was accepted and -log(1 - p) where it was not
 *             (the second is unlikelihood, Welleck et al., arXiv 1908.04319)
 *   accuracy  pairs whose replies are of a few (2 to 16 different ones): 1
 * where another of them has as many nats a token or fewer, else 0 f1 pairs: 1
 * less the F1 of the words that the model says, greedily, against those of the
 * reply
 */

#include "engine/train/record.h"

#include <stddef.h>
#include <stdint.h>

struct error;
struct evaluator_sum;

enum objective {
    OBJECTIVE_NLL,
    OBJECTIVE_FEEDBACK,
    OBJECTIVE_ACCURACY,
    OBJECTIVE_F1,
    OBJECTIVE_COUNT
};

enum { OBJECTIVE_CHOICES_MAX = 16 };

// Of one example, from the nats of each of its choices (one, but for accuracy).
// `label`: the choice that is right, or whether it was accepted. Not for f1.
double objective_loss(enum objective o, const struct evaluator_sum *choices,
                      uint32_t n_choices, uint32_t label);
// 1 - F1 of bags of words, which blanks and ends of lines divide.
double objective_f1_loss(const char *said, size_t n_said, const char *wanted,
                         size_t n_wanted);

// The different replies of the pairs, in the order in which they come; *n is 0
// where the objective has none. -ENODATA or -E2BIG and a sentence when they are
// no choices.
int objective_choices(struct record_text out[OBJECTIVE_CHOICES_MAX],
                      uint32_t *n, enum objective o,
                      const struct record *records, size_t n_records,
                      struct error *err);
