// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/models/model.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/error.h"
#include "engine/formats/gguf.h"
#include "engine/ir/builder.h"
#include "engine/models/llama.h"

static const struct model_arch {
    const char *name;
    int (*read)(struct model_config *out, const struct gguf *file,
                struct error *err);
    int (*build)(struct builder *b, const struct model_config *m,
                 const struct model_graph_params *params);
} archs[] = {
#define MODEL(name) {#name, name##_read, name##_build},
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

const char *model_linear_name(char out[MODEL_NAME_BYTES], uint32_t block,
                              enum model_linear linear)
{
    static const char *const stems[MODEL_LINEARS] = {
#define BLOCK_LINEAR(id, stem, rows, columns) #stem,
#include "engine/models/block_tensors.def"
#undef BLOCK_LINEAR
    };
    (void) snprintf(out, MODEL_NAME_BYTES, "blk.%u.%s.weight", block,
                    stems[linear]);
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
}

int lora_check(const struct lora_spec *lora, const struct model_config *m,
               struct error *err)
{
    if (lora->rank == 0)
        return 0;
    if (lora->rank > LORA_RANK_MAX)
        return error_set(err, -EINVAL, "LoRA rank is %u, but must be 1 to %d",
                         lora->rank, LORA_RANK_MAX);
    if (!isfinite(lora->alpha) || !(lora->alpha > 0))
        return error_set(err, -EINVAL, "LoRA alpha is %g, but must be positive",
                         (double) lora->alpha);
    if (lora->targets == 0 || (lora->targets & ~(uint32_t) LORA_ALL) != 0)
        return error_set(err, -EINVAL,
                         "LoRA targets are 0x%x, but must be some of 0x%x",
                         lora->targets, LORA_ALL);
    if (lora->last_blocks > m->n_blocks)
        return error_set(err, -EINVAL,
                         "LoRA on the last %u blocks, but the model has %u",
                         lora->last_blocks, m->n_blocks);
    return 0;
}

bool lora_has(const struct lora_spec *lora, const struct model_config *m,
              uint32_t block, enum model_linear linear)
{
    const uint32_t first =
        lora->last_blocks ? m->n_blocks - lora->last_blocks : 0;
    return lora->rank > 0 && block >= first && (lora->targets >> linear & 1u);
}

uint32_t lora_first_block(const struct lora_spec *lora,
                          const struct model_config *m)
{
    for (uint32_t block = 0; block < m->n_blocks; block++)
        for (int i = 0; i < MODEL_LINEARS; i++)
            if (lora_has(lora, m, block, (enum model_linear) i))
                return block;
    return m->n_blocks;
}

uint32_t model_params(struct param *out, uint32_t max,
                      const struct model_config *m,
                      const struct lora_spec *lora)
{
    uint32_t n = 0;
    if (lora_check(lora, m, NULL) < 0)
        return 0;

    for (uint32_t i = 0; i < m->n_blocks * MODEL_LINEARS; i++) {
        const uint32_t block = i / MODEL_LINEARS;
        const enum model_linear linear = (enum model_linear)(i % MODEL_LINEARS);
        if (!lora_has(lora, m, block, linear))
            continue;

        char name[MODEL_NAME_BYTES];
        int64_t ne[2];
        model_linear_name(name, block, linear);
        model_linear_shape(ne, m, linear);
        for (int side = 0; side < 2; side++, n++) {
            if (n >= max)
                continue;
            struct param *p = &out[n];
            (void) snprintf(p->name, sizeof(p->name), "%.50s.lora_%c", name,
                            "ab"[side]);
            p->ne[0] = side ? ne[0] : (int64_t) lora->rank;
            p->ne[1] = side ? (int64_t) lora->rank : ne[1];
        }
    }
    return n;
}

// Nothing before the boundary may learn: its states are taken as constants.
static int check_boundary(const struct model_graph_params *p,
                          const struct model_config *m, struct error *err)
{
    const bool is_prefix = p->phase == MODEL_PHASE_PREFIX;
    int rc = lora_check(&p->lora, m, err);

    if (rc < 0)
        return rc;
    if (p->first_block > m->n_blocks || (is_prefix && p->first_block == 0) ||
        p->first_block > lora_first_block(&p->lora, m))
        return error_set(err, -EINVAL,
                         "the boundary at block %u: must be at most the first "
                         "block that learns, %u",
                         p->first_block, lora_first_block(&p->lora, m));
    return 0;
}

static int check_params(const struct model_graph_params *p,
                        const struct model_config *m, struct error *err)
{
    if (p->length == 0 || p->length > m->context)
        return error_set(err, -EINVAL,
                         "length is %u tokens, but the model takes 1 to %u",
                         p->length, m->context);
    if (p->phase != MODEL_PHASE_CACHED) {
        if (p->batch == 0 || p->batch > MODEL_LENGTH_MAX / p->length)
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
    return lora_check(&p->lora, m, err);
}

int model_build(struct graph **out, const struct model_config *m,
                const struct model_graph_params *params, struct arena *a,
                struct error *err)
{
    struct builder b = {.err = err};
    int rc;

    const struct model_arch *arch = arch_find(m->arch);
    if (!arch)
        return error_set(err, -ENOTSUP, "architecture \"%s\" is not supported",
                         m->arch);
    if ((rc = check_params(params, m, err)) < 0 ||
        (rc = graph_create(&b.g, a)) < 0 ||
        (rc = arch->build(&b, m, params)) < 0)
        return rc;
    *out = b.g;
    return 0;
}
