// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Rows of scores or logits on their way to a softmax, for *_vec.c files: values
 * from .. to of a row.
 */

#include "engine/cpu/vec.h"

#include <math.h>

ALWAYS_INLINE float max_row(const float *p, int64_t from, int64_t to)
{
    vec m = vec_set(-INFINITY);
    int64_t s = from;

    for (; s + LANES <= to + 1; s += LANES)
        m = vec_max(m, vec_load(p + s));
    float best = vec_largest(m);
    for (; s <= to; s++)
        best = p[s] > best ? p[s] : best;
    return best;
}

// p = cap * tanh(p / cap)
static void __attribute__((unused))
cap_row(float *p, float cap, int64_t from, int64_t to)
{
    const float part = 1.0f / cap;
    int64_t s = from;

    for (; s + LANES <= to + 1; s += LANES)
        vec_store(p + s, cap * vec_tanh(vec_load(p + s) * part));
    if (s <= to)
        vec_store_some(p + s,
                       cap * vec_tanh(vec_load_some(p + s, to + 1 - s) * part),
                       to + 1 - s);
}
