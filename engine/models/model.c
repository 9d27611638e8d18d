// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/models/model.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/error.h"
#include "engine/formats/gguf.h"
#include "engine/ir/builder.h"
#include "engine/models/blocks.h"
#include "engine/models/scheme.h"

static const struct model_arch {
    const char *name;
    int (*read)(struct model_config *out, const struct gguf *file,
                struct error *err);
} archs[] = {
#define MODEL(name) {#name, name##_read},
#include "engine/models/models.def"
#undef MODEL
};

static const char supported[] =
#define MODEL(name) " " #name
#include "engine/models/models.def"
#undef MODEL
    ;

static const struct model_arch *arch_find(const char *name)
{
    for (size_t i = 0; i < sizeof(archs) / sizeof(archs[0]); i++)
        if (strcmp(archs[i].name, name) == 0)
            return &archs[i];
    return NULL;
}

int model_config_read(struct model_config *out, const struct gguf *file,
                      struct error *err)
{
    struct model_config m = {0};
    const char *name;
    int rc;

    if ((rc = gguf_get_str(&name, file, "general.architecture", err)) < 0)
        return rc;
    const struct model_arch *arch = arch_find(name);
    if (!arch)
        return error_set(err, -ENOTSUP,
                         "architecture \"%.40s\" is not supported; "
                         "supported:%s",
                         name, supported);
    (void) snprintf(m.arch, sizeof(m.arch), "%s", arch->name);
    if ((rc = arch->read(&m, file, err)) < 0)
        return rc;
    *out = m;
    return 0;
}

bool model_has_linear(const struct model_config *m, enum model_linear linear)
{
    switch (linear) {
    case MODEL_LINEAR_k:
    case MODEL_LINEAR_v:
        return !m->is_qkv_fused;
    case MODEL_LINEAR_gate:
        return !m->is_gate_fused;
    case MODEL_LINEAR_q:
    case MODEL_LINEAR_o:
    case MODEL_LINEAR_up:
    case MODEL_LINEAR_down:
    case MODEL_LINEARS:
        break;
    }
    return true;
}

uint32_t model_whole_linears(const struct model_config *m, uint32_t linears)
{
    const uint32_t kv = 1u << MODEL_LINEAR_k | 1u << MODEL_LINEAR_v;
    const uint32_t gate = 1u << MODEL_LINEAR_gate;

    if (m->is_qkv_fused && linears & kv)
        linears = (linears & ~kv) | 1u << MODEL_LINEAR_q;
    if (m->is_gate_fused && linears & gate)
        linears = (linears & ~gate) | 1u << MODEL_LINEAR_up;
    return linears;
}

const char *model_linear_stem(const struct model_config *m,
                              enum model_linear linear)
{
    static const char *const stems[MODEL_LINEARS] = {
#define BLOCK_LINEAR(id, stem, rows, columns) #stem,
#include "engine/models/block_tensors.def"
#undef BLOCK_LINEAR
    };
#define BLOCK_LINEAR(id, stem, rows, columns)
#define FUSED_LINEAR(id, where, stem, rows, columns) \
    if (linear == MODEL_LINEAR_##id && m->where)     \
        return #stem;
#include "engine/models/block_tensors.def"
#undef FUSED_LINEAR
#undef BLOCK_LINEAR
    return stems[linear];
}

const char *model_linear_name(char out[MODEL_NAME_BYTES],
                              const struct model_config *m, uint32_t block,
                              enum model_linear linear)
{
    (void) snprintf(out, MODEL_NAME_BYTES, "blk.%u.%s.weight", block,
                    model_linear_stem(m, linear));
    return out;
}

const char *model_bias_name(char out[MODEL_NAME_BYTES],
                            const struct model_config *m, uint32_t block,
                            enum model_linear linear)
{
    (void) snprintf(out, MODEL_NAME_BYTES, "blk.%u.%s.bias", block,
                    model_linear_stem(m, linear));
    return out;
}

const char *model_norm_stem(const struct model_config *m, int norm)
{
    if (m->norms == MODEL_NORMS_AFTER)
        return norm ? "post_ffw_norm" : "post_attention_norm";
    return norm ? "ffn_norm" : "attn_norm";
}

const char *model_norm_name(char out[MODEL_NAME_BYTES],
                            const struct model_config *m, uint32_t block,
                            int norm)
{
    (void) snprintf(out, MODEL_NAME_BYTES, "blk.%u.%s.weight", block,
                    model_norm_stem(m, norm));
    return out;
}

void model_linear_shape(int64_t ne[2], const struct model_config *m,
                        enum model_linear linear)
{
    const int64_t C = m->width;
    const int64_t HD = (int64_t) m->n_heads * m->head_dim;
    const int64_t GD = (int64_t) m->n_kv_heads * m->head_dim;
    const int64_t F = m->ffn_width;
    const int64_t shapes[MODEL_LINEARS][2] = {
#define BLOCK_LINEAR(id, stem, rows, columns) {rows, columns},
#include "engine/models/block_tensors.def"
#undef BLOCK_LINEAR
    };
    memcpy(ne, shapes[linear], sizeof(shapes[linear]));
#define BLOCK_LINEAR(id, stem, rows, columns)
#define FUSED_LINEAR(id, where, stem, rows, columns) \
    if (linear == MODEL_LINEAR_##id && m->where)     \
        ne[0] = (rows);
#include "engine/models/block_tensors.def"
#undef FUSED_LINEAR
#undef BLOCK_LINEAR
}

static int check_scheme(const struct scheme *s, const struct model_config *m,
                        struct error *err)
{
    return s ? scheme_check(s, m, err) : 0;
}

// Nothing before the boundary may learn: its states are taken as constants.
static int check_boundary(const struct model_graph_params *p,
                          const struct model_config *m, struct error *err)
{
    const bool is_prefix = p->phase == MODEL_PHASE_PREFIX;
    const uint32_t first =
        p->scheme ? scheme_first_block(p->scheme, m) : m->n_blocks;
    int rc = check_scheme(p->scheme, m, err);

    if (rc < 0)
        return rc;
    if (p->first_block > m->n_blocks || (is_prefix && p->first_block == 0) ||
        p->first_block > first)
        return error_set(err, -EINVAL,
                         "the boundary at block %u: must be at most the first "
                         "block that learns, %u",
                         p->first_block, first);
    return 0;
}

static int check_params(const struct model_graph_params *p,
                        const struct model_config *m, struct error *err)
{
    if (p->phase == MODEL_PHASE_GAINS)
        return p->scheme ? check_scheme(p->scheme, m, err)
                         : error_set(err, -EINVAL, "gains are of a scheme");
    if (p->length == 0 || p->length > m->context)
        return error_set(err, -EINVAL,
                         "length is %u tokens, but the model takes 1 to %u",
                         p->length, m->context);
    if (p->phase != MODEL_PHASE_CACHED) {
        const uint64_t rows = (uint64_t) p->batch * (p->copies ? p->copies : 1);
        if (rows == 0 || rows > MODEL_LENGTH_MAX / p->length)
            return error_set(err, -EINVAL,
                             "batch of %u sequences of %u tokens: there must "
                             "be 1 to %d tokens",
                             p->batch, p->length, MODEL_LENGTH_MAX);
        return check_boundary(p, m, err);
    }
    if (p->cache_length < p->length || p->cache_length > m->context)
        return error_set(err, -EINVAL,
                         "cache of %u tokens: must be at least %u, and at "
                         "most the model's context of %u",
                         p->cache_length, p->length, m->context);
    if (p->n_rows == 0 || p->n_rows > p->length)
        return error_set(err, -EINVAL,
                         "%u rows of logits: must be 1 to the length %u",
                         p->n_rows, p->length);
    return check_scheme(p->scheme, m, err);
}

int model_build(struct graph **out, const struct model_config *m,
                const struct model_graph_params *params, struct arena *a,
                struct error *err)
{
    struct builder b = {.err = err};
    int rc;

    if ((rc = check_params(params, m, err)) < 0 ||
        (rc = graph_create(&b.g, a)) < 0 ||
        (rc = blocks_build(&b, m, params)) < 0)
        return rc;
    *out = b.g;
    return 0;
}
