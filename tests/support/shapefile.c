// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/support/shapefile.h"

#include "engine/base/error.h"
#include "engine/base/half.h"
#include "engine/base/rng.h"
#include "engine/formats/gguf.h"
#include "engine/models/model.h"
#include "tests/support/bytetok.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct shapefile shapefiles[] = {
    {"blocks32", 32, 256, 8, 4, 32, 704, 4096},
    {"qwen05b", 24, 896, 14, 2, 64, 4864, 151936},
    {"4b", 36, 2560, 32, 8, 128, 9728, 151936},
};
const size_t shapefile_count = sizeof(shapefiles) / sizeof(shapefiles[0]);

const struct shapefile *shapefile_find(const char *name)
{
    for (size_t i = 0; i < shapefile_count; i++)
        if (strcmp(shapefiles[i].name, name) == 0)
            return &shapefiles[i];
    return NULL;
}

/*
 * All tensors are cut from one pool of random blocks as large as the largest,
 * each from another place of it: random enough, and a file of 2 GB is written
 * from 200 MB.
 */
struct save {
    const struct shapefile *shape;
    enum dtype type;
    struct gguf_writer *writer;
    struct rng rng;
    unsigned char *pool;
    size_t pool_blocks;
    float *ones;
};

// A block of values with deviation 1 / sqrt(width), evenly spread.
static void make_block(struct save *s, unsigned char *out)
{
    const size_t bytes = dtype_infos[s->type].block_bytes;
    const double spread = sqrt(3.0 / s->shape->width);

    if (s->type == DTYPE_f32) {
        const float v = (float) (spread * (2 * rng_uniform(&s->rng) - 1));
        memcpy(out, &v, sizeof(v));
        return;
    }
    const float step = (float) (spread / (s->type == DTYPE_q4_0 ? 8.0 : 128.0));
    const uint16_t scale = half_from_f32(step);
    memcpy(out, &scale, sizeof(scale));
    for (size_t i = sizeof(scale); i < bytes; i += sizeof(uint32_t)) {
        const uint32_t bits = rng_u32(&s->rng);
        const size_t n = bytes - i < sizeof(bits) ? bytes - i : sizeof(bits);
        memcpy(out + i, &bits, n);
    }
}

static int fill_pool(struct save *s)
{
    const struct shapefile *h = s->shape;
    const size_t block = dtype_infos[s->type].block;
    const size_t rows = h->n_vocab > h->ffn_width ? h->n_vocab : h->ffn_width;
    const size_t bytes = dtype_infos[s->type].block_bytes;

    // Some to spare, to start from elsewhere.
    s->pool_blocks = rows * h->width / block + 65536;
    s->pool = malloc(s->pool_blocks * bytes);
    s->ones = malloc(h->width * sizeof(*s->ones));
    if (!s->pool || !s->ones)
        return -ENOMEM;
    for (size_t i = 0; i < s->pool_blocks; i++)
        make_block(s, s->pool + i * bytes);
    for (uint32_t i = 0; i < h->width; i++)
        s->ones[i] = 1;
    return 0;
}

static void add_matrix(struct save *s, const char *name, int64_t out,
                       int64_t in)
{
    const int64_t ne[2] = {in, out};
    const size_t blocks =
        (size_t) in * (size_t) out / dtype_infos[s->type].block;
    // An even number, so that blocks of f32 stay aligned.
    const uint32_t from =
        rng_below(&s->rng, (uint32_t) (s->pool_blocks - blocks) / 2) * 2;
    gguf_writer_tensor(s->writer, name, s->type, 2, ne,
                       s->pool + from * dtype_infos[s->type].block_bytes);
}

static void add_norm(struct save *s, const char *name)
{
    const int64_t ne[1] = {s->shape->width};
    gguf_writer_tensor(s->writer, name, DTYPE_f32, 1, ne, s->ones);
}

static void add_tensors(struct save *s)
{
    const struct shapefile *h = s->shape;
    const struct model_config config = {
        .width = h->width,
        .n_heads = h->n_heads,
        .n_kv_heads = h->n_kv_heads,
        .head_dim = h->head_dim,
        .ffn_width = h->ffn_width,
    };
    char name[MODEL_NAME_BYTES];
    int64_t ne[2];

    add_matrix(s, "token_embd.weight", h->n_vocab, h->width);
    add_norm(s, "output_norm.weight");
    for (uint32_t b = 0; b < h->n_blocks; b++) {
        (void) snprintf(name, sizeof(name), "blk.%u.attn_norm.weight", b);
        add_norm(s, name);
        (void) snprintf(name, sizeof(name), "blk.%u.ffn_norm.weight", b);
        add_norm(s, name);
        for (int i = 0; i < MODEL_LINEARS; i++) {
            model_linear_shape(ne, &config, (enum model_linear) i);
            add_matrix(s, model_linear_name(name, b, (enum model_linear) i),
                       ne[0], ne[1]);
        }
    }
}

static void add_metadata(struct gguf_writer *w, const struct shapefile *h)
{
    gguf_writer_str(w, "general.architecture", "llama");
    gguf_writer_str(w, "general.name", h->name);
    gguf_writer_u32(w, "llama.block_count", h->n_blocks);
    gguf_writer_u32(w, "llama.context_length", 4096);
    gguf_writer_u32(w, "llama.embedding_length", h->width);
    gguf_writer_u32(w, "llama.feed_forward_length", h->ffn_width);
    gguf_writer_u32(w, "llama.attention.head_count", h->n_heads);
    gguf_writer_u32(w, "llama.attention.head_count_kv", h->n_kv_heads);
    gguf_writer_u32(w, "llama.attention.key_length", h->head_dim);
    gguf_writer_u32(w, "llama.attention.value_length", h->head_dim);
    gguf_writer_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5F);
    gguf_writer_f32(w, "llama.rope.freq_base", 10000);
    gguf_writer_u32(w, "llama.rope.dimension_count", h->head_dim);
    bytetok_add(w, h->n_vocab);
}

int shapefile_save(const struct shapefile *shape, enum dtype type,
                   uint64_t seed, int fd, struct error *err)
{
    struct save s = {.shape = shape, .type = type};
    int rc;

    if (type != DTYPE_f32 && type != DTYPE_q8_0 && type != DTYPE_q4_0)
        return error_set(err, -EINVAL, "weights may be f32, q8_0 or q4_0");
    rng_init(&s.rng, seed, 0);
    if ((rc = gguf_writer_create(&s.writer)) < 0 || (rc = fill_pool(&s)) < 0)
        goto out;
    add_metadata(s.writer, shape);
    add_tensors(&s);
    rc = gguf_writer_save_fd(s.writer, fd, err);

out:
    gguf_writer_destroy(s.writer);
    free(s.ones);
    free(s.pool);
    return rc;
}
