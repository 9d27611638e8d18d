// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * What is kept for the gradients of weights
 *
 * The gradient of a LoRA's A, and of a whole weight, reads the input of its
 * linear, which has to lie in memory from the forward pass on. It may be made
 * of less; then only this gradient is an estimate: the forward pass and the
 * gradients of inputs stay what they are, to the byte.
 *
 * Linears that read the same input share what is kept of it: the first of them
 * that learns names it. The input of attn_output stays whole, for the gradient
 * of attention reads it anyway.
 */

#include "engine/models/scheme.h"

enum kept_how {
    KEPT_WHOLE,
    // Of each sub-token its product with a fixed direction, the mean of the
    // run's first sub-tokens. VeLoRA, arXiv 2405.17991.
    KEPT_SUBTOKENS,
    // Some tokens, chosen by how long their rows are and how long their
    // gradients were the last time, those that count most for sure. WTA-CRS,
    // arXiv 2305.15265; right on average.
    KEPT_TOKENS,
    KEPT_KINDS
};

struct kept {
    uint8_t how;     // enum kept_how
    uint8_t targets; // bits 1 << enum model_linear: of these linears
    uint16_t groups; // SUBTOKENS: of an input
    float scale;     // SUBTOKENS: of the gradient
    float part;      // TOKENS: of a program's
};

// Nothing but zeros is KEPT_WHOLE.
bool kept_equal(const struct kept *a, const struct kept *b);
// Does it fit the scheme? -EINVAL and a sentence that names the linear.
int kept_check(const struct kept *k, const struct scheme *s,
               const struct model_config *m, struct error *err);
// Is less kept of this linear's input? `first` gets the one that names what is.
bool kept_is_less(enum model_linear *first, const struct kept *k,
                  const struct scheme *s, uint32_t block,
                  enum model_linear linear);
// Values of the input that the gradient is about: all, or the part that learns.
int64_t kept_columns(const struct scheme *s, const struct model_config *m,
                     uint32_t block, enum model_linear linear);

// Of a program's tokens, those whose inputs stay.
enum { KEPT_TOKENS_MIN = 10 };
uint32_t kept_tokens(const struct kept *k, uint32_t n_tokens);

/*
 * Directions of sub-tokens: states of a run, zero until its first batch.
 */

struct kept_direction {
    char name[64]; // "blk.0.attn_q.weight.subtoken"
    uint32_t size; // floats
};

// How many there are; fills at most `max`.
uint32_t kept_directions(struct kept_direction *out, uint32_t max,
                         const struct kept *k, const struct scheme *s,
                         const struct model_config *m);
