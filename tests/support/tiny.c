// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/support/tiny.h"

#include <assert.h>
#include <string.h>

#include "engine/base/rng.h"

struct model_config tiny_config(uint8_t dtype, uint32_t n_blocks)
{
    const uint32_t block = dtype_infos[dtype].block;
    const uint32_t heads = block > 64 ? block / 4 : 16; // their size
    struct model_config m = {
        .arch = "llama",
        .n_blocks = n_blocks,
        .width = block > 1 ? block : 20,
        .n_heads = 4,
        .n_kv_heads = 2,
        .head_dim = block > 1 ? heads : 6,
        .ffn_width = block > 1 ? (block > 64 ? block : 64) : 29,
        .n_vocab = 37,
        .context = 64,
        .rope_dims = block > 1 ? heads : 4,
        .rms_eps = 1e-5f,
        .rope_base = 10000,
        .is_tied = true,
        .embed_dtype = dtype,
        .head_dtype = dtype,
    };
    for (uint32_t i = 0; i < n_blocks; i++)
        memset(m.linear_dtypes[i], dtype, MODEL_LINEARS);
    return m;
}

struct scheme tiny_scheme(const struct model_config *m,
                          const struct scheme_lora *lora)
{
    struct scheme s;
    const int rc = scheme_from_lora(&s, lora, m, NULL);

    assert(rc == 0);
    (void) rc;
    return s;
}

// Each row holds segments of 5 tokens or so; the first token of each, and the
// last of each row, does not count in the loss.
void tiny_batch_make(struct tiny_batch *t, uint32_t batch, uint32_t length,
                     uint32_t n_vocab, uint64_t seed)
{
    struct rng r;

    assert(batch * length <= sizeof(t->tokens) / sizeof(t->tokens[0]));
    memset(t, 0, sizeof(*t));
    t->n = batch * length;
    rng_init(&r, seed, 7);
    for (uint32_t row = 0; row < batch; row++) {
        uint32_t start = 0;
        for (uint32_t i = 0; i < length; i++) {
            const uint32_t at = row * length + i;
            if (i > start + 3 && rng_below(&r, 3) == 0)
                start = i;
            t->tokens[at] = (int32_t) rng_below(&r, n_vocab);
            t->targets[at] = (int32_t) rng_below(&r, n_vocab);
            t->pos[at] = (int32_t) (i - start);
            t->start[at] = (int32_t) (row * length + start);
            t->weights[at] = i == start || i + 1 == length ? 0 : 0.05f;
        }
    }
}

static void write(struct executor *e, const char *name, const void *data,
                  size_t bytes)
{
    int rc = executor_write(e, name, data, bytes);
    assert(rc == 0);
    (void) rc;
}

void tiny_batch_write(struct executor *e, const struct tiny_batch *t)
{
    write(e, "tokens", t->tokens, t->n * sizeof(t->tokens[0]));
    write(e, "pos", t->pos, t->n * sizeof(t->pos[0]));
    write(e, "start", t->start, t->n * sizeof(t->start[0]));
    write(e, "targets", t->targets, t->n * sizeof(t->targets[0]));
    write(e, "weights", t->weights, t->n * sizeof(t->weights[0]));
}
