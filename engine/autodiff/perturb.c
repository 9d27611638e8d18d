// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/autodiff/perturb.h"

#include "engine/base/error.h"
#include "engine/ir/builder.h"

#include <errno.h>
#include <stdio.h>

// What all noise is made of.
struct source {
    struct builder b;
    const struct perturb *p;
    const struct perturb_values *v;
    value_id in[4]; // draw, queries, sizes or coefs, limits
    int n_in;       // of them
};

static int open_source(struct source *s, const char *sizes, uint32_t count)
{
    const struct shape four = shape1(4);
    const struct shape each = shape1(count);
    const struct shape limits = shape1(s->v->n_limits);

    s->in[0] = builder_input(&s->b, "draw", DTYPE_i32, &four);
    s->in[1] = builder_input(&s->b, "queries", DTYPE_i32, &each);
    s->in[2] = builder_input(&s->b, sizes, DTYPE_f32, &each);
    s->n_in = 3;
    if (s->p->has_limits)
        s->in[s->n_in++] = builder_input(&s->b, "limits", DTYPE_f32, &limits);
    return s->b.rc;
}

static value_id noise(struct source *s, enum op op, uint32_t i)
{
    const struct op_attr attr = {.stream = s->v->streams[i],
                                 .noise = s->p->noise};
    value_id in[5] = {s->v->values[i]};

    for (int k = 0; k < s->n_in; k++)
        in[1 + k] = s->in[k];
    return builder_apply(&s->b, NULL, op, &attr, in, 1 + s->n_in);
}

/*
 * Forward
 */

static int refuse(const struct graph *g, value_id v, struct error *err)
{
    return error_set(err, -ENOTSUP,
                     "%s cannot have several copies in one pass: only factors "
                     "of LoRA can; take one copy at a time (sweep=sequential)",
                     g->values[v].name);
}

// Node `at` reads the copies of `v` instead.
static int read_copies(struct graph *g, node_id at, value_id v, value_id copies,
                       uint32_t n_copies, struct error *err)
{
    struct node *n = &g->nodes[at];

    if (n_copies == 1) {
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k] == v)
                n->in[k] = copies;
        return 0;
    }
    if (n->op != OP_matmul || n->in[1] != v || n->in[0] == v ||
        !n->attr.trans_b || n->attr.trans_a)
        return refuse(g, v, err);
    n->op = OP_matmul_copies;
    n->attr = (struct op_attr){.alpha = n->attr.alpha, .copies = n_copies};
    n->in[1] = copies;
    return 0;
}

static bool reads(const struct node *n, value_id v)
{
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k] == v)
            return true;
    return false;
}

// The newest node, moved to before node `at`.
static int move_last(struct graph *g, node_id at)
{
    const struct node n = g->nodes[--g->n_nodes];
    int rc = graph_insert_node(g, at, &n);

    for (int k = 0; k < n.n_out && rc == 0; k++)
        g->values[n.out[k]].producer = at;
    return rc;
}

// All readers are found before the first node moves: it stands before them.
static int perturb_value(struct source *s, uint32_t i)
{
    struct graph *g = s->b.g;
    const value_id v = s->v->values[i];
    const node_id n_nodes = g->n_nodes;
    node_id first = NODE_NONE;

    for (node_id at = n_nodes; at-- > 0;)
        if (!g->nodes[at].is_dead && reads(&g->nodes[at], v))
            first = at;
    if (first == NODE_NONE)
        return 0;
    const value_id copies = noise(s, OP_perturb, i);
    if (s->b.rc < 0)
        return s->b.rc;
    for (node_id at = first; at < n_nodes; at++) {
        if (g->nodes[at].is_dead || !reads(&g->nodes[at], v))
            continue;
        int rc = read_copies(g, at, v, copies, s->p->copies, s->b.err);
        if (rc < 0)
            return rc;
    }
    return move_last(g, first);
}

int perturb_forward(struct graph *g, const struct perturb *p,
                    const struct perturb_values *v, struct error *err)
{
    struct source s = {.b = {.g = g, .err = err}, .p = p, .v = v};
    int rc = open_source(&s, "sizes", p->copies);

    for (uint32_t i = 0; i < v->n && rc == 0; i++)
        if (v->values[i] != VALUE_NONE)
            rc = perturb_value(&s, i);
    return rc;
}

/*
 * The update
 */

static value_id companion(struct source *s, uint32_t i, const char *suffix)
{
    const struct value *v = &s->b.g->values[s->v->values[i]];
    const struct shape shape = v->shape;
    char name[96];

    (void) snprintf(name, sizeof(name), "%s.%s", v->name, suffix);
    return builder_state(&s->b, name, &shape);
}

static void move(struct source *s, uint32_t i, value_id hyper)
{
    const float rate = s->v->rates ? s->v->rates[i] : 1;
    const struct op_attr by = {.alpha = rate};
    const struct op_attr attr = {.alpha = rate == 1 ? 0 : rate};
    const value_id value = s->v->values[i];
    value_id g = noise(s, OP_noise_sum, i);
    value_id in[5] = {value};

    if (s->p->update == PERTURB_ADAM) {
        in[1] = companion(s, i, "m");
        in[2] = companion(s, i, "v");
        in[3] = g;
        in[4] = hyper;
        builder_apply(&s->b, NULL, OP_adamw, &attr, in, 5);
        return;
    }
    if (rate != 1)
        g = builder_unary(&s->b, OP_scale, &by, g);
    if (s->p->update == PERTURB_SGD) {
        builder_binary(&s->b, OP_accumulate, NULL, value, g);
        return;
    }
    in[1] = companion(s, i, "m");
    in[2] = g;
    in[3] = hyper;
    builder_apply(&s->b, NULL, OP_momentum, NULL, in, 4);
}

int perturb_move(struct graph *g, const struct perturb *p,
                 const struct perturb_values *v, struct error *err)
{
    const struct shape hypers = shape1(ADAMW_HYPERS);
    struct source s = {.b = {.g = g, .err = err}, .p = p, .v = v};
    value_id hyper = VALUE_NONE;
    int rc = open_source(&s, "coefs", p->queries);

    if (p->update != PERTURB_SGD)
        hyper = builder_input(&s.b, "hyper", DTYPE_f32, &hypers);
    for (uint32_t i = 0; i < v->n && rc == 0; i++) {
        if (v->values[i] != VALUE_NONE)
            move(&s, i, hyper);
        rc = s.b.rc;
    }
    return rc;
}
