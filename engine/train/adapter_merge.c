// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/adapter_merge.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/formats/gguf.h"
#include "engine/tensor/quant.h"
#include "engine/train/adapter.h"
#include "engine/train/adapter_weight.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct merge {
    const struct adapter *a;
    const struct model_config *m;
    const struct gguf *base;
    // Of what changes: DTYPE_COUNT keeps eight bits and more, i32 keeps all.
    enum dtype to;
    void *data; // the tensor that was asked for last
    float *row;
};

// Which linear or norm of which block is it? MODEL_LINEARS and above: a norm.
static bool find_place(uint32_t *block, int *which, const struct merge *g,
                       const char *name)
{
    char want[MODEL_NAME_BYTES];
    unsigned b;

    *block = g->m->n_blocks;
    *which = MODEL_LINEARS;
    if (strcmp(name, "output_norm.weight") == 0)
        return true;
    if (sscanf(name, "blk.%5u.", &b) != 1 || b >= g->m->n_blocks)
        return false;
    *block = b;
    for (*which = 0; *which < MODEL_LINEARS + 2; ++*which) {
        if (*which < MODEL_LINEARS)
            model_linear_name(want, g->m, b, (enum model_linear) * which);
        else
            model_norm_name(want, g->m, b, *which - MODEL_LINEARS);
        if (strcmp(name, want) == 0)
            return true;
    }
    return false;
}

// Steps of fewer than eight bits are wider than what training changes: what it
// learned would be rounded away, or written as more than it was.
static enum dtype merged_type(const struct merge *g, enum dtype type,
                              int64_t columns)
{
    const struct dtype_info *t = &dtype_infos[type];

    if (g->to == DTYPE_i32)
        return type;
    if (g->to != DTYPE_COUNT)
        return columns % dtype_infos[g->to].block == 0 ? g->to : DTYPE_f16;
    return t->block_bytes * 8 / t->block < 8 ? DTYPE_f16 : type;
}

static int parse_type(enum dtype *out, const char *name, struct error *err)
{
    static const enum dtype all[] = {
#define WEIGHT(type, ...) DTYPE_##type,
#include "engine/tensor/dtypes.def"
    };

    *out = name[0] ? DTYPE_i32 : DTYPE_COUNT;
    if (name[0] == '\0' || strcmp(name, "same") == 0)
        return 0;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (strcmp(name, dtype_infos[all[i]].name) == 0) {
            *out = all[i];
            return 0;
        }
    return error_set(err, -EINVAL,
                     "there is no type of weights \"%.20s\": it may be same, "
                     "f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, iq4_nl or "
                     "q2_k to q6_k",
                     name);
}

static int merge_linear(struct merge *g, const struct adapter_weight *w)
{
    const enum dtype type = merged_type(g, (enum dtype) w->dtype, w->columns);
    const size_t bytes = dtype_row_bytes(type, w->columns);

    g->data = fault_malloc((size_t) w->rows * bytes);
    g->row = fault_malloc((size_t) w->columns * sizeof(*g->row));
    if (!g->data || !g->row)
        return -ENOMEM;
    for (int64_t o = 0; o < w->rows; o++) {
        adapter_weight_row(NULL, g->row, w, o);
        quant_encode(type, (char *) g->data + (size_t) o * bytes, g->row,
                     w->columns);
    }
    return 0;
}

static int merge_gain(struct merge *g, const struct gguf_tensor *t,
                      const float *gain)
{
    const float *before = t->data;
    float *after = fault_malloc(g->m->width * sizeof(*after));

    g->data = after;
    if (!after)
        return -ENOMEM;
    for (uint32_t i = 0; i < g->m->width; i++)
        after[i] = before[i] + gain[i];
    return 0;
}

static int make_data(const void **data, void *user, const char *name,
                     struct error *err)
{
    struct merge *g = user;
    const struct gguf_tensor *t = gguf_find(g->base, name);
    struct adapter_weight w;
    uint32_t block = 0;
    int which = 0;
    int rc;

    free(g->data);
    free(g->row);
    g->data = NULL;
    g->row = NULL;
    (void) find_place(&block, &which, g, name);
    if (which < MODEL_LINEARS) {
        (void) adapter_weight_init(&w, g->a, g->m, g->base, block,
                                   (enum model_linear) which);
        rc = merge_linear(g, &w);
    } else {
        rc = merge_gain(g, t, adapter_gain(g->a, block, which - MODEL_LINEARS));
    }
    *data = g->data;
    return rc < 0 ? error_set(err, rc, "merging %s: out of memory", name) : 0;
}

static bool is_changed(const struct merge *g, uint32_t block, int which)
{
    struct adapter_weight w;

    if (which >= MODEL_LINEARS)
        return adapter_gain(g->a, block, which - MODEL_LINEARS) != NULL;
    return adapter_weight_init(&w, g->a, g->m, g->base, block,
                               (enum model_linear) which);
}

// A block behind the end of the model.
static bool is_dropped(const struct merge *g, const char *name)
{
    unsigned block;
    return g->a->scheme.exit_block && sscanf(name, "blk.%5u.", &block) == 1 &&
           block >= g->a->scheme.exit_block;
}

static int add_tensors(struct gguf_writer *w, const struct merge *g,
                       struct error *err)
{
    for (uint32_t i = 0; i < gguf_n_tensors(g->base); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g->base, i);
        uint32_t block;
        int which;
        if (is_dropped(g, t->name))
            continue;
        if (!t->is_known)
            return error_set(err, -ENOTSUP,
                             "merging: tensor %s has a type that pockd does "
                             "not know",
                             t->name);
        const bool changes = find_place(&block, &which, g, t->name) &&
                             is_changed(g, block, which);
        gguf_writer_tensor(w, t->name,
                           changes && which < MODEL_LINEARS
                               ? merged_type(g, t->dtype, t->ne[0])
                               : t->dtype,
                           t->n_dims, t->ne, changes ? NULL : t->data);
    }
    return 0;
}

static void add_pairs(struct gguf_writer *w, const struct merge *g)
{
    char blocks[MODEL_NAME_BYTES];

    (void) snprintf(blocks, sizeof(blocks), "%s.block_count", g->m->arch);
    for (uint32_t i = 0; i < gguf_n_pairs(g->base); i++) {
        const char *key;
        size_t bytes;
        const void *pair = gguf_pair_at(g->base, i, &key, &bytes);
        // The writer aligns in its own way, which is the one without a key.
        if (strcmp(key, "general.alignment") == 0)
            continue;
        if (strcmp(key, blocks) == 0 && g->a->scheme.exit_block)
            gguf_writer_u32(w, key, g->a->scheme.exit_block);
        else
            gguf_writer_pair(w, pair, bytes);
    }
}

int adapter_merge_fd(const struct adapter *a, const struct model_config *m,
                     const struct gguf *base, const char *type, int fd,
                     struct error *err)
{
    struct merge g = {.a = a, .m = m, .base = base};
    struct gguf_writer *w;
    int rc = parse_type(&g.to, type, err);

    if (rc < 0)
        return rc;
    if ((rc = gguf_writer_create(&w)) < 0)
        return error_set(err, rc, "merging: out of memory");
    add_pairs(w, &g);
    gguf_writer_source(w, make_data, &g);
    if ((rc = add_tensors(w, &g, err)) == 0)
        rc = gguf_writer_save_fd(w, fd, err);
    gguf_writer_destroy(w);
    free(g.data);
    free(g.row);
    return rc;
}
