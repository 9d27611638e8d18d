// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/drop.h"

#include "engine/base/rng.h"
#include "engine/train/recipe.h"

// Streams of random numbers of a run: epochs begin at 1 << 32.
#define STREAM_DROP ((uint64_t) 1 << 48)

static bool learns(const struct scheme *s, uint32_t branch)
{
    const uint32_t block = branch / 2;
    const bool is_ffn = branch % 2;

    if (s->norms[block] & (is_ffn ? SCHEME_FFN_NORM : SCHEME_ATTN_NORM))
        return true;
    for (int i = 0; i < MODEL_LINEARS; i++)
        if ((i >= MODEL_LINEAR_gate) == is_ffn &&
            s->linears[block][i].learn != LEARN_NONE)
            return true;
    return false;
}

static void put_back_one(struct model_drop *d, const struct scheme *s,
                         uint32_t first, uint32_t end)
{
    uint32_t last = end;

    for (uint32_t i = first; i < end; i++) {
        if (!learns(s, i))
            continue;
        if (!model_drop_has(d, i))
            return;
        last = i;
    }
    if (last < end)
        d->bits[last / 64] &= ~((uint64_t) 1 << last % 64);
}

void drop_choose(struct model_drop *out, const struct scheme *s,
                 const struct model_config *m, const struct recipe *r,
                 uint64_t step)
{
    const uint32_t first = 2 * scheme_first_block(s, m);
    const uint32_t end = 2 * scheme_blocks(s, m);
    const uint32_t n = end - first;
    const uint32_t dropped = (uint32_t) ((double) r->drop_rate * n + 1e-6);
    const uint32_t mask = (uint32_t) (step % DROP_MASKS);
    uint32_t order[2 * MODEL_BLOCKS_MAX];
    struct rng rng;

    *out = (struct model_drop){{0}};
    if (dropped == 0)
        return;
    rng_init(&rng, r->seed, STREAM_DROP);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t j = rng_below(&rng, i + 1);
        order[i] = order[j];
        order[j] = first + i;
    }
    // Each mask goes on where the one before ended.
    for (uint32_t i = 0; i < dropped; i++) {
        const uint32_t branch = order[((uint64_t) mask * dropped + i) % n];
        out->bits[branch / 64] |= (uint64_t) 1 << branch % 64;
    }
    put_back_one(out, s, first, end);
}
