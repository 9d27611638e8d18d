// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/support/shapefile.h"

#include "engine/base/error.h"
#include "engine/base/rng.h"
#include "engine/formats/gguf.h"
#include "engine/models/model.h"
#include "engine/tensor/quant.h"
#include "tests/support/bytetok.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const struct shapefile shapefiles[] = {
    {"mixed", 2, 256, 4, 2, 64, 288, 320},
    {"stories15m", 6, 288, 6, 6, 48, 768, 32000},
    {"llama29m", 4, 512, 8, 4, 64, 1536, 32000},
    {"blocks32", 32, 256, 8, 4, 32, 704, 4096},
    {"smollm135m", 30, 576, 9, 3, 64, 1536, 49152},
    {"qwen05b", 24, 896, 14, 2, 64, 4864, 151936},
    {"qwen3_06b", 28, 1024, 16, 8, 128, 3072, 151936},
    {"llama1b", 16, 2048, 32, 8, 64, 8192, 128256},
    {"llama7b", 32, 4096, 32, 32, 128, 11008, 32000},
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
 * All tensors of a type are cut from one pool of random blocks as large as the
 * largest tensor, each from another place of it: random enough, and a file of
 * 2 GB is written from 200 MB.
 */
struct pool {
    unsigned char *blocks;
    size_t count;
};

struct save {
    const struct shapefile *shape;
    enum dtype type;
    bool is_mixed;
    struct gguf_writer *writer;
    struct rng rng;
    struct pool pools[DTYPE_COUNT];
    float *ones;
    int rc; // the first failure
};

// A block of values with deviation 1 / sqrt(width), evenly spread.
static void make_block(struct save *s, enum dtype type, unsigned char *out)
{
    const double spread = sqrt(3.0 / s->shape->width);
    float x[QUANT_BLOCK_MAX];

    for (uint32_t i = 0; i < dtype_infos[type].block; i++)
        x[i] = (float) (spread * (2 * rng_uniform(&s->rng) - 1));
    quant_encode(type, out, x, dtype_infos[type].block);
}

static void fill_pool(struct save *s, enum dtype type)
{
    const struct shapefile *h = s->shape;
    const struct dtype_info *t = &dtype_infos[type];
    const size_t rows = h->n_vocab > h->ffn_width ? h->n_vocab : h->ffn_width;
    const size_t bytes = t->block_bytes;
    // To encode is slow: from a megabyte on, blocks come again elsewhere.
    const size_t distinct = (1 << 20) / bytes;
    struct pool *p = &s->pools[type];

    // Some to spare, to start from elsewhere.
    p->count = rows * h->width / t->block + 65536;
    p->blocks = malloc(p->count * bytes);
    if (!p->blocks) {
        s->rc = -ENOMEM;
        return;
    }
    for (size_t i = 0; i < p->count; i++)
        if (i < distinct)
            make_block(s, type, p->blocks + i * bytes);
        else
            memcpy(p->blocks + i * bytes,
                   p->blocks + rng_below(&s->rng, (uint32_t) distinct) * bytes,
                   bytes);
}

// What llama-quantize takes where rows are not whole blocks.
static enum dtype fallback(enum dtype type, int64_t columns)
{
    if (columns % dtype_infos[type].block == 0)
        return type;
    if (columns % 32 != 0)
        return DTYPE_f16;
    return type == DTYPE_q4_k   ? DTYPE_q5_0
           : type == DTYPE_q5_k ? DTYPE_q5_1
           : type == DTYPE_q6_k ? DTYPE_q8_0
                                : DTYPE_iq4_nl;
}

static void add_matrix(struct save *s, const char *name, enum dtype type,
                       int64_t out, int64_t in)
{
    const int64_t ne[2] = {in, out};

    type = fallback(type, in);
    if (!s->pools[type].blocks)
        fill_pool(s, type);
    if (s->rc < 0)
        return;
    const struct pool *p = &s->pools[type];
    const size_t blocks = (size_t) in * (size_t) out / dtype_infos[type].block;
    // An even number, so that blocks of f32 stay aligned.
    const uint32_t from =
        rng_below(&s->rng, (uint32_t) (p->count - blocks) / 2) * 2;
    gguf_writer_tensor(s->writer, name, type, 2, ne,
                       p->blocks + from * dtype_infos[type].block_bytes);
}

static void add_norm(struct save *s, const char *name)
{
    const int64_t ne[1] = {s->shape->width};
    gguf_writer_tensor(s->writer, name, DTYPE_f32, 1, ne, s->ones);
}

// The mixture has six bits where they are worth most: the head, and in every
// other block what attention reads and what the block adds.
static enum dtype type_of(const struct save *s, uint32_t block,
                          enum model_linear linear)
{
    const bool is_wide = block % 2 == 0 && (linear == MODEL_LINEAR_v ||
                                            linear == MODEL_LINEAR_down);
    return s->is_mixed && is_wide ? DTYPE_q6_k : s->type;
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

    add_matrix(s, "token_embd.weight", s->is_mixed ? DTYPE_q6_k : s->type,
               h->n_vocab, h->width);
    add_norm(s, "output_norm.weight");
    for (uint32_t b = 0; b < h->n_blocks; b++) {
        (void) snprintf(name, sizeof(name), "blk.%u.attn_norm.weight", b);
        add_norm(s, name);
        (void) snprintf(name, sizeof(name), "blk.%u.ffn_norm.weight", b);
        add_norm(s, name);
        for (int i = 0; i < MODEL_LINEARS; i++) {
            const enum model_linear linear = (enum model_linear) i;
            model_linear_shape(ne, &config, linear);
            add_matrix(s, model_linear_name(name, &config, b, linear),
                       type_of(s, b, linear), ne[0], ne[1]);
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

int shapefile_save(const struct shapefile *shape, const char *types,
                   uint64_t seed, int fd, struct error *err)
{
    struct save s = {.shape = shape, .is_mixed = strcmp(types, "q4_k_m") == 0};
    int rc;

    if (dtype_find(&s.type, s.is_mixed ? "q4_k" : types) < 0 ||
        !dtype_is_weight(s.type))
        return error_set(err, -EINVAL,
                         "weights cannot be %s, but may be q4_k_m or one of %s",
                         types, dtype_weight_names);
    rng_init(&s.rng, seed, 0);
    s.ones = malloc(shape->width * sizeof(*s.ones));
    if ((rc = gguf_writer_create(&s.writer)) < 0)
        goto out;
    for (uint32_t i = 0; s.ones && i < shape->width; i++)
        s.ones[i] = 1;
    add_metadata(s.writer, shape);
    add_tensors(&s);
    rc = s.ones ? s.rc : -ENOMEM;
    if (rc == 0)
        rc = gguf_writer_save_fd(s.writer, fd, err);

out:
    gguf_writer_destroy(s.writer);
    free(s.ones);
    for (int i = 0; i < DTYPE_COUNT; i++)
        free(s.pools[i].blocks);
    return rc;
}

int shapefile_create(const struct shapefile *shape, const char *types,
                     uint64_t seed)
{
    struct error err;
    const int fd = memfd_create("shape.gguf", MFD_CLOEXEC);
    int rc = fd < 0 ? -1 : shapefile_save(shape, types, seed, fd, &err);

    if (rc == 0)
        rc = lseek(fd, 0, SEEK_SET) == 0 ? 0 : -1;
    assert(rc == 0);
    (void) rc;
    return fd;
}
