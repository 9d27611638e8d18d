// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/models/blocks.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/bits.h"
#include "engine/base/error.h"
#include "engine/formats/gguf.h"
#include "engine/ir/op.h"

enum { KEY_BYTES = 96, HEADS_MAX = 4096, DIM_MAX = 4096 };

static const char *key_of(char out[KEY_BYTES], const struct model_config *m,
                          const char *key)
{
    (void) snprintf(out, KEY_BYTES, "%s.%s", m->arch, key);
    return out;
}

static int read_count(uint32_t *out, const struct model_config *m,
                      const struct gguf *f, const char *key, uint32_t max,
                      struct error *err)
{
    char name[KEY_BYTES];
    uint32_t n;
    int rc = gguf_get_u32(&n, f, key_of(name, m, key), err);
    if (rc < 0)
        return rc;
    if (n == 0 || n > max)
        return error_set(err, -EINVAL, "%s is %u, but must be 1 to %u", name, n,
                         max);
    *out = n;
    return 0;
}

int blocks_read_u32(uint32_t *out, const struct model_config *m,
                    const struct gguf *f, const char *key, uint32_t max,
                    struct error *err)
{
    char name[KEY_BYTES];
    return gguf_has(f, key_of(name, m, key))
               ? read_count(out, m, f, key, max, err)
               : 0;
}

static int read_positive(float *out, const struct model_config *m,
                         const struct gguf *f, const char *key,
                         struct error *err)
{
    char name[KEY_BYTES];
    float x;
    int rc = gguf_get_f32(&x, f, key_of(name, m, key), err);
    if (rc < 0)
        return rc;
    if (!isfinite(x) || !(x > 0))
        return error_set(err, -EINVAL, "%s is %g, but must be positive", name,
                         (double) x);
    *out = x;
    return 0;
}

int blocks_read_f32(float *out, const struct model_config *m,
                    const struct gguf *f, const char *key, struct error *err)
{
    char name[KEY_BYTES];
    return gguf_has(f, key_of(name, m, key))
               ? read_positive(out, m, f, key, err)
               : 0;
}

/*
 * Metadata
 */

static int read_heads(struct model_config *m, const struct gguf *f,
                      struct error *err)
{
    char key[KEY_BYTES];
    int rc;

    if ((rc = read_count(&m->n_heads, m, f, "attention.head_count", HEADS_MAX,
                         err)) < 0)
        return rc;
    m->n_kv_heads = m->n_heads;
    if ((rc = blocks_read_u32(&m->n_kv_heads, m, f, "attention.head_count_kv",
                              HEADS_MAX, err)) < 0)
        return rc;
    if (m->n_heads % m->n_kv_heads != 0)
        return error_set(err, -EINVAL,
                         "%s.attention.head_count is %u, which is not a "
                         "multiple of head_count_kv %u",
                         m->arch, m->n_heads, m->n_kv_heads);
    if (!gguf_has(f, key_of(key, m, "attention.key_length")) &&
        m->width % m->n_heads != 0)
        return error_set(err, -EINVAL,
                         "%s.embedding_length %u is not a multiple of "
                         "%s.attention.head_count %u",
                         m->arch, m->width, m->arch, m->n_heads);
    m->head_dim = m->width / m->n_heads;
    if ((rc = blocks_read_u32(&m->head_dim, m, f, "attention.key_length",
                              DIM_MAX, err)) < 0)
        return rc;
    uint32_t value_dim = m->head_dim;
    if ((rc = blocks_read_u32(&value_dim, m, f, "attention.value_length",
                              DIM_MAX, err)) < 0)
        return rc;
    if (value_dim != m->head_dim || m->head_dim == 0)
        return error_set(err, -EINVAL,
                         "%s.attention.value_length is %u, but must equal "
                         "the key length %u",
                         m->arch, value_dim, m->head_dim);
    return 0;
}

// linear: all angles are divided by one factor; longrope: by tensors, which
// are looked for in any case, as are those of Llama 3, which names nothing.
static int read_rope_scaling(struct model_config *m, const struct gguf *f,
                             struct error *err)
{
    char key[KEY_BYTES];
    const char *type = "none";
    int rc = 0;

    if (gguf_has(f, key_of(key, m, "rope.scaling.type")))
        rc = gguf_get_str(&type, f, key, err);
    if (rc < 0)
        return rc;
    if (strcmp(type, "linear") == 0) {
        if ((rc = read_positive(&m->rope_slower, m, f, "rope.scaling.factor",
                                err)) < 0)
            return rc;
    } else if (strcmp(type, "none") != 0 && strcmp(type, "longrope") != 0) {
        return error_set(err, -ENOTSUP,
                         "%s is \"%.40s\", which is not supported; \"none\", "
                         "\"linear\" and \"longrope\" are",
                         key, type);
    }
    // Files of 2023 say it so.
    if ((rc = blocks_read_f32(&m->rope_slower, m, f, "rope.scale_linear",
                              err)) < 0 ||
        (rc = blocks_read_f32(&m->rope_gain, m, f, "rope.scaling.attn_factor",
                              err)) < 0)
        return rc;

    if (gguf_find(f, "rope_factors_long.weight") ||
        gguf_find(f, "rope_factors_short.weight"))
        m->rope_factors = MODEL_ROPE_LONG_SHORT;
    else if (gguf_find(f, "rope_freqs.weight"))
        m->rope_factors = MODEL_ROPE_FREQS;
    else if (strcmp(type, "longrope") == 0)
        return error_set(err, -EINVAL,
                         "%s is \"longrope\", but there is no tensor "
                         "rope_factors_long.weight",
                         key);
    if (m->rope_factors != MODEL_ROPE_LONG_SHORT)
        return 0;
    return read_count(&m->rope_context, m, f,
                      "rope.scaling.original_context_length", 1 << 26, err);
}

static int read_rope(struct model_config *m, const struct gguf *f,
                     struct error *err)
{
    int rc;

    m->rope_dims = m->head_dim;
    if ((rc = blocks_read_u32(&m->rope_dims, m, f, "rope.dimension_count",
                              DIM_MAX, err)) < 0)
        return rc;
    if (m->rope_dims % 2 != 0 || m->rope_dims > m->head_dim)
        return error_set(err, -EINVAL,
                         "%s.rope.dimension_count is %u, but must be even "
                         "and at most the head size %u",
                         m->arch, m->rope_dims, m->head_dim);
    m->rope_base = 10000.0f;
    if ((rc = blocks_read_f32(&m->rope_base, m, f, "rope.freq_base", err)) < 0)
        return rc;
    return read_rope_scaling(m, f, err);
}

// The period of the list: its first block without a window ends it.
static int read_pattern(struct model_config *m, const struct gguf *f,
                        const char *key, struct error *err)
{
    struct gguf_array a;
    uint32_t n = 0;
    int rc = gguf_get_array(&a, f, key, GGUF_BOOL, err);

    if (rc < 0)
        return rc;
    const unsigned char *has = a.data;
    while (n < a.count && has[n])
        n++;
    m->window_period = n < a.count ? n + 1 : 0;
    for (uint32_t i = 0; i < m->n_blocks; i++)
        if (i >= a.count ||
            (m->window > 0 && (has[i] != 0) != model_has_window(m, i)))
            return error_set(err, -ENOTSUP,
                             "%s: at block %u it is no repetition of its first "
                             "blocks, which alone is supported",
                             key, i);
    return 0;
}

int blocks_read_window(struct model_config *m, const struct gguf *f,
                       struct error *err)
{
    char key[KEY_BYTES];
    int rc = 0;

    if (gguf_has(f, key_of(key, m, "attention.sliding_window")))
        rc = gguf_get_u32(&m->window, f, key, err);
    if (rc < 0 ||
        !gguf_has(f, key_of(key, m, "attention.sliding_window_pattern")))
        return rc;
    return gguf_get_u32(&m->window_period, f, key, NULL) < 0
               ? read_pattern(m, f, key, err)
               : 0;
}

static int refuse_experts(const struct model_config *m, const struct gguf *f,
                          struct error *err)
{
    char key[KEY_BYTES];
    uint32_t experts = 0;
    int rc = 0;

    if (gguf_has(f, key_of(key, m, "expert_count")))
        rc = gguf_get_u32(&experts, f, key, err);
    if (rc < 0)
        return rc;
    if (experts > 0)
        return error_set(err, -ENOTSUP,
                         "%s is %u: mixtures of experts are not supported", key,
                         experts);
    return 0;
}

/*
 * Tensors
 */

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

// The vectors of a block; `name` for number i, and its length, or false.
static bool block_vector(char name[MODEL_NAME_BYTES], int64_t *length,
                         const struct model_config *m, uint32_t block, int i)
{
    static const char *const stems[] = {"attn_norm",           "ffn_norm",
                                        "post_attention_norm", "post_ffw_norm",
                                        "attn_q_norm",         "attn_k_norm"};
    const int64_t rows[] = {m->n_heads, m->n_kv_heads};
    const bool is_before = i < 2;

    (void) snprintf(name, MODEL_NAME_BYTES, "blk.%u.%s.weight", block,
                    stems[i]);
    *length = m->width;
    if (i < 4)
        return m->norms == MODEL_NORMS_BOTH ||
               is_before == (m->norms == MODEL_NORMS_BEFORE);
    *length = m->head_dim * (m->qk_norms == MODEL_QK_ROWS ? rows[i - 4] : 1);
    return m->qk_norms != MODEL_QK_PLAIN;
}

enum { BLOCK_VECTORS = 6 };

static int check_block(struct model_config *m, const struct gguf *f,
                       uint32_t block, struct error *err)
{
    char name[MODEL_NAME_BYTES];
    int64_t ne[2];
    int rc = 0;

    for (int i = 0; i < BLOCK_VECTORS && rc == 0; i++)
        if (block_vector(name, &ne[0], m, block, i))
            rc = check_tensor(NULL, f, name, 0, ne[0], err);
    for (int i = 0; i < MODEL_LINEARS && rc == 0; i++) {
        const enum model_linear linear = (enum model_linear) i;
        if (!model_has_linear(m, linear))
            continue;
        model_linear_name(name, m, block, linear);
        model_linear_shape(ne, m, linear);
        rc = check_tensor(&m->linear_dtypes[block][i], f, name, ne[0], ne[1],
                          err);
        model_bias_name(name, m, block, linear);
        if (rc < 0 || !gguf_find(f, name))
            continue;
        m->biases[block] |= (uint8_t) (1u << i);
        rc = check_tensor(NULL, f, name, 0, ne[0], err);
    }
    return rc;
}

// What stands in a block must be what the graph is made of: an unknown tensor
// is a model that would be run wrongly.
static bool is_of_block(const struct model_config *m, const char *name)
{
    char want[MODEL_NAME_BYTES];
    int64_t length;
    unsigned block;

    if (sscanf(name, "blk.%5u.", &block) != 1)
        return true;
    for (int i = 0; i < BLOCK_VECTORS; i++)
        if (block_vector(want, &length, m, block, i) && strcmp(name, want) == 0)
            return true;
    for (int i = 0; i < MODEL_LINEARS; i++) {
        const enum model_linear linear = (enum model_linear) i;
        if (model_has_linear(m, linear) &&
            (strcmp(name, model_linear_name(want, m, block, linear)) == 0 ||
             strcmp(name, model_bias_name(want, m, block, linear)) == 0))
            return true;
    }
    // Tables that files of 2023 hold, and nobody reads.
    return strstr(name, "attn_rot_embd") != NULL;
}

static int refuse_others(const struct model_config *m, const struct gguf *f,
                         struct error *err)
{
    for (uint32_t i = 0; i < gguf_n_tensors(f); i++) {
        const char *name = gguf_tensor_at(f, i)->name;
        if (!is_of_block(m, name) || strcmp(name, "output.bias") == 0)
            return error_set(err, -ENOTSUP,
                             "tensor %s is nothing that pockd knows of %s "
                             "models",
                             name, m->arch);
    }
    return 0;
}

// A vector that angles are divided by.
static int check_divisor(const struct gguf *f, const char *name, int64_t n,
                         struct error *err)
{
    int rc = check_tensor(NULL, f, name, 0, n, err);
    if (rc < 0)
        return rc;
    const unsigned char *data = gguf_find(f, name)->data;
    for (int64_t i = 0; i < n; i++) {
        const float x = bits_to_f32(bits_load32(data + 4 * i));
        if (!(x >= 1e-6f) || !(x <= 1e6f))
            return error_set(err, -EINVAL,
                             "tensor %s holds %g, but must hold numbers from "
                             "0.000001 to 1000000",
                             name, (double) x);
    }
    return 0;
}

static int check_factors(const struct model_config *m, const struct gguf *f,
                         struct error *err)
{
    const int64_t n = m->rope_dims / 2;
    int rc;

    switch ((enum model_rope_factors) m->rope_factors) {
    case MODEL_ROPE_PLAIN:
        break;
    case MODEL_ROPE_FREQS:
        return check_divisor(f, "rope_freqs.weight", n, err);
    case MODEL_ROPE_LONG_SHORT:
        rc = check_divisor(f, "rope_factors_long.weight", n, err);
        return rc < 0 ? rc
                      : check_divisor(f, "rope_factors_short.weight", n, err);
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
    rc = check_factors(m, f, err);
    return rc < 0 ? rc : refuse_others(m, f, err);
}

int blocks_read(struct model_config *m, const struct gguf *f, struct error *err)
{
    int rc;

    if ((rc = read_count(&m->n_blocks, m, f, "block_count", MODEL_BLOCKS_MAX,
                         err)) < 0 ||
        (rc = read_count(&m->width, m, f, "embedding_length", 1 << 17, err)) <
            0 ||
        (rc = read_count(&m->ffn_width, m, f, "feed_forward_length", 1 << 20,
                         err)) < 0 ||
        (rc = read_count(&m->context, m, f, "context_length", 1 << 26, err)) <
            0 ||
        (rc = read_positive(&m->rms_eps, m, f,
                            "attention.layer_norm_rms_epsilon", err)) < 0 ||
        (rc = read_heads(m, f, err)) < 0 || (rc = read_rope(m, f, err)) < 0 ||
        (rc = refuse_experts(m, f, err)) < 0)
        return rc;
    return check_tensors(m, f, err);
}
