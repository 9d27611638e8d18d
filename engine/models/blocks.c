// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/models/blocks.h"

#include <stdio.h>

#include "engine/ir/builder.h"
#include "engine/models/kept.h"
#include "engine/models/scheme.h"

/*
 * T tokens, C width, H/G query and key-value heads of D,
 * F feed-forward width, V vocabulary.
 */

struct blocks {
    struct builder *b;
    const struct model_config *m;
    const struct model_graph_params *p;
    value_id pos;   // (T)
    value_id start; // (T), not CACHED
    value_id norms; // (T), and draw (4): of those who choose tokens; or NONE
    value_id draw;
    // What is kept of the inputs of a block's linears, by the one that names it
    struct stand_in {
        value_id kept; // VALUE_NONE: nobody has asked yet
        value_id key;
    } kept[MODEL_LINEARS];
};

static value_id weight(struct blocks *l, const char *name, uint8_t dtype,
                       const struct shape *s)
{
    const value_id v = graph_find(l->b->g, name);
    return v != VALUE_NONE ? v : builder_weight(l->b, name, dtype, s);
}

// A linear under construction.
struct linear {
    const char *name;
    const struct scheme_linear *how;
    uint32_t block;
    enum model_linear which;
    value_id x;    // (T,I)
    value_id w;    // (O,I)
    int64_t ne[2]; // O, I
};

static value_id state(struct blocks *l, const char *of, const char *suffix,
                      const struct shape *s)
{
    char name[MODEL_NAME_BYTES + 16];
    (void) snprintf(name, sizeof(name), "%s.%s", of, suffix);
    return builder_state(l->b, name, s);
}

// What gradients are to keep of x (T,I), the input of linear `first`.
static struct stand_in keep_subtokens(struct blocks *l, const struct linear *of,
                                      enum model_linear first, value_id x)
{
    const struct kept *k = l->p->kept;
    const struct op_attr attr = {.alpha = k->scale};
    const struct shape s =
        shape1(kept_columns(l->p->scheme, l->m, of->block, first) / k->groups);
    char name[MODEL_NAME_BYTES];

    model_linear_name(name, l->m, of->block, first);
    const value_id v = builder_binary(l->b, OP_subtoken_mean, NULL, x,
                                      state(l, name, "subtoken", &s));
    return (struct stand_in){builder_binary(l->b, OP_subtoken_dot, &attr, x, v),
                             v};
}

static struct stand_in keep_tokens(struct blocks *l, const struct linear *of,
                                   enum model_linear first, value_id x)
{
    const uint32_t n = l->p->batch * l->p->length;
    const struct shape norms = shape1(n);
    const struct shape draw = shape1(4);
    const struct op_attr attr = {
        .n_rows = kept_tokens(l->p->kept, n),
        .stream = of->block * MODEL_LINEARS + first,
    };
    value_id out[2] = {VALUE_NONE, VALUE_NONE};

    if (l->norms == VALUE_NONE) {
        l->norms = builder_input(l->b, "token_norms", DTYPE_f32, &norms);
        l->draw = builder_input(l->b, "draw", DTYPE_i32, &draw);
    }
    const value_id in[] = {x, l->norms, l->draw};
    builder_apply(l->b, out, OP_choose_rows, &attr, in, 3);
    return (struct stand_in){out[0], out[1]};
}

// x (T,I) w (O,I)^T + y, where w learns
static value_id learning_product(struct blocks *l, const struct linear *of,
                                 value_id x, value_id w, value_id y)
{
    const struct op_attr plain = {.alpha = 1, .trans_b = 1};
    const struct op_attr kept = {.alpha = 1};
    enum model_linear first;

    if (!l->p->kept ||
        !kept_is_less(&first, l->p->kept, l->p->scheme, of->block, of->which))
        return builder_matmul(l->b, x, w, y, &plain);
    struct stand_in *s = &l->kept[first];
    if (s->kept == VALUE_NONE)
        *s = l->p->kept->how == KEPT_TOKENS ? keep_tokens(l, of, first, x)
                                            : keep_subtokens(l, of, first, x);
    const value_id in[] = {x, w, s->kept, s->key, y};
    return builder_apply(l->b, NULL, OP_matmul_kept, &kept, in,
                         y == VALUE_NONE ? 4 : 5);
}

// bf16 where products are rounded anyway.
static value_id factor(struct blocks *l, const char *of, const char *suffix,
                       const struct shape *s)
{
    char name[MODEL_NAME_BYTES + 16];

    if (!l->p->has_halves)
        return state(l, of, suffix, s);
    (void) snprintf(name, sizeof(name), "%s.%s.half", of, suffix);
    return builder_state_of(l->b, name, DTYPE_bf16, s);
}

// A (R,I) and B (O,R)
static void factors(value_id *a, value_id *b, struct blocks *l,
                    const struct linear *of)
{
    const uint32_t rank = of->how->rank;
    const struct shape sa = shape2(rank, of->ne[1]);
    const struct shape sb = shape2(of->ne[0], rank);

    *a = factor(l, of->name, "lora_a", &sa);
    *b = factor(l, of->name, "lora_b", &sb);
}

// (O): rows as long as before b a was added, times what learns. Liu et al.,
// arXiv 2402.09353; the ratio is a constant to gradients (4.3).
static value_id gain(struct blocks *l, const struct linear *of, value_id a,
                     value_id b)
{
    const struct op_attr attr = {
        .alpha = scheme_lora_scale(l->p->scheme, of->how->rank)};
    const struct shape s = shape1(of->ne[0]);
    const value_id in[] = {a, of->w, b};

    // It reads all of the weight: too much for each token that is generated.
    if (l->p->phase == MODEL_PHASE_CACHED)
        return state(l, of->name, "magnitude.gain", &s);
    const value_id ratio =
        builder_apply(l->b, NULL, OP_row_ratio, &attr, in, 3);
    const value_id m = state(l, of->name, "magnitude", &s);
    const value_id scaled =
        builder_binary(l->b, OP_scale_columns, NULL, m, ratio);
    return builder_binary(l->b, OP_add, NULL, ratio, scaled);
}

// y (T,O) + scale (x A^T) B^T
static value_id low_rank(struct blocks *l, const struct linear *of, value_id y)
{
    const struct op_attr scaled = {.alpha = scheme_lora_scale(l->p->scheme,
                                                              of->how->rank),
                                   .trans_b = 1};
    value_id a, b;

    factors(&a, &b, l, of);
    const value_id h = learning_product(l, of, of->x, a, VALUE_NONE);
    y = builder_matmul(l->b, h, b, y, &scaled);
    if (of->how->learn == LEARN_DORA)
        y = builder_binary(l->b, OP_scale_columns, NULL, y, gain(l, of, a, b));
    return y;
}

// y (T,O) + x D^T, or the part of x that D has columns for
static value_id difference(struct blocks *l, const struct linear *of,
                           value_id y)
{
    const struct op_attr part = {.part = of->how->part};
    const struct shape s =
        shape2(of->ne[0], op_part_columns(of->how->part, of->ne[1]));
    const bool is_whole = s.ne[1] == of->ne[1];
    const value_id x =
        is_whole ? of->x : builder_unary(l->b, OP_columns, &part, of->x);
    return learning_product(l, of, x, state(l, of->name, "delta", &s), y);
}

// `name` is written, and borrowed by `of`.
static void linear_of(struct linear *of, char name[MODEL_NAME_BYTES],
                      struct blocks *l, uint32_t block, enum model_linear which)
{
    *of = (struct linear){.name = name, .block = block, .which = which};
    model_linear_name(name, l->m, block, which);
    model_linear_shape(of->ne, l->m, which);
    const struct shape s = shape2(of->ne[0], of->ne[1]);
    of->w = weight(l, name, l->m->linear_dtypes[block][which], &s);
    if (l->p->scheme)
        of->how = &l->p->scheme->linears[block][which];
}

// y (T,O) and what the scheme adds to it
static value_id learn(struct blocks *l, const struct linear *of, value_id y)
{
    if (!of->how)
        return y;
    switch ((enum learn) of->how->learn) {
    case LEARN_LORA:
    case LEARN_LORA_B:
    case LEARN_DORA:
        return low_rank(l, of, y);
    case LEARN_DELTA:
        return difference(l, of, y);
    case LEARN_NONE:
    case LEARN_KINDS:
        break;
    }
    return y;
}

// x (T,I) -> x W^T (T,O), what the scheme adds to it, and the bias, which no
// gain of rows is about
static value_id linear(struct blocks *l, uint32_t block,
                       enum model_linear which, value_id x)
{
    const struct op_attr plain = {.alpha = 1, .trans_b = 1};
    char name[MODEL_NAME_BYTES];
    struct linear of;

    linear_of(&of, name, l, block, which);
    of.x = x;
    value_id y = builder_matmul(l->b, x, of.w, VALUE_NONE, &plain);
    y = learn(l, &of, y);
    if (!(l->m->biases[block] >> which & 1))
        return y;
    const struct shape s = shape1(of.ne[0]);
    char bias[MODEL_NAME_BYTES];
    model_bias_name(bias, l->m, block, which);
    return builder_binary(l->b, OP_add_columns, NULL, y,
                          weight(l, bias, DTYPE_f32, &s));
}

// x (T,n*C) -> (T,n*C), each `columns` of a row on their own
static value_id norm(struct blocks *l, const char *name, int64_t columns,
                     bool learns, value_id x)
{
    const struct op_attr attr = {.eps = l->m->rms_eps};
    const struct shape s = shape1(columns);
    value_id w = weight(l, name, DTYPE_f32, &s);
    if (learns)
        w = builder_binary(l->b, OP_add, NULL, w, state(l, name, "delta", &s));
    return builder_binary(l->b, OP_rmsnorm, &attr, x, w);
}

// The norms that may learn: all, but those behind where some are before.
static value_id block_norm(struct blocks *l, uint32_t block, int which,
                           value_id x)
{
    const struct scheme *scheme = l->p->scheme;
    char name[MODEL_NAME_BYTES];

    model_norm_name(name, l->m, block, which);
    return norm(l, name, l->m->width,
                scheme && scheme->norms[block] >> which & 1, x);
}

static value_id second_norm(struct blocks *l, uint32_t block, int which,
                            value_id x)
{
    char name[MODEL_NAME_BYTES];

    (void) snprintf(name, sizeof(name), "blk.%u.%s.weight", block,
                    which ? "post_ffw_norm" : "post_attention_norm");
    return norm(l, name, l->m->width, false, x);
}

static value_id last_norm(struct blocks *l, value_id x)
{
    const struct scheme *scheme = l->p->scheme;
    return norm(l, "output_norm.weight", l->m->width,
                scheme && scheme->output_norm, x);
}

// Q or K (T,n*D) before it turns
static value_id qk_norm(struct blocks *l, uint32_t block, char which,
                        uint32_t n_heads, value_id x)
{
    const int64_t rows = l->m->qk_norms == MODEL_QK_ROWS ? n_heads : 1;
    char name[MODEL_NAME_BYTES];

    if (l->m->qk_norms == MODEL_QK_PLAIN)
        return x;
    (void) snprintf(name, sizeof(name), "blk.%u.attn_%c_norm.weight", block,
                    which);
    return norm(l, name, rows * l->m->head_dim, false, x);
}

// Which tensor divides the angles, or NULL. What a program may be long decides,
// not what a sequence is: keys in a cache stay as they are.
static const char *factors_name(const struct blocks *l)
{
    const uint32_t longest =
        l->p->phase == MODEL_PHASE_CACHED ? l->p->cache_length : l->p->length;

    switch ((enum model_rope_factors) l->m->rope_factors) {
    case MODEL_ROPE_PLAIN:
        break;
    case MODEL_ROPE_FREQS:
        return "rope_freqs.weight";
    case MODEL_ROPE_LONG_SHORT:
        return longest > l->m->rope_context ? "rope_factors_long.weight"
                                            : "rope_factors_short.weight";
    }
    return NULL;
}

// x (T,n*D) -> (T,n*D)
static value_id rope(struct blocks *l, uint32_t block, value_id x,
                     uint32_t n_heads)
{
    const struct model_config *m = l->m;
    const bool is_local = m->local_rope_base > 0 && model_has_window(m, block);
    const char *factors = is_local ? NULL : factors_name(l);
    const struct shape s = shape1(m->rope_dims / 2);
    const struct op_attr attr = {
        .rope_base = is_local ? m->local_rope_base : m->rope_base,
        .rope_slower = is_local ? 0 : m->rope_slower,
        .rope_gain = is_local ? 0 : m->rope_gain,
        .rope_mode = m->rope_mode, // as the file's rows of Q and K are stored
        .rope_sign = 1,
        .n_heads = n_heads,
        .head_dim = m->head_dim,
        .rope_dims = m->rope_dims,
    };
    const value_id in[] = {x, l->pos,
                           factors ? weight(l, factors, DTYPE_f32, &s)
                                   : VALUE_NONE};
    return builder_apply(l->b, NULL, OP_rope, &attr, in, factors ? 3 : 2);
}

// x (T,A+B) -> a (T,A) and b (T,B)
static void split(value_id out[2], struct blocks *l, value_id x, int64_t width)
{
    const struct op_attr attr = {.width = (uint32_t) width};
    builder_apply(l->b, out, OP_split, &attr, &x, 1);
}

// x (T,C) -> q (T,H*D), k and v (T,G*D)
static void project(value_id out[3], struct blocks *l, uint32_t block,
                    value_id x)
{
    const int64_t dim = l->m->head_dim;
    value_id part[2] = {VALUE_NONE, VALUE_NONE};

    out[0] = linear(l, block, MODEL_LINEAR_q, x);
    if (l->m->is_qkv_fused) {
        split(part, l, out[0], l->m->n_heads * dim);
        out[0] = part[0];
        split(out + 1, l, part[1], l->m->n_kv_heads * dim);
        return;
    }
    out[1] = linear(l, block, MODEL_LINEAR_k, x);
    out[2] = linear(l, block, MODEL_LINEAR_v, x);
}

// x (T,G*D) -> the cache (L,G*D) that holds it
static value_id store(struct blocks *l, value_id x, char which, uint32_t block)
{
    const struct shape s =
        shape2(l->p->cache_length, (int64_t) l->m->n_kv_heads * l->m->head_dim);
    char name[MODEL_NAME_BYTES];

    (void) snprintf(name, sizeof(name), "cache.%c.%u", which, block);
    const value_id in[] = {x, l->pos, builder_state(l->b, name, &s)};
    return builder_apply(l->b, NULL, OP_kv_store, NULL, in, 3);
}

// x (T,C), normalised -> (T,C)
static value_id attention(struct blocks *l, uint32_t block, value_id x)
{
    const struct model_config *m = l->m;
    const struct op_attr attr = {
        .n_heads = m->n_heads,
        .n_kv_heads = m->n_kv_heads,
        .head_dim = m->head_dim,
        .alpha = m->score_scale,
        .cap = m->score_cap,
        .window = model_has_window(m, block) ? m->window : 0,
        .length = l->p->phase != MODEL_PHASE_CACHED ? l->p->length : 0,
    };
    value_id qkv[3] = {VALUE_NONE, VALUE_NONE, VALUE_NONE};
    value_id o;

    project(qkv, l, block, x);
    const value_id q =
        rope(l, block, qk_norm(l, block, 'q', m->n_heads, qkv[0]), m->n_heads);
    const value_id k =
        rope(l, block, qk_norm(l, block, 'k', m->n_kv_heads, qkv[1]),
             m->n_kv_heads);
    const value_id v = qkv[2];
    if (l->p->phase != MODEL_PHASE_CACHED) {
        const value_id in[] = {q, k, v, l->start};
        o = builder_apply(l->b, NULL, OP_attention, &attr, in, 4);
    } else {
        const value_id kc = store(l, k, 'k', block);
        const value_id vc = store(l, v, 'v', block);
        const value_id in[] = {q, kc, vc, l->pos};
        o = builder_apply(l->b, NULL, OP_attention_cached, &attr, in, 4);
    }
    return linear(l, block, MODEL_LINEAR_o, o);
}

// x (T,C), normalised -> (T,C)
static value_id feed_forward(struct blocks *l, uint32_t block, value_id x)
{
    value_id part[2] = {VALUE_NONE, VALUE_NONE};

    if (l->m->is_gate_fused) {
        split(part, l, linear(l, block, MODEL_LINEAR_up, x), l->m->ffn_width);
    } else {
        part[0] = linear(l, block, MODEL_LINEAR_gate, x);
        part[1] = linear(l, block, MODEL_LINEAR_up, x);
    }
    const value_id y =
        builder_binary(l->b, l->m->is_gelu ? OP_geglu : OP_swiglu, NULL,
                       part[0], part[1]);
    return linear(l, block, MODEL_LINEAR_down, y);
}

// tokens (T) -> (T,C)
static value_id embed(struct blocks *l, value_id tokens)
{
    const struct shape s = shape2(l->m->n_vocab, l->m->width);
    const struct op_attr scale = {.alpha = l->m->embed_scale};
    const value_id x =
        builder_binary(l->b, OP_embed, NULL, tokens,
                       weight(l, "token_embd.weight", l->m->embed_dtype, &s));
    return scale.alpha > 0 ? builder_unary(l->b, OP_scale, &scale, x) : x;
}

// x (T,C) -> (T,C), what branch `which` of a block adds to it
static value_id branch(struct blocks *l, uint32_t block, int which, value_id x)
{
    const enum model_norms norms = (enum model_norms) l->m->norms;

    if (norms != MODEL_NORMS_AFTER)
        x = block_norm(l, block, which, x);
    x = which ? feed_forward(l, block, x) : attention(l, block, x);
    if (norms == MODEL_NORMS_AFTER)
        x = block_norm(l, block, which, x);
    if (norms == MODEL_NORMS_BOTH)
        x = second_norm(l, block, which, x);
    return x;
}

// x (T,C) -> (T,C), through the blocks [first, end)
static value_id blocks(struct blocks *l, value_id x, uint32_t first,
                       uint32_t end)
{
    for (uint32_t i = 2 * first; i < 2 * end && l->b->rc == 0; i++) {
        for (int k = 0; k < MODEL_LINEARS && i % 2 == 0; k++)
            l->kept[k].kept = VALUE_NONE;
        const value_id y = branch(l, i / 2, (int) (i % 2), x);
        if (y != VALUE_NONE)
            l->b->g->values[y].is_detached = model_drop_has(&l->p->drop, i);
        x = builder_binary(l->b, OP_add, NULL, x, y);
    }
    return x;
}

// Where the last norm and the head stand.
static uint32_t end_of(const struct blocks *l)
{
    return l->p->scheme ? scheme_blocks(l->p->scheme, l->m) : l->m->n_blocks;
}

static value_id head(struct blocks *l)
{
    const struct shape s = shape2(l->m->n_vocab, l->m->width);
    return weight(l, l->m->is_tied ? "token_embd.weight" : "output.weight",
                  l->m->head_dtype, &s);
}

// x (T,C), where the blocks begin
static value_id entry(struct blocks *l, const struct shape *s)
{
    const uint32_t copies = l->p->copies;
    const struct shape sx =
        shape2(s->ne[0] / (copies ? copies : 1), l->m->width);

    if (!l->p->first_block)
        return embed(l, builder_input(l->b, "tokens", DTYPE_i32, s));
    // Halves are half of what a device must be handed.
    const value_id state = builder_input(l->b, "state", DTYPE_i32, s);
    return builder_binary(l->b, OP_embed, NULL, state,
                          builder_input(l->b, "hidden", DTYPE_f16, &sx));
}

static void build_loss(struct blocks *l)
{
    struct builder *b = l->b;
    const struct shape s = shape1((int64_t) l->p->batch * l->p->length *
                                  (l->p->copies ? l->p->copies : 1));
    value_id out[3] = {VALUE_NONE, VALUE_NONE, VALUE_NONE};

    value_id x = entry(l, &s);
    l->pos = builder_input(b, "pos", DTYPE_i32, &s);
    l->start = builder_input(b, "start", DTYPE_i32, &s);
    const value_id targets = builder_input(b, "targets", DTYPE_i32, &s);
    const value_id weights = builder_input(b, "weights", DTYPE_f32, &s);

    x = blocks(l, x, l->p->first_block, end_of(l));
    x = last_norm(l, x);
    const value_id in[] = {x, head(l), targets, weights};
    const struct op_attr attr = {.cap = l->m->logit_cap};
    builder_apply(b, out, OP_xent, &attr, in, 4);
    builder_output(b, out[0], "loss");
    builder_output(b, out[1], "nll");
}

static void build_prefix(struct blocks *l)
{
    struct builder *b = l->b;
    const struct shape s = shape1((int64_t) l->p->batch * l->p->length);

    const value_id tokens = builder_input(b, "tokens", DTYPE_i32, &s);
    l->pos = builder_input(b, "pos", DTYPE_i32, &s);
    l->start = builder_input(b, "start", DTYPE_i32, &s);
    builder_output(b, blocks(l, embed(l, tokens), 0, l->p->first_block),
                   "hidden");
}

static void build_cached(struct blocks *l)
{
    struct builder *b = l->b;
    const struct op_attr plain = {.alpha = 1, .trans_b = 1};
    const struct shape s = shape1(l->p->length);
    const struct shape sr = shape1(l->p->n_rows);

    const value_id tokens = builder_input(b, "tokens", DTYPE_i32, &s);
    l->pos = builder_input(b, "pos", DTYPE_i32, &s);
    const value_id rows = builder_input(b, "rows", DTYPE_i32, &sr);

    // Rows are chosen before the last norm, so that it runs on few.
    value_id x = blocks(l, embed(l, tokens), 0, end_of(l));
    x = builder_binary(b, OP_rows, NULL, x, rows);
    x = last_norm(l, x);
    x = builder_matmul(b, x, head(l), VALUE_NONE, &plain);
    const struct op_attr cap = {.alpha = l->m->logit_cap};
    if (cap.alpha > 0)
        x = builder_unary(b, OP_soft_cap, &cap, x);
    builder_output(b, x, "logits");
}

static void build_gains(struct blocks *l)
{
    char name[MODEL_NAME_BYTES], output[MODEL_NAME_BYTES + 16];
    struct linear of;
    value_id a, b;

    for (uint32_t i = 0; i < end_of(l) * MODEL_LINEARS; i++) {
        const uint32_t block = i / MODEL_LINEARS;
        const enum model_linear which = (enum model_linear)(i % MODEL_LINEARS);
        if (l->p->scheme->linears[block][which].learn != LEARN_DORA)
            continue;
        linear_of(&of, name, l, block, which);
        factors(&a, &b, l, &of);
        (void) snprintf(output, sizeof(output), "%s.magnitude.gain", name);
        builder_output(l->b, gain(l, &of, a, b), output);
    }
}

int blocks_build(struct builder *b, const struct model_config *m,
                 const struct model_graph_params *params)
{
    struct blocks l = {
        .b = b,
        .m = m,
        .p = params,
        .norms = VALUE_NONE,
        .draw = VALUE_NONE,
    };

    switch (params->phase) {
    case MODEL_PHASE_LOSS:
        build_loss(&l);
        break;
    case MODEL_PHASE_CACHED:
        build_cached(&l);
        break;
    case MODEL_PHASE_PREFIX:
        build_prefix(&l);
        break;
    case MODEL_PHASE_GAINS:
        build_gains(&l);
        break;
    }
    return b->rc;
}
