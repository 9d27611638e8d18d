// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Random graphs for the planner's properties: sums, scales, products and
 * updates of state over matrices of a few sizes, some of them outputs.
 */

#include <stdio.h>

#include "engine/base/rng.h"
#include "engine/ir/builder.h"

enum { RANDOM_SIZES = 4 };

struct random_graph {
    struct builder b;
    struct rng r;
    value_id pool[RANDOM_SIZES][512]; // live candidates, by size
    int n_pool[RANDOM_SIZES];
    value_id state[RANDOM_SIZES]; // newest version
};

static inline int64_t random_rows(int size)
{
    static const int64_t rows[RANDOM_SIZES] = {1, 3, 8, 31};
    return rows[size];
}

static inline value_id random_pick(struct random_graph *x, int size)
{
    // Mostly recent values, sometimes old ones, as in a backward pass.
    const int n = x->n_pool[size];
    const uint32_t span = rng_below(&x->r, 4) ? 3u : (uint32_t) n;
    const uint32_t back =
        rng_below(&x->r, span < (uint32_t) n ? span : (uint32_t) n);
    return x->pool[size][n - 1 - (int) back];
}

static inline void random_step(struct random_graph *x)
{
    const struct op_attr two = {.alpha = 2};
    const int size = (int) rng_below(&x->r, RANDOM_SIZES);
    const value_id a = random_pick(x, size);
    const value_id c = random_pick(x, size);
    value_id y;

    switch (rng_below(&x->r, 6)) {
    case 0:
        y = builder_unary(&x->b, OP_scale, &two, a);
        break;
    case 1: // (R,16) (16,16) from the state of another size
        y = builder_matmul(&x->b, a, x->state[0], c, &two);
        break;
    case 2:
        y = builder_binary(&x->b, OP_swiglu, NULL, a, c);
        break;
    case 3:
        if (size > 0) {
            x->state[size] =
                builder_binary(&x->b, OP_accumulate, NULL, x->state[size], a);
            return;
        }
        y = builder_unary(&x->b, OP_scale, &two, c);
        break;
    case 4:
        if (size > 0) {
            y = builder_binary(&x->b, OP_add, NULL, a, x->state[size]);
            break;
        }
        y = builder_binary(&x->b, OP_add, NULL, c, a);
        break;
    default:
        y = builder_binary(&x->b, OP_add, NULL, a, c);
        break;
    }
    x->pool[size][x->n_pool[size]++] = y;
}

// Up to 400 nodes; x->b.rc says whether it worked.
static inline void random_graph_make(struct random_graph *x, struct arena *a,
                                     uint64_t seed, int n_nodes)
{
    char name[32];

    *x = (struct random_graph){0};
    x->b.rc = graph_create(&x->b.g, a);
    rng_init(&x->r, seed, 11);
    for (int i = 0; i < RANDOM_SIZES; i++) {
        const struct shape s = shape2(random_rows(i), 16);
        const struct shape st = i ? s : shape2(16, 16);
        (void) snprintf(name, sizeof(name), "input.%d", i);
        x->pool[i][x->n_pool[i]++] = builder_input(&x->b, name, DTYPE_f32, &s);
        (void) snprintf(name, sizeof(name), "state.%d", i);
        x->state[i] = builder_state(&x->b, name, &st);
    }
    for (int i = 0; i < n_nodes; i++)
        random_step(x);
    for (int i = 0; i < RANDOM_SIZES; i++) {
        (void) snprintf(name, sizeof(name), "output.%d", i);
        builder_output(&x->b, random_pick(x, i), name);
    }
}
