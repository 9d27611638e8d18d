// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Random programs over the whole op table, for the differential test
 *
 * A forward graph of some tens of nodes over two widths: norms, linears of
 * every storage type with and without adapters, rotations, attention, gates,
 * sums and scales, some of them made twice and some for nobody. Half of them
 * learn: a loss, gradients and one of the optimizer's modes. The other half
 * only runs, and updates state in its middle: caches, sums, weights that learn
 * from the product that read them.
 *
 * T tokens in sequences of L; the legend of ops.def otherwise.
 */

#include <stdio.h>

#include "engine/autodiff/autodiff.h"
#include "engine/autodiff/optim.h"
#include "engine/base/rng.h"
#include "engine/ir/builder.h"

enum {
    RANDOM_TOKENS = 12,
    RANDOM_LENGTH = 6,
    RANDOM_VOCAB = 37,
    RANDOM_WIDTHS = 2,
    RANDOM_NARROW = 0, // index of the widths
    RANDOM_WIDE = 1,
    RANDOM_HEAD_DIM = 16,
    RANDOM_POOL = 256,
};

struct random_program {
    struct builder b;
    struct rng r;
    uint32_t rows; // T
    bool learns;
    value_id pool[RANDOM_WIDTHS][RANDOM_POOL]; // (T,width), all readable
    uint32_t n_pool[RANDOM_WIDTHS];
    value_id params[32]; // of what learns
    uint32_t n_params;
    uint32_t n_names;
    uint32_t n_outputs;
    value_id pos, start, hyper;
    value_id norms, draw;           // of rows that are chosen
    value_id memory[RANDOM_WIDTHS]; // (width,width), its newest version
    value_id adam[3];               // (NARROW,NARROW): p, m, v
    value_id moved[2];              // (NARROW,NARROW): p, m
};

static inline int64_t random_width(int w)
{
    return w == RANDOM_NARROW ? 32 : 64;
}

static inline value_id random_from(struct random_program *x, int w)
{
    // Mostly recent values, so that the graph grows deep.
    const uint32_t n = x->n_pool[w];
    const uint32_t span = rng_below(&x->r, 3) && n > 4 ? 4 : n;
    return x->pool[w][n - 1 - rng_below(&x->r, span)];
}

static inline void random_keep(struct random_program *x, int w, value_id v)
{
    if (v != VALUE_NONE && x->n_pool[w] < RANDOM_POOL)
        x->pool[w][x->n_pool[w]++] = v;
}

static inline const char *random_name(struct random_program *x, char name[48],
                                      const char *suffix)
{
    (void) snprintf(name, 48, "t%u%s", x->n_names++, suffix);
    return name;
}

static inline value_id random_weight(struct random_program *x, int64_t rows,
                                     int64_t cols)
{
    const struct shape s = rows ? shape2(rows, cols) : shape1(cols);
    uint32_t type = DTYPE_f32;
    char name[48];

    // Of those that such rows are whole blocks of.
    while (rows) {
        type = rng_below(&x->r, DTYPE_COUNT);
        if (dtype_is_weight((enum dtype) type) &&
            cols % dtype_infos[type].block == 0)
            break;
    }
    return builder_weight(&x->b, random_name(x, name, ".weight"),
                          (uint8_t) type, &s);
}

// State with random values, which learns in some programs. By its ending the
// bank knows it from what the optimizer keeps beside it, which begins as zero.
static inline value_id random_param(struct random_program *x, int64_t rows,
                                    int64_t cols)
{
    const struct shape s = rows ? shape2(rows, cols) : shape1(cols);
    char name[48];
    const value_id v =
        builder_state(&x->b, random_name(x, name, ".lora_a"), &s);
    if (x->n_params < 32 && rng_below(&x->r, 4))
        x->params[x->n_params++] = v;
    return v;
}

static inline float random_alpha(struct random_program *x)
{
    static const float alphas[] = {1, 1, 0.5f, -0.75f, 2};
    return alphas[rng_below(&x->r, 5)];
}

// Values that no one else reads are what passes look for: factors and a sum
// behind `y`, whose other summand may come after it.
static inline value_id random_finish(struct random_program *x, int w,
                                     value_id y)
{
    for (uint32_t n = rng_below(&x->r, 3); n > 0; n--) {
        const struct op_attr by = {.alpha = random_alpha(x)};
        y = builder_unary(&x->b, OP_scale, &by, y);
    }
    if (rng_below(&x->r, 3) == 0)
        return y;
    const struct op_attr half = {.alpha = 0.5f};
    value_id other = random_from(x, w);
    if (rng_below(&x->r, 2))
        other = builder_unary(&x->b, OP_scale, &half, other);
    return rng_below(&x->r, 2) ? builder_binary(&x->b, OP_add, NULL, y, other)
                               : builder_binary(&x->b, OP_add, NULL, other, y);
}

// alpha x w^T + y; of x, its gradient may read less than all.
static inline value_id random_learning(struct random_program *x, value_id in,
                                       int64_t columns, value_id w, value_id y,
                                       float alpha)
{
    const struct op_attr plain = {.alpha = alpha, .trans_b = 1};
    const struct op_attr kept = {.alpha = alpha};
    const struct shape s = shape1(columns >> rng_below(&x->r, 4));
    char name[48];

    if (!x->learns || rng_below(&x->r, 2))
        return builder_matmul(&x->b, in, w, y, &plain);
    if (rng_below(&x->r, 2)) {
        const struct op_attr some = {.n_rows = 1 + rng_below(&x->r, x->rows),
                                     .stream = x->n_names};
        const value_id from[] = {in, x->norms, x->draw};
        value_id xs[2] = {VALUE_NONE, VALUE_NONE};
        builder_apply(&x->b, xs, OP_choose_rows, &some, from, 3);
        const value_id of[] = {in, w, xs[0], xs[1], y};
        return builder_apply(&x->b, NULL, OP_matmul_kept, &kept, of,
                             y == VALUE_NONE ? 4 : 5);
    }
    const value_id v =
        builder_binary(&x->b, OP_subtoken_mean, NULL, in,
                       builder_state(&x->b, random_name(x, name, ".subtoken"),
                                     &s));
    const value_id z = builder_binary(&x->b, OP_subtoken_dot, &kept, in, v);
    const value_id of[] = {in, w, z, v, y};
    return builder_apply(&x->b, NULL, OP_matmul_kept, &kept, of,
                         y == VALUE_NONE ? 4 : 5);
}

static inline void random_linear(struct random_program *x)
{
    const int from = (int) rng_below(&x->r, RANDOM_WIDTHS);
    const int to = (int) rng_below(&x->r, RANDOM_WIDTHS);
    const int64_t i = random_width(from);
    const int64_t o = random_width(to);
    struct op_attr attr = {.alpha = random_alpha(x)};
    const value_id in = random_from(x, from);

    attr.trans_b = rng_below(&x->r, 4) > 0;
    const value_id w =
        attr.trans_b ? random_weight(x, o, i) : random_weight(x, i, o);
    const value_id c = rng_below(&x->r, 4) ? VALUE_NONE : random_from(x, to);
    value_id y = builder_matmul(&x->b, in, w, c, &attr);
    const uint32_t kind = rng_below(&x->r, 4);
    if (kind == 1) { // a low-rank branch
        const int64_t rank = 1 + rng_below(&x->r, 9);
        const struct op_attr scaled = {.alpha = random_alpha(x), .trans_b = 1};
        const value_id a = random_param(x, rank, i);
        const value_id h = random_learning(x, in, i, a, VALUE_NONE, 1);
        const value_id b = random_param(x, o, rank);
        y = builder_matmul(&x->b, h, b, y, &scaled);
        if (attr.trans_b && rng_below(&x->r, 2)) {
            const value_id of[] = {a, w, b};
            const value_id ratio =
                builder_apply(&x->b, NULL, OP_row_ratio, &scaled, of, 3);
            const value_id m = builder_binary(&x->b, OP_scale_columns, NULL,
                                              random_param(x, 0, o), ratio);
            y = builder_binary(&x->b, OP_scale_columns, NULL, y, m);
        }
    } else if (kind == 2) { // a whole delta
        y = random_learning(x, in, i, random_param(x, o, i), y, attr.alpha);
    } else if (kind == 3) { // a delta of some columns
        const struct op_attr plain = {.alpha = 1, .trans_b = 1};
        const struct op_attr part = {.part =
                                         (uint8_t) (1 + rng_below(&x->r, 254))};
        const value_id d = random_param(x, o, op_part_columns(part.part, i));
        y = builder_matmul(&x->b, builder_unary(&x->b, OP_columns, &part, in),
                           d, y, &plain);
    }
    random_keep(x, to, random_finish(x, to, y));
}

static inline void random_attention(struct random_program *x)
{
    const int w = (int) rng_below(&x->r, RANDOM_WIDTHS);
    const uint32_t heads = (uint32_t) random_width(w) / RANDOM_HEAD_DIM;
    const struct op_attr turn = {.rope_base = 100,
                                 .rope_sign = 1,
                                 .n_heads = heads,
                                 .head_dim = RANDOM_HEAD_DIM,
                                 .rope_dims = RANDOM_HEAD_DIM};
    const struct op_attr attr = {
        .n_heads = heads,
        .n_kv_heads = 2,
        .head_dim = RANDOM_HEAD_DIM,
        .length = x->learns ? RANDOM_LENGTH : 0,
        .cap = rng_below(&x->r, 3) ? 0 : 3,
        .window = rng_below(&x->r, 3) ? 0 : 2,
    };
    const value_id q =
        builder_binary(&x->b, OP_rope, &turn, random_from(x, w), x->pos);
    const value_id k = random_from(x, RANDOM_NARROW);
    const value_id v = random_from(x, RANDOM_NARROW);
    if (x->learns) {
        const value_id in[] = {q, k, v, x->start};
        random_keep(x, w,
                    builder_apply(&x->b, NULL, OP_attention, &attr, in, 4));
        return;
    }
    const struct shape s = shape2(RANDOM_TOKENS, 2 * RANDOM_HEAD_DIM);
    value_id cache[2];
    for (int i = 0; i < 2; i++) {
        char name[48];
        const value_id in[] = {i ? v : k, x->pos,
                               builder_state(&x->b,
                                             random_name(x, name, ".cache"),
                                             &s)};
        cache[i] = builder_apply(&x->b, NULL, OP_kv_store, NULL, in, 3);
    }
    const value_id in[] = {q, cache[0], cache[1], x->pos};
    random_keep(x, w,
                builder_apply(&x->b, NULL, OP_attention_cached, &attr, in, 4));
}

// Memory M (C,C): y = x M + c is read, then M += 0.01 x^T y, or M = 0.
static inline void random_memory(struct random_program *x)
{
    const int w = (int) rng_below(&x->r, RANDOM_WIDTHS);
    const struct shape s = shape2(random_width(w), random_width(w));
    const struct op_attr read = {.alpha = random_alpha(x), .trans_b = 1};
    const struct op_attr learn = {.alpha = 0.01f, .trans_a = 1};
    const value_id in = random_from(x, w);

    if (x->memory[w] == VALUE_NONE) {
        char name[48];
        x->memory[w] =
            builder_state(&x->b, random_name(x, name, ".lora_a"), &s);
    }
    const value_id y =
        builder_matmul(&x->b, in, x->memory[w], VALUE_NONE, &read);
    if (rng_below(&x->r, 4) == 0)
        x->memory[w] = builder_unary(&x->b, OP_zero, NULL, x->memory[w]);
    else
        x->memory[w] =
            builder_binary(&x->b, OP_accumulate, NULL, x->memory[w],
                           builder_matmul(&x->b, in, y, VALUE_NONE, &learn));
    random_keep(x, w, random_finish(x, w, y));
}

static inline void random_hyper(struct random_program *x)
{
    const struct shape s = shape1(ADAMW_HYPERS);

    if (x->hyper == VALUE_NONE)
        x->hyper = builder_input(&x->b, "hyper", DTYPE_f32, &s);
}

// As the memory, without gradients: each row sees a copy of its own.
static inline void random_moved(struct random_program *x)
{
    const struct shape s = shape2(32, 32);
    const struct op_attr noise = {.stream = 1,
                                  .noise = (uint8_t) rng_below(&x->r, 2)};
    const struct op_attr each = {.alpha = 0.5f, .copies = x->rows};
    const value_id from = random_from(x, RANDOM_NARROW);

    random_hyper(x);
    if (x->moved[0] == VALUE_NONE) {
        x->moved[0] = builder_state(&x->b, "moved.lora_a", &s);
        x->moved[1] = builder_state(&x->b, "moved.m", &s);
    }
    const value_id of[] = {x->moved[0], x->draw, x->pos, x->norms};
    const value_id in[] = {from,
                           builder_apply(&x->b, NULL, OP_perturb, &noise, of,
                                         4),
                           random_from(x, RANDOM_NARROW)};
    const value_id y = builder_apply(&x->b, NULL, OP_matmul_copies, &each, in,
                                     2 + (int) rng_below(&x->r, 2));
    const value_id next[] = {x->moved[0], x->moved[1],
                             builder_apply(&x->b, NULL, OP_noise_sum, &noise,
                                           of, 4),
                             x->hyper};
    builder_apply(&x->b, x->moved, OP_momentum, NULL, next, 4);
    random_keep(x, RANDOM_NARROW, random_finish(x, RANDOM_NARROW, y));
}

// As the memory, by the optimizer.
static inline void random_adamw(struct random_program *x)
{
    const struct shape s = shape2(32, 32);
    const struct op_attr read = {.alpha = 1};
    const struct op_attr learn = {.alpha = 0.1f, .trans_a = 1};
    const value_id from = random_from(x, RANDOM_NARROW);

    random_hyper(x);
    if (x->adam[0] == VALUE_NONE) {
        static const char *const names[] = {"adam.p", "adam.m", "adam.v"};
        for (int i = 0; i < 3; i++) // zeros at first
            x->adam[i] = builder_state(&x->b, names[i], &s);
    }
    const value_id y =
        builder_matmul(&x->b, from, x->adam[0], VALUE_NONE, &read);
    const value_id in[] = {x->adam[0], x->adam[1], x->adam[2],
                           builder_matmul(&x->b, from, y, VALUE_NONE, &learn),
                           x->hyper};
    builder_apply(&x->b, x->adam, OP_adamw, NULL, in, 5);
    random_keep(x, RANDOM_NARROW, random_finish(x, RANDOM_NARROW, y));
}

// x (T,w) -> (T,w), by one of the small operators
static inline value_id random_pointwise(struct random_program *x, uint32_t w,
                                        value_id a)
{
    const struct op_attr by = {.alpha = random_alpha(x)};
    const struct op_attr cap = {.alpha = 2};
    const struct op_attr half = {.width = (uint32_t) random_width(w) / 2};
    value_id part[2] = {VALUE_NONE, VALUE_NONE};

    switch (rng_below(&x->r, 4)) {
    case 0:
        return builder_unary(&x->b, OP_soft_cap, &cap, a);
    case 1:
        return builder_binary(&x->b, OP_add_columns, NULL, a,
                              random_weight(x, 0, random_width(w)));
    case 2:
        builder_apply(&x->b, part, OP_split, &half, &a, 1);
        return builder_binary(&x->b, OP_join, NULL, part[1], part[0]);
    default:
        return builder_unary(&x->b, OP_scale, &by, a);
    }
}

// A node that exists already, once more.
static inline void random_repeat(struct random_program *x)
{
    const struct graph *g = x->b.g;
    const struct node n = g->nodes[rng_below(&x->r, g->n_nodes)];
    value_id out[OP_OUTPUTS_MAX];

    for (int i = 0; i < n.n_out; i++)
        if (op_updates((enum op) n.op, i) >= 0)
            return;
    for (int i = 0; i < n.n_in; i++)
        if (g->values[graph_storage(g, n.in[i])].kind == VALUE_STATE &&
            !x->learns)
            return; // may be an old version
    builder_apply(&x->b, out, (enum op) n.op, &n.attr, n.in, n.n_in);
    for (int w = 0; w < RANDOM_WIDTHS && x->b.rc == 0; w++) {
        const struct shape *s = &x->b.g->values[out[0]].shape;
        if (s->rank == 2 && s->ne[0] == x->rows && s->ne[1] == random_width(w))
            random_keep(x, w, out[0]);
    }
}

static inline void random_step(struct random_program *x)
{
    const int w = (int) rng_below(&x->r, RANDOM_WIDTHS);
    const struct op_attr eps = {.eps = 1e-2f};
    const value_id a = random_from(x, w);
    const uint32_t choice = rng_below(&x->r, x->learns ? 13 : 17);

    if (choice < 4)
        random_linear(x);
    else if (choice < 6)
        random_keep(x, w,
                    builder_binary(&x->b, OP_rmsnorm, &eps, a,
                                   rng_below(&x->r, 2)
                                       ? random_weight(x, 0, random_width(w))
                                       : random_param(x, 0, random_width(w))));
    else if (choice < 8)
        random_keep(x, w,
                    builder_binary(&x->b, OP_add, NULL, a, random_from(x, w)));
    else if (choice == 8)
        random_keep(x, w, random_pointwise(x, w, a));
    else if (choice == 9)
        random_keep(x, w,
                    builder_binary(&x->b,
                                   rng_below(&x->r, 2) ? OP_swiglu : OP_geglu,
                                   NULL, a, random_from(x, w)));
    else if (choice == 10)
        random_attention(x);
    else if (choice < 13)
        random_repeat(x);
    else if (choice < 15)
        random_memory(x);
    else if (choice == 15)
        random_moved(x);
    else
        random_adamw(x);
    // Sometimes the host looks at what happens to be there.
    if (rng_below(&x->r, 12) == 0) {
        char name[32];
        (void) snprintf(name, sizeof(name), "out.%u", x->n_outputs++);
        builder_output(&x->b, random_from(x, w), name);
    }
}

// Gradients of the params that the loss depends on, and what becomes of them.
static inline int random_learn(struct random_program *x)
{
    const struct shape s = shape1(x->rows);
    const int w = (int) rng_below(&x->r, RANDOM_WIDTHS);
    value_id grads[32];
    value_id out[3];
    uint32_t n = 0;

    const value_id in[] = {random_from(x, w),
                           random_weight(x, RANDOM_VOCAB, random_width(w)),
                           builder_input(&x->b, "targets", DTYPE_i32, &s),
                           builder_input(&x->b, "weights", DTYPE_f32, &s)};
    builder_apply(&x->b, out, OP_xent, NULL, in, 4);
    builder_output(&x->b, out[0], "loss");
    builder_output(&x->b, out[1], "nll");
    if (x->b.rc < 0)
        return x->b.rc;

    struct graph *g = x->b.g;
    bool *reached = arena_calloc(g->arena, g->n_values + 1u, sizeof(bool));
    if (!reached)
        return -1;
    reached[out[0]] = true;
    for (node_id i = g->n_nodes; i-- > 0;) {
        const struct node *node = &g->nodes[i];
        bool any = false;
        for (int k = 0; k < node->n_out; k++)
            any |= reached[node->out[k]];
        for (int k = 0; k < node->n_in; k++)
            reached[node->in[k]] |= any;
    }
    for (uint32_t i = 0; i < x->n_params; i++)
        if (reached[x->params[i]])
            x->params[n++] = x->params[i];
    if (n == 0)
        return 0;
    const int rc = autodiff(grads, g, out[0], x->params, n, x->b.err);
    if (rc < 0)
        return rc;
    float rates[32];
    for (uint32_t i = 0; i < n; i++)
        rates[i] = rng_below(&x->r, 4) ? 1 : 0.5f;
    const struct optim_params params = {
        .mode = (enum optim_mode) rng_below(&x->r, 4),
        .values = x->params,
        .grads = grads,
        .rates = rng_below(&x->r, 2) ? rates : NULL,
        .n = n,
    };
    return optim_apply(g, &params, x->b.err);
}

// Some of the forward pass dies in it, and is made again for the gradients.
static inline void random_marks(struct random_program *x)
{
    const uint32_t rarity = 1 + rng_below(&x->r, 4);
    for (node_id i = 0; i < x->b.g->n_nodes; i++) {
        struct node *n = &x->b.g->nodes[i];
        n->is_recomputed = !n->is_backward && rng_below(&x->r, 4) >= rarity;
    }
}

// The same graph for the same seed. Borrows `a`.
static inline int random_program_build(struct graph **out, uint64_t seed,
                                       struct arena *a, struct error *err)
{
    struct random_program x = {.b = {.err = err}};
    int rc = graph_create(&x.b.g, a);
    if (rc < 0)
        return rc;
    rng_init(&x.r, seed, 7);
    x.learns = rng_below(&x.r, 2);
    x.rows = x.learns || rng_below(&x.r, 2) ? RANDOM_TOKENS : RANDOM_LENGTH;
    x.hyper = x.memory[0] = x.memory[1] = VALUE_NONE;
    x.adam[0] = x.moved[0] = VALUE_NONE;

    const struct shape s = shape1(x.rows);
    const value_id tokens = builder_input(&x.b, "tokens", DTYPE_i32, &s);
    x.pos = builder_input(&x.b, "pos", DTYPE_i32, &s);
    x.start = builder_input(&x.b, "start", DTYPE_i32, &s);
    x.norms = builder_input(&x.b, "norms", DTYPE_f32, &s);
    const struct shape four = shape1(4);
    x.draw = builder_input(&x.b, "draw", DTYPE_i32, &four);
    for (int w = 0; w < RANDOM_WIDTHS; w++)
        random_keep(&x, w,
                    builder_binary(&x.b, OP_embed, NULL, tokens,
                                   random_weight(&x, RANDOM_VOCAB,
                                                 random_width(w))));
    for (uint32_t n = 6 + rng_below(&x.r, 20); n > 0 && x.b.rc == 0; n--)
        random_step(&x);
    if (x.learns && x.b.rc == 0) {
        rc = random_learn(&x);
        random_marks(&x);
    } else if (x.b.rc == 0) {
        const value_id last = random_from(&x, RANDOM_WIDE);
        builder_output(&x.b, builder_binary(&x.b, OP_rows, NULL, last, x.start),
                       "rows");
    }
    *out = x.b.g;
    return rc < 0 ? rc : x.b.rc;
}
