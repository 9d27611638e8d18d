// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/models/scheme.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/error.h"
#include "engine/base/hash.h"
#include "engine/ir/op.h"

_Static_assert(sizeof(struct scheme) ==
                   4 * 4 + 4 + MODEL_BLOCKS_MAX * (1 + 4 * MODEL_LINEARS),
               "schemes are compared byte by byte");

void scheme_init(struct scheme *s)
{
    *s = (struct scheme){.alpha = 16, .b_rate = 1, .delta_rate = 1};
}

bool scheme_equal(const struct scheme *a, const struct scheme *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

void scheme_hash(uint8_t out[32], const struct scheme *s)
{
    hash_bytes(out, s, sizeof(*s));
}

/*
 * Does it fit?
 */

static int check_rate(float rate, const char *name, struct error *err)
{
    if (!isfinite(rate) || !(rate >= 1e-4f) || !(rate <= 1e4f))
        return error_set(err, -EINVAL,
                         "scheme: %s is %g, but must be 0.0001 to 10000", name,
                         (double) rate);
    return 0;
}

static int check_common(const struct scheme *s, const struct model_config *m,
                        struct error *err)
{
    int rc;

    if (!isfinite(s->alpha) || !(s->alpha > 0))
        return error_set(err, -EINVAL, "LoRA alpha is %g, but must be positive",
                         (double) s->alpha);
    if (s->scale >= SCHEME_SCALES || s->output_norm > 1)
        return error_set(err, -EINVAL, "scheme: it is not one of pockd's");
    if ((rc = check_rate(s->b_rate, "b_rate", err)) < 0 ||
        (rc = check_rate(s->delta_rate, "delta_rate", err)) < 0)
        return rc;
    if (s->exit_block >= m->n_blocks)
        return error_set(err, -EINVAL,
                         "scheme: exit after %u blocks, but the model has %u",
                         s->exit_block, m->n_blocks);
    return 0;
}

static bool has_rank(const struct scheme_linear *l)
{
    return l->learn == LEARN_LORA || l->learn == LEARN_LORA_B ||
           l->learn == LEARN_DORA;
}

static int check_linear(const struct scheme_linear *l,
                        const struct model_config *m, uint32_t block,
                        enum model_linear linear, struct error *err)
{
    char name[MODEL_NAME_BYTES];
    int64_t ne[2];

    model_linear_name(name, m, block, linear);
    if (l->learn != LEARN_NONE && !model_has_linear(m, linear))
        return error_set(err, -EINVAL,
                         "scheme: %s is a part of another tensor in this model",
                         name);
    if (l->learn >= LEARN_KINDS)
        return error_set(err, -EINVAL, "scheme: %s learns in no known way",
                         name);
    if (has_rank(l) && (l->rank < 1 || l->rank > LORA_RANK_MAX))
        return error_set(err, -EINVAL,
                         "scheme: %s has LoRA rank %u, but must have 1 to %d",
                         name, l->rank, LORA_RANK_MAX);
    if (!has_rank(l) && l->rank != 0)
        return error_set(err, -EINVAL,
                         "scheme: %s has a rank, but no LoRA that could have "
                         "one",
                         name);
    if (l->learn == LEARN_DELTA && l->part == 0xff)
        return error_set(err, -EINVAL,
                         "scheme: %s has all parts, which is written as none",
                         name);
    model_linear_shape(ne, m, linear);
    if (l->learn == LEARN_DELTA && op_part_columns(l->part, ne[1]) == 0)
        return error_set(err, -EINVAL, "scheme: %s has a part without a column",
                         name);
    if (l->learn != LEARN_DELTA && l->part != 0)
        return error_set(err, -EINVAL,
                         "scheme: %s has a part, which only whole weights "
                         "(delta) can have",
                         name);
    return 0;
}

// Everything that is said about one block.
static bool block_learns(const struct scheme *s, uint32_t block)
{
    bool any = s->norms[block] != 0;

    for (int l = 0; l < MODEL_LINEARS; l++)
        any |= s->linears[block][l].learn != LEARN_NONE;
    return any;
}

static int check_block(const struct scheme *s, const struct model_config *m,
                       uint32_t block, struct error *err)
{
    int rc = 0;

    if (block >= scheme_blocks(s, m) && block_learns(s, block))
        return error_set(err, -EINVAL,
                         "scheme: block %u learns, but the model %s %u blocks",
                         block, s->exit_block ? "is left after" : "has",
                         scheme_blocks(s, m));
    if (s->norms[block] & ~SCHEME_BOTH_NORMS)
        return error_set(err, -EINVAL, "scheme: block %u has but two norms",
                         block);
    for (int l = 0; l < MODEL_LINEARS && rc == 0; l++)
        rc = check_linear(&s->linears[block][l], m, block,
                          (enum model_linear) l, err);
    return rc;
}

int scheme_check(const struct scheme *s, const struct model_config *m,
                 struct error *err)
{
    int rc = check_common(s, m, err);

    for (uint32_t i = 0; i < MODEL_BLOCKS_MAX && rc == 0; i++)
        rc = check_block(s, m, i, err);
    if (rc == 0 && scheme_params(NULL, 0, m, s) == 0)
        rc = error_set(err, -EINVAL,
                       "scheme: nothing learns; name a tensor that does");
    return rc;
}

/*
 * What follows from it.
 */

uint32_t scheme_blocks(const struct scheme *s, const struct model_config *m)
{
    return s->exit_block ? s->exit_block : m->n_blocks;
}

uint32_t scheme_first_block(const struct scheme *s,
                            const struct model_config *m)
{
    const uint32_t n = scheme_blocks(s, m);

    for (uint32_t i = 0; i < n; i++)
        if (block_learns(s, i))
            return i;
    return n;
}

float scheme_lora_scale(const struct scheme *s, uint32_t rank)
{
    const float r = (float) rank;
    return s->alpha / (s->scale == SCHEME_SCALE_ROOT ? sqrtf(r) : r);
}

/*
 * The most common one.
 */

static int check_lora(const struct scheme_lora *lora,
                      const struct model_config *m, struct error *err)
{
    if (lora->rank < 1 || lora->rank > LORA_RANK_MAX)
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

int scheme_from_lora(struct scheme *out, const struct scheme_lora *lora,
                     const struct model_config *m, struct error *err)
{
    int rc = check_lora(lora, m, err);
    if (rc < 0)
        return rc;

    scheme_init(out);
    out->alpha = lora->alpha;
    const uint32_t n = lora->last_blocks ? lora->last_blocks : m->n_blocks;
    const uint32_t targets = model_whole_linears(m, lora->targets);
    for (uint32_t i = m->n_blocks - n; i < m->n_blocks; i++)
        for (int l = 0; l < MODEL_LINEARS; l++)
            if (targets >> l & 1u)
                out->linears[i][l] = (struct scheme_linear){
                    .learn = LEARN_LORA,
                    .rank = (uint16_t) lora->rank,
                };
    return 0;
}

/*
 * Tensors. Only what is below `max` is written, all is counted.
 */

struct list {
    struct param *out;
    uint32_t max;
    uint32_t n;
};

static void add(struct list *list, const struct param *p, const char *of,
                const char *suffix)
{
    const uint32_t i = list->n++;

    if (i >= list->max)
        return;
    list->out[i] = *p;
    (void) snprintf(list->out[i].name, sizeof(list->out[i].name), "%.44s.%s",
                    of, suffix);
}

static void add_linear(struct list *list, const struct scheme *s,
                       const struct model_config *m, uint32_t block,
                       enum model_linear linear)
{
    const struct scheme_linear *l = &s->linears[block][linear];
    char name[MODEL_NAME_BYTES];
    int64_t ne[2];
    struct param p = {
        .block = (uint16_t) block,
        .linear = (uint8_t) linear,
        .rate = 1,
    };

    model_linear_name(name, m, block, linear);
    model_linear_shape(ne, m, linear);
    if (has_rank(l)) {
        p.kind = PARAM_LORA_A;
        p.is_frozen = l->learn == LEARN_LORA_B;
        p.ne[0] = l->rank;
        p.ne[1] = ne[1];
        add(list, &p, name, "lora_a");
        p.kind = PARAM_LORA_B;
        p.is_frozen = false;
        p.rate = s->b_rate;
        p.ne[0] = ne[0];
        p.ne[1] = l->rank;
        add(list, &p, name, "lora_b");
    }
    p.rate = 1;
    if (l->learn == LEARN_DORA) {
        p.kind = PARAM_MAGNITUDE;
        p.ne[0] = 1;
        p.ne[1] = ne[0];
        add(list, &p, name, "magnitude");
    }
    if (l->learn == LEARN_DELTA) {
        p.kind = PARAM_DELTA;
        p.rate = s->delta_rate;
        p.ne[0] = ne[0];
        p.ne[1] = op_part_columns(l->part, ne[1]);
        add(list, &p, name, "delta");
    }
}

static void add_gain(struct list *list, const struct model_config *m,
                     uint32_t block, int norm)
{
    char name[MODEL_NAME_BYTES] = "output_norm.weight";
    const struct param p = {
        .ne = {1, m->width},
        .block = (uint16_t) block,
        .linear = (uint8_t) (MODEL_LINEARS + norm),
        .kind = PARAM_GAIN,
        .rate = 1,
    };

    if (block < m->n_blocks)
        model_norm_name(name, m, block, norm);
    add(list, &p, name, "delta");
}

uint32_t scheme_params(struct param *out, uint32_t max,
                       const struct model_config *m, const struct scheme *s)
{
    struct list list = {.out = out, .max = max};

    for (uint32_t i = 0; s && i < m->n_blocks; i++) {
        for (int l = 0; l < MODEL_LINEARS; l++)
            add_linear(&list, s, m, i, (enum model_linear) l);
        for (int k = 0; k < 2; k++)
            if (s->norms[i] >> k & 1)
                add_gain(&list, m, i, k);
    }
    if (s && s->output_norm)
        add_gain(&list, m, m->n_blocks, 0);
    return list.n;
}

uint64_t scheme_floats(const struct scheme *s, const struct model_config *m)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; s && i < m->n_blocks; i++) {
        // One block alone, so that no list of all is needed.
        struct param params[MODEL_LINEARS * 3 + 2];
        struct list list = {.out = params, .max = MODEL_LINEARS * 3 + 2};
        for (int l = 0; l < MODEL_LINEARS; l++)
            add_linear(&list, s, m, i, (enum model_linear) l);
        for (uint32_t k = 0; k < list.n; k++)
            sum += (uint64_t) params[k].ne[0] * (uint64_t) params[k].ne[1];
        sum += (uint64_t) m->width *
               ((s->norms[i] & 1u) + (s->norms[i] >> 1 & 1u));
    }
    return sum + (s && s->output_norm ? m->width : 0);
}
