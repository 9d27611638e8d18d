// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/models/llama.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/error.h"
#include "engine/formats/gguf.h"
#include "engine/ir/builder.h"
#include "engine/models/kept.h"
#include "engine/models/scheme.h"

/*
 * Reading the file.
 */

static int read_count(uint32_t *out, const struct gguf *f, const char *key,
                      uint32_t max, struct error *err)
{
    uint32_t n;
    int rc = gguf_get_u32(&n, f, key, err);
    if (rc < 0)
        return rc;
    if (n == 0 || n > max)
        return error_set(err, -EINVAL, "%s is %u, but must be 1 to %u", key, n,
                         max);
    *out = n;
    return 0;
}

static int read_count_or(uint32_t *out, const struct gguf *f, const char *key,
                         uint32_t max, uint32_t otherwise, struct error *err)
{
    if (gguf_has(f, key))
        return read_count(out, f, key, max, err);
    *out = otherwise;
    return 0;
}

static int read_positive(float *out, const struct gguf *f, const char *key,
                         struct error *err)
{
    float x;
    int rc = gguf_get_f32(&x, f, key, err);
    if (rc < 0)
        return rc;
    if (!isfinite(x) || !(x > 0))
        return error_set(err, -EINVAL, "%s is %g, but must be positive", key,
                         (double) x);
    *out = x;
    return 0;
}

static int read_heads(struct model_config *m, const struct gguf *f,
                      struct error *err)
{
    uint32_t value_dim = 0;
    int rc;

    if ((rc = read_count(&m->n_heads, f, "llama.attention.head_count", 4096,
                         err)) < 0 ||
        (rc = read_count_or(&m->n_kv_heads, f, "llama.attention.head_count_kv",
                            4096, m->n_heads, err)) < 0)
        return rc;
    if (m->n_heads % m->n_kv_heads != 0)
        return error_set(err, -EINVAL,
                         "llama.attention.head_count is %u, which is not a "
                         "multiple of head_count_kv %u",
                         m->n_heads, m->n_kv_heads);
    if (!gguf_has(f, "llama.attention.key_length") &&
        m->width % m->n_heads != 0)
        return error_set(err, -EINVAL,
                         "llama.embedding_length %u is not a multiple of "
                         "llama.attention.head_count %u",
                         m->width, m->n_heads);
    if ((rc = read_count_or(&m->head_dim, f, "llama.attention.key_length", 4096,
                            m->width / m->n_heads, err)) < 0 ||
        (rc = read_count_or(&value_dim, f, "llama.attention.value_length", 4096,
                            m->head_dim, err)) < 0)
        return rc;
    if (value_dim != m->head_dim || m->head_dim == 0)
        return error_set(err, -EINVAL,
                         "llama.attention.value_length is %u, but must equal "
                         "the key length %u",
                         value_dim, m->head_dim);
    return 0;
}

static int read_rope(struct model_config *m, const struct gguf *f,
                     struct error *err)
{
    const char *scaling;
    int rc;

    if ((rc = read_count_or(&m->rope_dims, f, "llama.rope.dimension_count",
                            4096, m->head_dim, err)) < 0)
        return rc;
    if (m->rope_dims % 2 != 0 || m->rope_dims > m->head_dim)
        return error_set(err, -EINVAL,
                         "llama.rope.dimension_count is %u, but must be even "
                         "and at most the head size %u",
                         m->rope_dims, m->head_dim);
    m->rope_base = 10000.0f;
    if (gguf_has(f, "llama.rope.freq_base") &&
        (rc = read_positive(&m->rope_base, f, "llama.rope.freq_base", err)) < 0)
        return rc;
    if (gguf_has(f, "llama.rope.scaling.type")) {
        rc = gguf_get_str(&scaling, f, "llama.rope.scaling.type", err);
        if (rc < 0)
            return rc;
        if (strcmp(scaling, "none") != 0)
            return error_set(err, -ENOTSUP,
                             "llama.rope.scaling.type \"%.40s\" is not "
                             "supported; only \"none\" is",
                             scaling);
    }
    if (gguf_find(f, "rope_freqs.weight"))
        return error_set(err, -ENOTSUP,
                         "tensor rope_freqs.weight: scaled rotary frequencies "
                         "are not supported");
    return 0;
}

// A tensor of (rows, columns); rows 0: a vector, which must be f32.
static int check_tensor(uint8_t *dtype, const struct gguf *f, const char *name,
                        int64_t rows, int64_t columns, struct error *err)
{
    const struct gguf_tensor *t;
    int rc = gguf_get_tensor(&t, f, name, err);
    if (rc < 0)
        return rc;

    const uint32_t n_dims = rows ? 2 : 1;
    if (t->n_dims != n_dims || t->ne[0] != columns ||
        (rows && t->ne[1] != rows))
        return error_set(err, -EINVAL,
                         "tensor %s is %lld x %lld with %u dimensions, but "
                         "the metadata ask for %lld x %lld",
                         name, (long long) t->ne[0], (long long) t->ne[1],
                         t->n_dims, (long long) columns,
                         (long long) (rows ? rows : 1));
    if (t->dtype == DTYPE_i32 || (!rows && t->dtype != DTYPE_f32))
        return error_set(err, -ENOTSUP, "tensor %s is %s, but must be %s", name,
                         dtype_infos[t->dtype].name,
                         rows ? "floating point or quantised" : "f32");
    if (dtype)
        *dtype = (uint8_t) t->dtype;
    return 0;
}

static int check_block(struct model_config *m, const struct gguf *f,
                       uint32_t block, struct error *err)
{
    static const char *const norms[] = {"attn_norm", "ffn_norm"};
    static const char *const biases[] = {"attn_q", "attn_k", "attn_v",
                                         "attn_output"};
    char name[MODEL_NAME_BYTES];
    int64_t ne[2];
    int rc;

    for (int i = 0; i < 2; i++) {
        (void) snprintf(name, sizeof(name), "blk.%u.%s.weight", block,
                        norms[i]);
        if ((rc = check_tensor(NULL, f, name, 0, m->width, err)) < 0)
            return rc;
    }
    for (int i = 0; i < 4; i++) {
        (void) snprintf(name, sizeof(name), "blk.%u.%s.bias", block, biases[i]);
        if (gguf_find(f, name))
            return error_set(err, -ENOTSUP,
                             "tensor %s: biases are not supported", name);
    }
    for (int i = 0; i < MODEL_LINEARS; i++) {
        model_linear_name(name, block, (enum model_linear) i);
        model_linear_shape(ne, m, (enum model_linear) i);
        if ((rc = check_tensor(&m->linear_dtypes[block][i], f, name, ne[0],
                               ne[1], err)) < 0)
            return rc;
    }
    return 0;
}

static int check_tensors(struct model_config *m, const struct gguf *f,
                         struct error *err)
{
    const struct gguf_tensor *t;
    int rc;

    if ((rc = gguf_get_tensor(&t, f, "token_embd.weight", err)) < 0)
        return rc;
    if (t->n_dims != 2 || t->ne[1] < 1 || t->ne[1] > 1 << 24)
        return error_set(err, -EINVAL,
                         "tensor token_embd.weight has %u dimensions and %lld "
                         "rows, but must have 2 and at most %d",
                         t->n_dims, (long long) t->ne[1], 1 << 24);
    m->n_vocab = (uint32_t) t->ne[1];
    if ((rc = check_tensor(&m->embed_dtype, f, "token_embd.weight", m->n_vocab,
                           m->width, err)) < 0 ||
        (rc = check_tensor(NULL, f, "output_norm.weight", 0, m->width, err)) <
            0)
        return rc;

    m->is_tied = !gguf_find(f, "output.weight");
    m->head_dtype = m->embed_dtype;
    if (!m->is_tied && (rc = check_tensor(&m->head_dtype, f, "output.weight",
                                          m->n_vocab, m->width, err)) < 0)
        return rc;
    for (uint32_t i = 0; i < m->n_blocks; i++)
        if ((rc = check_block(m, f, i, err)) < 0)
            return rc;
    return 0;
}

int llama_read(struct model_config *m, const struct gguf *f, struct error *err)
{
    uint32_t experts = 0;
    int rc;

    if ((rc = read_count(&m->n_blocks, f, "llama.block_count", MODEL_BLOCKS_MAX,
                         err)) < 0 ||
        (rc = read_count(&m->width, f, "llama.embedding_length", 1 << 17,
                         err)) < 0 ||
        (rc = read_count(&m->ffn_width, f, "llama.feed_forward_length", 1 << 20,
                         err)) < 0 ||
        (rc = read_count(&m->context, f, "llama.context_length", 1 << 26,
                         err)) < 0 ||
        (rc = read_positive(&m->rms_eps, f,
                            "llama.attention.layer_norm_rms_epsilon", err)) <
            0 ||
        (rc = read_heads(m, f, err)) < 0 || (rc = read_rope(m, f, err)) < 0)
        return rc;
    if (gguf_has(f, "llama.expert_count")) {
        rc = gguf_get_u32(&experts, f, "llama.expert_count", err);
        if (rc < 0)
            return rc;
    }
    if (experts > 0)
        return error_set(err, -ENOTSUP,
                         "llama.expert_count is %u: mixtures of experts are "
                         "not supported",
                         experts);
    return check_tensors(m, f, err);
}

/*
 * Building the graph. T tokens, C width, H/G query and key-value heads of D,
 * F feed-forward width, V vocabulary.
 */

struct llama {
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

static value_id weight(struct llama *l, const char *name, uint8_t dtype,
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

static value_id state(struct llama *l, const char *of, const char *suffix,
                      const struct shape *s)
{
    char name[MODEL_NAME_BYTES + 16];
    (void) snprintf(name, sizeof(name), "%s.%s", of, suffix);
    return builder_state(l->b, name, s);
}

// What gradients are to keep of x (T,I), the input of linear `first`.
static struct stand_in keep_subtokens(struct llama *l, const struct linear *of,
                                      enum model_linear first, value_id x)
{
    const struct kept *k = l->p->kept;
    const struct op_attr attr = {.alpha = k->scale};
    const struct shape s =
        shape1(kept_columns(l->p->scheme, l->m, of->block, first) / k->groups);
    char name[MODEL_NAME_BYTES];

    model_linear_name(name, of->block, first);
    const value_id v = builder_binary(l->b, OP_subtoken_mean, NULL, x,
                                      state(l, name, "subtoken", &s));
    return (struct stand_in){builder_binary(l->b, OP_subtoken_dot, &attr, x, v),
                             v};
}

static struct stand_in keep_tokens(struct llama *l, const struct linear *of,
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
static value_id learning_product(struct llama *l, const struct linear *of,
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

// A (R,I) and B (O,R)
static void factors(value_id *a, value_id *b, struct llama *l,
                    const struct linear *of)
{
    const uint32_t rank = of->how->rank;
    const struct shape sa = shape2(rank, of->ne[1]);
    const struct shape sb = shape2(of->ne[0], rank);

    *a = state(l, of->name, "lora_a", &sa);
    *b = state(l, of->name, "lora_b", &sb);
}

// (O): rows as long as before b a was added, times what learns. Liu et al.,
// arXiv 2402.09353; the ratio is a constant to gradients (4.3).
static value_id gain(struct llama *l, const struct linear *of, value_id a,
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
static value_id low_rank(struct llama *l, const struct linear *of, value_id y)
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
static value_id difference(struct llama *l, const struct linear *of, value_id y)
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
                      struct llama *l, uint32_t block, enum model_linear which)
{
    *of = (struct linear){.name = name, .block = block, .which = which};
    model_linear_name(name, block, which);
    model_linear_shape(of->ne, l->m, which);
    const struct shape s = shape2(of->ne[0], of->ne[1]);
    of->w = weight(l, name, l->m->linear_dtypes[block][which], &s);
    if (l->p->scheme)
        of->how = &l->p->scheme->linears[block][which];
}

// x (T,I) -> x W^T (T,O), and what the scheme adds to it
static value_id linear(struct llama *l, uint32_t block, enum model_linear which,
                       value_id x)
{
    const struct op_attr plain = {.alpha = 1, .trans_b = 1};
    char name[MODEL_NAME_BYTES];
    struct linear of;

    linear_of(&of, name, l, block, which);
    of.x = x;
    const value_id y = builder_matmul(l->b, x, of.w, VALUE_NONE, &plain);
    if (!of.how)
        return y;

    switch ((enum learn) of.how->learn) {
    case LEARN_LORA:
    case LEARN_LORA_B:
    case LEARN_DORA:
        return low_rank(l, &of, y);
    case LEARN_DELTA:
        return difference(l, &of, y);
    case LEARN_NONE:
    case LEARN_KINDS:
        break;
    }
    return y;
}

// x (T,C) -> (T,C)
static value_id norm(struct llama *l, const char *name, bool learns, value_id x)
{
    const struct op_attr attr = {.eps = l->m->rms_eps};
    const struct shape s = shape1(l->m->width);
    value_id w = weight(l, name, DTYPE_f32, &s);
    if (learns)
        w = builder_binary(l->b, OP_add, NULL, w, state(l, name, "delta", &s));
    return builder_binary(l->b, OP_rmsnorm, &attr, x, w);
}

static value_id block_norm(struct llama *l, uint32_t block, int which,
                           value_id x)
{
    const struct scheme *scheme = l->p->scheme;
    char name[MODEL_NAME_BYTES];

    model_norm_name(name, block, which);
    return norm(l, name, scheme && scheme->norms[block] >> which & 1, x);
}

static value_id last_norm(struct llama *l, value_id x)
{
    const struct scheme *scheme = l->p->scheme;
    return norm(l, "output_norm.weight", scheme && scheme->output_norm, x);
}

// x (T,n*D) -> (T,n*D)
static value_id rope(struct llama *l, value_id x, uint32_t n_heads)
{
    const struct op_attr attr = {
        .rope_base = l->m->rope_base,
        .rope_mode = ROPE_PAIRS, // as the file's rows of Q and K are stored
        .rope_sign = 1,
        .n_heads = n_heads,
        .head_dim = l->m->head_dim,
        .rope_dims = l->m->rope_dims,
    };
    return builder_binary(l->b, OP_rope, &attr, x, l->pos);
}

// x (T,G*D) -> the cache (L,G*D) that holds it
static value_id store(struct llama *l, value_id x, char which, uint32_t block)
{
    const struct shape s =
        shape2(l->p->cache_length, (int64_t) l->m->n_kv_heads * l->m->head_dim);
    char name[MODEL_NAME_BYTES];

    (void) snprintf(name, sizeof(name), "cache.%c.%u", which, block);
    const value_id in[] = {x, l->pos, builder_state(l->b, name, &s)};
    return builder_apply(l->b, NULL, OP_kv_store, NULL, in, 3);
}

// x (T,C), normalised -> (T,C)
static value_id attention(struct llama *l, uint32_t block, value_id x)
{
    const struct model_config *m = l->m;
    const struct op_attr attr = {
        .n_heads = m->n_heads,
        .n_kv_heads = m->n_kv_heads,
        .head_dim = m->head_dim,
        .length = l->p->phase != MODEL_PHASE_CACHED ? l->p->length : 0,
    };
    value_id o;

    const value_id q = rope(l, linear(l, block, MODEL_LINEAR_q, x), m->n_heads);
    const value_id k =
        rope(l, linear(l, block, MODEL_LINEAR_k, x), m->n_kv_heads);
    const value_id v = linear(l, block, MODEL_LINEAR_v, x);
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
static value_id feed_forward(struct llama *l, uint32_t block, value_id x)
{
    const value_id gate = linear(l, block, MODEL_LINEAR_gate, x);
    const value_id up = linear(l, block, MODEL_LINEAR_up, x);
    const value_id y = builder_binary(l->b, OP_swiglu, NULL, gate, up);
    return linear(l, block, MODEL_LINEAR_down, y);
}

// tokens (T) -> (T,C)
static value_id embed(struct llama *l, value_id tokens)
{
    const struct shape s = shape2(l->m->n_vocab, l->m->width);
    return builder_binary(l->b, OP_embed, NULL, tokens,
                          weight(l, "token_embd.weight", l->m->embed_dtype,
                                 &s));
}

// x (T,C) -> (T,C), through the blocks [first, end)
static value_id blocks(struct llama *l, value_id x, uint32_t first,
                       uint32_t end)
{
    for (uint32_t i = 2 * first; i < 2 * end && l->b->rc == 0; i++) {
        for (int k = 0; k < MODEL_LINEARS && i % 2 == 0; k++)
            l->kept[k].kept = VALUE_NONE;
        const value_id n = block_norm(l, i / 2, i % 2, x);
        const value_id y =
            i % 2 ? feed_forward(l, i / 2, n) : attention(l, i / 2, n);
        if (y != VALUE_NONE)
            l->b->g->values[y].is_detached = model_drop_has(&l->p->drop, i);
        x = builder_binary(l->b, OP_add, NULL, x, y);
    }
    return x;
}

// Where the last norm and the head stand.
static uint32_t end_of(const struct llama *l)
{
    return l->p->scheme ? scheme_blocks(l->p->scheme, l->m) : l->m->n_blocks;
}

static value_id head(struct llama *l)
{
    const struct shape s = shape2(l->m->n_vocab, l->m->width);
    return weight(l, l->m->is_tied ? "token_embd.weight" : "output.weight",
                  l->m->head_dtype, &s);
}

static void build_loss(struct llama *l)
{
    struct builder *b = l->b;
    const struct shape s = shape1((int64_t) l->p->batch * l->p->length);
    const struct shape sx = shape2(s.ne[0], l->m->width);
    value_id out[3] = {VALUE_NONE, VALUE_NONE, VALUE_NONE};

    value_id x = l->p->first_block
                     ? builder_input(b, "hidden", DTYPE_f32, &sx)
                     : embed(l, builder_input(b, "tokens", DTYPE_i32, &s));
    l->pos = builder_input(b, "pos", DTYPE_i32, &s);
    l->start = builder_input(b, "start", DTYPE_i32, &s);
    const value_id targets = builder_input(b, "targets", DTYPE_i32, &s);
    const value_id weights = builder_input(b, "weights", DTYPE_f32, &s);

    x = blocks(l, x, l->p->first_block, end_of(l));
    x = last_norm(l, x);
    const value_id in[] = {x, head(l), targets, weights};
    builder_apply(b, out, OP_xent, NULL, in, 4);
    builder_output(b, out[0], "loss");
    builder_output(b, out[1], "nll");
}

static void build_prefix(struct llama *l)
{
    struct builder *b = l->b;
    const struct shape s = shape1((int64_t) l->p->batch * l->p->length);

    const value_id tokens = builder_input(b, "tokens", DTYPE_i32, &s);
    l->pos = builder_input(b, "pos", DTYPE_i32, &s);
    l->start = builder_input(b, "start", DTYPE_i32, &s);
    builder_output(b, blocks(l, embed(l, tokens), 0, l->p->first_block),
                   "hidden");
}

static void build_cached(struct llama *l)
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
    builder_output(b, x, "logits");
}

static void build_gains(struct llama *l)
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

int llama_build(struct builder *b, const struct model_config *m,
                const struct model_graph_params *params)
{
    struct llama l = {
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
