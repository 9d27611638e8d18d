// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Which type each tensor gets: the same that llama.cpp's quantiser gives it.
 *
 * A file of q4_k is a mixture, for not all weights forgive the same: the head
 * and, in the blocks that matter most (the first and last eighth, and every
 * third between), the values and what comes out of the feed-forward part get
 * six bits. Rows that are not a multiple of 256 values cannot have these types:
 * they get the next larger type with blocks of 32.
 */

#include "engine/base/error.h"
#include "engine/convert/convert.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const names[CONVERT_TYPES] = {
    [CONVERT_KEEP] = "keep", [CONVERT_F32] = "f32",   [CONVERT_F16] = "f16",
    [CONVERT_BF16] = "bf16", [CONVERT_Q8_0] = "q8_0", [CONVERT_Q4_0] = "q4_0",
    [CONVERT_Q4_K] = "q4_k",
};

const char *convert_type_name(enum convert_type type)
{
    return names[type];
}

int convert_type_parse(enum convert_type *out, const char *name,
                       struct error *err)
{
    for (int i = 0; i < CONVERT_TYPES; i++)
        if (strcmp(names[i], name) == 0) {
            *out = (enum convert_type) i;
            return 0;
        }
    return error_set(err, -EINVAL,
                     "models can be converted to q8_0, q4_0, q4_k, f16, bf16 "
                     "and f32, not %.40s",
                     name);
}

static bool ends_in(const char *name, const char *end)
{
    const size_t n = strlen(name), m = strlen(end);

    return n >= m && strcmp(name + n - m, end) == 0;
}

static bool is_head(const struct convert_place *p)
{
    return strcmp(p->name, "output.weight") == 0 ||
           (p->is_tied && strcmp(p->name, "token_embd.weight") == 0);
}

// Gains, biases, factors and routers are small and stay exact.
static bool is_small(const struct convert_place *p)
{
    return p->n_dims < 2 || !ends_in(p->name, "weight") ||
           ends_in(p->name, "_norm.weight") ||
           ends_in(p->name, "ffn_gate_inp.weight") ||
           strncmp(p->name, "rope_", 5) == 0;
}

static bool matters_more(uint32_t block, uint32_t n)
{
    return block < n / 8 || block >= 7 * n / 8 || (block - n / 8) % 3 == 2;
}

static enum dtype choose_q4_k(const struct convert_place *p)
{
    unsigned block;

    if (is_head(p))
        return DTYPE_q6_k;
    if (sscanf(p->name, "blk.%5u.", &block) != 1)
        return DTYPE_q4_k;
    if (ends_in(p->name, ".attn_qkv.weight"))
        return DTYPE_q5_k;
    if ((ends_in(p->name, ".attn_v.weight") ||
         ends_in(p->name, ".ffn_down.weight")) &&
        matters_more(block, p->n_blocks))
        return DTYPE_q6_k;
    return DTYPE_q4_k;
}

// The type that takes its place where its blocks do not fit.
static enum dtype fall_back(enum dtype type)
{
    if (type == DTYPE_q4_k)
        return DTYPE_q5_0;
    if (type == DTYPE_q5_k)
        return DTYPE_q5_1;
    return type == DTYPE_q6_k ? DTYPE_q8_0 : DTYPE_f16;
}

static enum dtype wanted(enum convert_type type, const struct convert_place *p)
{
    switch (type) {
    case CONVERT_KEEP:
        return p->dtype;
    case CONVERT_F32:
        return DTYPE_f32;
    case CONVERT_F16:
        return DTYPE_f16;
    case CONVERT_BF16:
        return DTYPE_bf16;
    case CONVERT_Q8_0:
        return DTYPE_q8_0;
    case CONVERT_Q4_0:
        return is_head(p) ? DTYPE_q6_k : DTYPE_q4_0;
    case CONVERT_Q4_K:
        return choose_q4_k(p);
    case CONVERT_TYPES:
        break;
    }
    return p->dtype;
}

enum dtype convert_choose(enum convert_type type, const struct convert_place *p)
{
    if (!dtype_is_weight(p->dtype))
        return p->dtype;
    if (is_small(p))
        return p->n_dims < 2 || type != CONVERT_KEEP ? DTYPE_f32 : p->dtype;
    enum dtype t = wanted(type, p);
    while (p->columns % dtype_infos[t].block != 0)
        t = fall_back(t);
    return t;
}
