// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/autodiff/vjp.h"

#include <errno.h>

#include "engine/base/error.h"

// Legend: dy, dx are gradients of the loss with respect to y, x. Shapes are
// those of ops.def.

static int refuse(const struct vjp *v, const char *what)
{
    return error_set(v->b->err, -ENOTSUP, "%s has no gradient%s%s",
                     op_infos[v->node->op].name, *what ? " " : "", what);
}

// Only output 0 has a gradient, and inputs from `first_fixed` on get none.
static int check(const struct vjp *v, int first_fixed)
{
    for (int i = 1; i < v->node->n_out; i++)
        if (v->dy[i] != VALUE_NONE)
            return refuse(v, "through that output");
    for (int i = first_fixed; i < v->node->n_in; i++)
        if (v->needs[i])
            return refuse(v, "for that input");
    return v->is_loss ? refuse(v, "as a loss") : 0;
}

static int vjp_none(struct vjp *v)
{
    return refuse(v, "");
}

// y = x * rstd * w
static int vjp_rmsnorm(struct vjp *v)
{
    const struct node *n = v->node;
    int rc = check(v, 2);
    if (rc < 0)
        return rc;
    if (v->needs[0]) {
        const value_id in[] = {v->dy[0], n->in[0], n->in[1], n->out[1]};
        v->dx[0] = builder_apply(v->b, NULL, OP_rmsnorm_dx, &n->attr, in, 4);
    }
    if (v->needs[1]) {
        const value_id in[] = {v->dy[0], n->in[0], n->out[1]};
        v->dx[1] = builder_apply(v->b, NULL, OP_rmsnorm_dw, &n->attr, in, 3);
    }
    return v->b->rc;
}

// y (M,N) = alpha op(a) op(b) + c
static int vjp_matmul(struct vjp *v)
{
    const struct node *n = v->node;
    const value_id dy = v->dy[0];
    const value_id a = n->in[0]; // (M,K), or (K,M) when trans_a
    const value_id b = n->in[1]; // (K,N), or (N,K) when trans_b
    const uint8_t ta = n->attr.trans_a;
    const uint8_t tb = n->attr.trans_b;
    struct op_attr attr = {.alpha = n->attr.alpha};
    int rc = check(v, OP_INPUTS_MAX);
    if (rc < 0)
        return rc;

    if (n->n_in > 2 && v->needs[2])
        v->dx[2] = dy;
    if (v->needs[0]) {
        attr.trans_a = ta && tb;
        attr.trans_b = ta || !tb;
        v->dx[0] =
            builder_matmul(v->b, ta ? b : dy, ta ? dy : b, VALUE_NONE, &attr);
    }
    if (v->needs[1]) {
        attr.trans_a = tb || !ta;
        attr.trans_b = tb && ta;
        v->dx[1] =
            builder_matmul(v->b, tb ? dy : a, tb ? a : dy, VALUE_NONE, &attr);
    }
    return v->b->rc;
}

// dy (M,N), kept (M,G), v (S) -> (N,G*S). Miles et al., arXiv 2405.17991: where
// each sub-token of a is kept v, dy^T a is (dy^T kept) v.
static value_id from_subtokens(struct vjp *v, const struct op_attr *turned)
{
    const struct node *n = v->node;
    const value_id sums =
        builder_matmul(v->b, v->dy[0], n->in[2], VALUE_NONE, turned);
    return builder_binary(v->b, OP_subtoken_spread, NULL, sums, n->in[3]);
}

// How much each row would have mattered, for those who choose rows the next
// time: one sum over all products, which the newest node of its kind holds.
static void add_squares(struct vjp *v, value_id dy)
{
    const struct graph *g = v->b->g;
    value_id in[2] = {dy, VALUE_NONE};
    int n_in = 1;

    for (node_id i = g->n_nodes; i-- > 0 && g->nodes[i].is_backward;) {
        if (g->nodes[i].op != OP_row_squares)
            continue;
        in[n_in++] = g->nodes[i].out[0];
        break;
    }
    builder_apply(v->b, NULL, OP_row_squares, NULL, in, n_in);
}

// dy (M,N), rows (R), kept (R,K) -> (N,K). Liu et al., arXiv 2305.15265.
static value_id from_rows(struct vjp *v, const struct op_attr *turned)
{
    const struct node *n = v->node;
    const value_id dy = builder_binary(v->b, OP_rows, NULL, v->dy[0], n->in[3]);

    add_squares(v, v->dy[0]);
    return builder_matmul(v->b, dy, n->in[2], VALUE_NONE, turned);
}

// y (M,N) = alpha a b^T + c; b learns from what was kept of a.
static int vjp_matmul_kept(struct vjp *v)
{
    const struct node *n = v->node;
    const struct op_attr plain = {.alpha = n->attr.alpha};
    const struct op_attr turned = {.alpha = n->attr.alpha, .trans_a = 1};
    int rc = check(v, OP_INPUTS_MAX);
    if (rc < 0)
        return rc;

    if (n->n_in > 4 && v->needs[4])
        v->dx[4] = v->dy[0];
    if (v->needs[0])
        v->dx[0] = builder_matmul(v->b, v->dy[0], n->in[1], VALUE_NONE, &plain);
    if (v->needs[1])
        v->dx[1] = v->b->g->values[n->in[3]].dtype == DTYPE_i32
                       ? from_rows(v, &turned)
                       : from_subtokens(v, &turned);
    return v->b->rc;
}

// A rotation, and a factor: its transpose turns the other way.
static int vjp_rope(struct vjp *v)
{
    const struct node *n = v->node;
    const value_id in[] = {v->dy[0], n->in[1], n->in[2]};
    struct op_attr attr = n->attr;
    int rc = check(v, 1);
    if (rc < 0)
        return rc;
    attr.rope_sign = (int8_t) -attr.rope_sign;
    v->dx[0] = builder_apply(v->b, NULL, OP_rope, &attr, in, n->n_in);
    return v->b->rc;
}

static int vjp_attention(struct vjp *v)
{
    const struct node *n = v->node;
    value_id out[3];
    int rc = check(v, 3);
    if (rc < 0)
        return rc;
    const value_id in[] = {v->dy[0],  n->in[0],  n->in[1], n->in[2],
                           n->out[0], n->out[1], n->in[3]};
    builder_apply(v->b, out, OP_attention_back, &n->attr, in, 7);
    for (int i = 0; i < 3; i++)
        v->dx[i] = out[i];
    return v->b->rc;
}

// y = f(gate) * up
static int gated(struct vjp *v, enum op back)
{
    const struct node *n = v->node;
    const value_id in[] = {v->dy[0], n->in[0], n->in[1]};
    int rc = check(v, 2);
    if (rc < 0)
        return rc;
    builder_apply(v->b, v->dx, back, &n->attr, in, 3);
    return v->b->rc;
}

static int vjp_swiglu(struct vjp *v)
{
    return gated(v, OP_swiglu_back);
}

static int vjp_geglu(struct vjp *v)
{
    return gated(v, OP_geglu_back);
}

static int vjp_add(struct vjp *v)
{
    int rc = check(v, 2);
    v->dx[0] = v->dy[0];
    v->dx[1] = v->dy[0];
    return rc;
}

static int vjp_scale(struct vjp *v)
{
    int rc = check(v, 1);
    if (rc < 0)
        return rc;
    v->dx[0] = builder_unary(v->b, OP_scale, &v->node->attr, v->dy[0]);
    return v->b->rc;
}

// y = x * w
static int vjp_scale_columns(struct vjp *v)
{
    const struct node *n = v->node;
    int rc = check(v, 2);
    if (rc < 0)
        return rc;
    if (v->needs[0])
        v->dx[0] =
            builder_binary(v->b, OP_scale_columns, NULL, v->dy[0], n->in[1]);
    if (v->needs[1])
        v->dx[1] =
            builder_binary(v->b, OP_dot_columns, NULL, v->dy[0], n->in[0]);
    return v->b->rc;
}

// A bias does not learn.
static int vjp_add_columns(struct vjp *v)
{
    int rc = check(v, 1);
    v->dx[0] = v->dy[0];
    return rc;
}

static int vjp_soft_cap(struct vjp *v)
{
    const struct node *n = v->node;
    int rc = check(v, 1);
    if (rc < 0)
        return rc;
    v->dx[0] =
        builder_binary(v->b, OP_soft_cap_back, &n->attr, v->dy[0], n->out[0]);
    return v->b->rc;
}

// x holds a and b side by side; zeros stand for what does not reach the loss.
static int vjp_split(struct vjp *v)
{
    const struct op_attr zero = {.alpha = 0};

    if (v->is_loss)
        return refuse(v, "as a loss");
    for (int i = 0; i < 2; i++)
        if (v->dy[i] == VALUE_NONE)
            v->dy[i] = builder_unary(v->b, OP_scale, &zero, v->node->out[i]);
    v->dx[0] = builder_binary(v->b, OP_join, NULL, v->dy[0], v->dy[1]);
    return v->b->rc;
}

static int vjp_join(struct vjp *v)
{
    const struct value *a = &v->b->g->values[v->node->in[0]];
    const struct op_attr attr = {.width = (uint32_t) a->shape.ne[1]};
    int rc = check(v, 2);
    if (rc < 0)
        return rc;
    builder_apply(v->b, v->dx, OP_split, &attr, v->dy, 1);
    return v->b->rc;
}

static int vjp_columns(struct vjp *v)
{
    const struct node *n = v->node;
    const struct op_attr attr = {
        .width = (uint32_t) v->b->g->values[n->in[0]].shape.ne[1],
        .part = n->attr.part,
    };
    int rc = check(v, 1);
    if (rc < 0)
        return rc;
    v->dx[0] = builder_unary(v->b, OP_columns_back, &attr, v->dy[0]);
    return v->b->rc;
}

// Taken as a constant, whatever it is made of.
static int vjp_constant(struct vjp *v)
{
    return v->is_loss ? refuse(v, "as a loss") : 0;
}

// The forward kernel has the gradient of the loss at hand, as its output 2.
static int vjp_xent(struct vjp *v)
{
    if (!v->is_loss || v->dy[1] != VALUE_NONE || v->dy[2] != VALUE_NONE)
        return refuse(v, "unless it is the loss");
    for (int i = 1; i < v->node->n_in; i++)
        if (v->needs[i])
            return refuse(v, "for that input");
    v->dx[0] = v->node->out[2];
    return 0;
}

static int (*const rules[OP_COUNT])(struct vjp *) = {
#define OP(name, in_min, in_max, n_out, shape, vjp, flags) \
    [OP_##name] = vjp_##vjp,
#include "engine/ir/ops.def"
#undef OP
};

int vjp_apply(struct vjp *v)
{
    for (int i = 0; i < OP_INPUTS_MAX; i++)
        v->dx[i] = VALUE_NONE;
    return rules[v->node->op](v);
}
