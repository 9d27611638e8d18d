// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/plan/flops.h"

enum {
    DECODE = 8, // to read a quantised value and use it
    EXP = 16,   // an exponential, a sine
};

static uint64_t count(const struct graph *g, value_id v)
{
    return v == VALUE_NONE ? 0 : (uint64_t) shape_count(&g->values[v].shape);
}

// Columns: what one row of the last dimension holds.
static uint64_t columns(const struct graph *g, value_id v)
{
    const struct shape *s = &g->values[v].shape;
    return (uint64_t) s->ne[s->rank - 1];
}

static uint64_t decode(const struct graph *g, value_id w)
{
    const struct value *v = &g->values[w];
    return v->kind == VALUE_WEIGHT ? DECODE * count(g, w) : 0;
}

static uint64_t matmul(const struct graph *g, const struct node *n)
{
    const struct shape *a = &g->values[n->in[0]].shape;
    const uint64_t k = (uint64_t) a->ne[n->attr.trans_a ? 0 : a->rank - 1];
    return 2 * k * count(g, n->out[0]) + decode(g, n->in[1]);
}

// Each query sees half of the keys of its sequence, or its window; scores and
// their sum.
static uint64_t attention(const struct graph *g, const struct node *n)
{
    const uint64_t half = n->attr.length / 2;
    const uint64_t window = n->attr.window;
    const uint64_t keys = window > 0 && window < half ? window : half;
    const uint64_t scores = count(g, n->in[0]) / n->attr.head_dim * keys;
    return scores *
           (4 * (uint64_t) n->attr.head_dim + (n->attr.cap > 0 ? 2 : 1) * EXP);
}

static uint64_t attention_cached(const struct graph *g, const struct node *n)
{
    const uint64_t length = count(g, n->in[1]) / columns(g, n->in[1]);
    const uint64_t window = n->attr.window;
    return 4 * count(g, n->in[0]) *
           (window > 0 && window < length ? window : length);
}

// The logits, their softmax, and the same product back if it is asked for.
static uint64_t xent(const struct graph *g, const struct node *n)
{
    const uint64_t tokens = count(g, n->in[2]);
    const uint64_t vocab = count(g, n->in[1]) / columns(g, n->in[1]);
    const uint64_t product =
        2 * tokens * count(g, n->in[1]) + decode(g, n->in[1]);
    return (n->out[2] == VALUE_NONE ? 1 : 2) * product + tokens * vocab * EXP;
}

uint64_t flops_node(const struct graph *g, const struct node *n)
{
    switch ((enum op) n->op) {
    case OP_matmul:
        return matmul(g, n);
    case OP_matmul_delta:
        return matmul(g, n) + count(g, n->in[2]);
    case OP_matmul_lora: {
        const uint64_t rank = count(g, n->in[2]) / columns(g, n->in[2]);
        return matmul(g, n) +
               2 * rank * (count(g, n->in[0]) + count(g, n->out[0]));
    }
    case OP_matmul_kept:
        return matmul(g, n);
    case OP_subtoken_mean: // but in the first step of a run it only looks
        return 0;
    case OP_subtoken_dot:
        return 2 * count(g, n->in[0]);
    case OP_subtoken_spread:
        return count(g, n->out[0]);
    case OP_choose_rows:
        return 2 * count(g, n->in[0]) + count(g, n->out[0]);
    case OP_row_squares:
        return 2 * count(g, n->in[0]);
    case OP_attention:
        return attention(g, n);
    case OP_attention_back:
        return attention(g, n) / 2 * 5;
    case OP_attention_cached:
        return attention_cached(g, n);
    case OP_xent:
        return xent(g, n);
    case OP_rope:
        return EXP * count(g, n->in[0]);
    case OP_swiglu:
    case OP_swiglu_back:
    case OP_geglu:
    case OP_geglu_back:
    case OP_soft_cap:
    case OP_adamw:
    case OP_momentum:
        return EXP * count(g, n->in[0]);
    case OP_rmsnorm:
    case OP_rmsnorm_dw:
        return 4 * count(g, n->in[0]);
    case OP_rmsnorm_dx:
        return 8 * count(g, n->in[0]);
    case OP_embed:
    case OP_rows:
        return count(g, n->out[0]);
    case OP_add:
    case OP_scale:
    case OP_columns:
    case OP_columns_back:
    case OP_scale_columns:
    case OP_add_columns:
    case OP_split:
    case OP_kv_store:
    case OP_accumulate:
    case OP_zero:
        return count(g, n->in[0]);
    case OP_join:
        return count(g, n->out[0]);
    case OP_soft_cap_back:
    case OP_dot_columns:
        return 2 * count(g, n->in[0]);
    case OP_row_ratio: // the rows of b a, their sum with W, both lengths
        return (2 * columns(g, n->in[2]) + 4) * count(g, n->in[1]) +
               decode(g, n->in[1]);
    case OP_matmul_copies:
        return 2 * columns(g, n->in[0]) * count(g, n->out[0]);
    case OP_perturb: // a tenth of what a block of Philox takes, and its use
        return EXP * count(g, n->out[0]);
    case OP_noise_sum:
        return EXP * count(g, n->in[2]) * count(g, n->out[0]);
    case OP_COUNT:
        break;
    }
    return 0;
}

uint64_t flops_graph(const struct graph *g)
{
    uint64_t sum = 0;
    for (node_id i = 0; i < g->n_nodes; i++)
        if (!g->nodes[i].is_dead)
            sum += flops_node(g, &g->nodes[i]);
    return sum;
}
