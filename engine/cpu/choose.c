// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/choose.h"

#include "engine/base/rng.h"

#include <string.h>

/*
 * Which rows of a product stand for all of them: WTA-CRS, Liu et al., arXiv
 * 2305.15265. The winners of the largest p count as they are; the others are
 * drawn, and count as many times as they are unlikely. One number is drawn from
 * each of the equal shares of what is left (stratified), where the paper draws
 * all of them from the whole: the mean is the same, the variance is lower, and
 * rows come out in order.
 */

struct cpu_choose cpu_choose_room(void *scratch, int64_t n_rows)
{
    char *at = scratch;
    struct cpu_choose c = {.lengths = scratch};

    at += (size_t) n_rows * sizeof(*c.lengths);
    c.order = (int32_t *) (void *) at;
    at += (size_t) n_rows * sizeof(*c.order);
    c.factors = (float *) (void *) at;
    at += (size_t) n_rows * sizeof(*c.factors);
    c.is_certain = (bool *) at;
    return c;
}

// Does row a come before row b? Ties by number.
static bool is_before(const double *p, int32_t a, int32_t b)
{
    return p[a] > p[b] || (p[a] == p[b] && a < b);
}

static void sink(int32_t *heap, int64_t n, int64_t at, const double *p)
{
    for (;;) {
        int64_t child = 2 * at + 1;
        if (child >= n)
            return;
        if (child + 1 < n && is_before(p, heap[child + 1], heap[child]))
            child++;
        if (!is_before(p, heap[child], heap[at]))
            return;
        const int32_t up = heap[child];
        heap[child] = heap[at];
        heap[at] = up;
        at = child;
    }
}

// Marks the winners; returns how many, and the sum of p that is left.
static int64_t choose_winners(const struct cpu_choose *c, double *left,
                              int64_t n_chosen, int64_t n_rows, double total)
{
    const double *p = c->lengths;
    double rest = total;
    double least = total / (double) n_chosen;
    int64_t n = 0;

    *left = total;
    for (int64_t t = 0; t < n_rows; t++)
        c->order[t] = (int32_t) t;
    for (int64_t t = n_rows / 2; t-- > 0;)
        sink(c->order, n_rows, t, p);
    // The winners in their order go to the end of the heap, the best last.
    for (int64_t i = 1; i < n_chosen; i++) {
        const int32_t best = c->order[0];
        c->order[0] = c->order[n_rows - i];
        c->order[n_rows - i] = best;
        sink(c->order, n_rows - i, 0, p);
        rest -= p[best];
        if (rest / (double) (n_chosen - i) < least) {
            least = rest / (double) (n_chosen - i);
            *left = rest;
            n = i;
        }
    }
    memset(c->is_certain, 0, (size_t) n_rows * sizeof(*c->is_certain));
    for (int64_t i = 1; i <= n; i++)
        c->is_certain[c->order[n_rows - i]] = true;
    return n;
}

static uint64_t word(const int32_t *half)
{
    return (uint32_t) half[0] | (uint64_t) (uint32_t) half[1] << 32;
}

static void draw_rows(const struct cpu_choose *c, int32_t *rows,
                      const int32_t *draw, uint32_t stream, int64_t n_chosen,
                      int64_t n_rows, double total)
{
    const double *p = c->lengths;
    double left = 0, passed = 0;
    struct rng rng;
    const int64_t n_draws =
        n_chosen - choose_winners(c, &left, n_chosen, n_rows, total);
    int64_t n = 0, drawn = 0;
    int32_t last = 0;

    // Streams of a run below 2^62 are others'.
    rng_init(&rng, word(draw),
             (uint64_t) 1 << 62 ^ word(draw + 2) << 11 ^ stream);
    // Rounding may have left the sum of them a little off.
    left = 0;
    for (int64_t t = 0; t < n_rows; t++)
        left += c->is_certain[t] ? 0 : p[t];
    double next = rng_uniform(&rng) / (double) n_draws * left;
    for (int64_t t = 0; t < n_rows; t++) {
        if (c->is_certain[t]) {
            c->factors[n] = 1;
            rows[n++] = (int32_t) t;
            continue;
        }
        passed += p[t];
        last = p[t] > 0 ? (int32_t) t : last;
        while (drawn < n_draws && next < passed) {
            c->factors[n] = (float) (left / ((double) n_draws * p[t]));
            rows[n++] = (int32_t) t;
            drawn++;
            next =
                ((double) drawn + rng_uniform(&rng)) / (double) n_draws * left;
        }
    }
    for (; n < n_chosen; n++) { // where the last share ended a bit too early
        c->factors[n] = (float) (left / ((double) n_draws * p[last]));
        rows[n] = last;
    }
}

void cpu_choose(const struct cpu_choose *c, int32_t *rows, const float *norms,
                const int32_t *draw, uint32_t stream, int64_t n_chosen,
                int64_t n_rows)
{
    double *p = c->lengths;
    double total = 0;
    int64_t n_positive = 0, n = 0;

    for (int64_t t = 0; t < n_rows; t++) {
        p[t] *= norms[t];
        if (!(p[t] > 0)) // nor if it is no number
            p[t] = 0;
        n_positive += p[t] > 0;
        total += p[t];
    }
    if (n_positive > n_chosen) {
        draw_rows(c, rows, draw, stream, n_chosen, n_rows, total);
        return;
    }
    for (int64_t t = 0; t < n_rows && n < n_chosen; t++) {
        if (p[t] == 0 && n_chosen < n_rows)
            continue;
        c->factors[n] = 1;
        rows[n++] = (int32_t) t;
    }
    for (; n < n_chosen; n++) {
        c->factors[n] = 0;
        rows[n] = 0;
    }
}
