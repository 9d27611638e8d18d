// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/support/archfile.h"

#include "engine/base/error.h"
#include "engine/formats/gguf.h"
#include "engine/models/model.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define QKV (1u << MODEL_LINEAR_q | 1u << MODEL_LINEAR_k | 1u << MODEL_LINEAR_v)

const struct archfile archfiles[] = {
    {"llama", "llama", 2, 64, 4, 2, 16, 96, 16, 0, 0, 0, 0, 0, 0},
    {"llama_freqs", "llama", 2, 64, 4, 4, 16, 96, 16, 0, 0, 0, 1, 1,
     QKV | 1u << MODEL_LINEAR_o},
    {"llama_linear", "llama", 2, 64, 4, 1, 16, 96, 16, 0, 4, 0, 0, 0, 0},
    {"qwen2", "qwen2", 2, 64, 4, 2, 16, 96, 16, 0, 0, 0, 0, 1, QKV},
    {"qwen3", "qwen3", 2, 64, 4, 2, 32, 96, 32, 0, 0, 0, 0, 0, 0},
    {"gemma2", "gemma2", 2, 64, 4, 2, 32, 96, 32, 8, 0, 0, 0, 0, 0},
    {"gemma3", "gemma3", 6, 64, 4, 1, 32, 96, 32, 8, 8, 0, 0, 0, 0},
    {"phi3", "phi3", 2, 64, 4, 2, 16, 96, 12, 0, 0, 512, 0, 1, 0},
    {"phi3_window", "phi3", 2, 64, 4, 2, 16, 96, 16, 9, 0, 512, 0, 0, 0},
    {"phi3_long", "phi3", 2, 64, 4, 4, 16, 96, 16, 0, 0, 16, 0, 1, 0},
    {"olmo2", "olmo2", 2, 64, 4, 2, 16, 96, 16, 0, 0, 0, 0, 1, 0},
    {"olmo3", "olmo2", 4, 64, 4, 2, 16, 96, 16, 8, 0, 0, 0, 1, 0},
};
const size_t archfile_count = sizeof(archfiles) / sizeof(archfiles[0]);

const struct archfile *archfile_find(const char *name)
{
    for (size_t i = 0; i < archfile_count; i++)
        if (strcmp(archfiles[i].name, name) == 0)
            return &archfiles[i];
    return NULL;
}

// Of the name FNV-1a, then splitmix64 of the number.
double archfile_value(const char *name, uint64_t i)
{
    uint64_t h = 1469598103934665603u;

    while (*name)
        h = (h ^ (unsigned char) *name++) * 1099511628211u;
    h += (i + 1) * 0x9e3779b97f4a7c15u;
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u;
    h = (h ^ h >> 27) * 0x94d049bb133111ebu;
    h ^= h >> 31;
    return (double) (h >> 40) / 16777216.0 - 0.5;
}

struct maker {
    const struct archfile *a;
    struct gguf_writer *w;
    float *tensors[128];
    int n;
};

// mean + spread * value
static void add(struct maker *m, const char *name, int64_t rows, int64_t cols,
                double mean, double spread)
{
    const int64_t ne[2] = {cols, rows};
    const int64_t n = (rows ? rows : 1) * cols;
    float *x = malloc((size_t) n * sizeof(*x));

    assert(x && m->n < 128);
    m->tensors[m->n++] = x;
    for (int64_t i = 0; i < n; i++)
        x[i] = (float) (mean + spread * archfile_value(name, (uint64_t) i));
    gguf_writer_tensor(m->w, name, DTYPE_f32, rows ? 2 : 1, ne, x);
}

static void add_of_block(struct maker *m, uint32_t block, const char *tail,
                         int64_t rows, int64_t cols, double mean, double spread)
{
    char name[MODEL_NAME_BYTES];

    (void) snprintf(name, sizeof(name), "blk.%u.%s", block, tail);
    add(m, name, rows, cols, mean, spread);
}

// The traits that tensors hang on, as the readers of the engine set them.
static struct model_config traits(const struct archfile *a)
{
    struct model_config c = {
        .n_blocks = a->n_blocks,
        .width = a->width,
        .n_heads = a->n_heads,
        .n_kv_heads = a->n_kv_heads,
        .head_dim = a->head_dim,
        .ffn_width = a->ffn_width,
    };
    c.is_qkv_fused = c.is_gate_fused = strcmp(a->arch, "phi3") == 0;
    if (strncmp(a->arch, "gemma", 5) == 0)
        c.norms = MODEL_NORMS_BOTH;
    if (strcmp(a->arch, "olmo2") == 0) {
        c.norms = MODEL_NORMS_AFTER;
        c.qk_norms = MODEL_QK_ROWS;
    }
    if (strcmp(a->arch, "qwen3") == 0 || strcmp(a->arch, "gemma3") == 0)
        c.qk_norms = MODEL_QK_HEADS;
    return c;
}

static void add_norms(struct maker *m, const struct model_config *c, uint32_t b)
{
    const bool is_row = c->qk_norms == MODEL_QK_ROWS;

    if (c->norms != MODEL_NORMS_AFTER) {
        add_of_block(m, b, "attn_norm.weight", 0, c->width, 1, 0.5);
        add_of_block(m, b, "ffn_norm.weight", 0, c->width, 1, 0.5);
    }
    if (c->norms != MODEL_NORMS_BEFORE) {
        add_of_block(m, b, "post_attention_norm.weight", 0, c->width, 1, 0.5);
        add_of_block(m, b, "post_ffw_norm.weight", 0, c->width, 1, 0.5);
    }
    if (c->qk_norms == MODEL_QK_PLAIN)
        return;
    add_of_block(m, b, "attn_q_norm.weight", 0,
                 c->head_dim * (is_row ? c->n_heads : 1), 1.5, 0.5);
    add_of_block(m, b, "attn_k_norm.weight", 0,
                 c->head_dim * (is_row ? c->n_kv_heads : 1), 1.5, 0.5);
}

static void add_tensors(struct maker *m)
{
    const struct archfile *a = m->a;
    const struct model_config c = traits(a);
    char name[MODEL_NAME_BYTES];
    int64_t ne[2];

    add(m, "token_embd.weight", ARCHFILE_VOCAB, a->width, 0, 1);
    add(m, "output_norm.weight", 0, a->width, 1, 0.5);
    if (a->has_head)
        add(m, "output.weight", ARCHFILE_VOCAB, a->width, 0, 1);
    if (a->has_freqs)
        add(m, "rope_freqs.weight", 0, a->rope_dims / 2, 3, 4);
    if (a->rope_context) {
        add(m, "rope_factors_long.weight", 0, a->rope_dims / 2, 3, 4);
        add(m, "rope_factors_short.weight", 0, a->rope_dims / 2, 1.5, 1);
    }
    for (uint32_t b = 0; b < a->n_blocks; b++) {
        add_norms(m, &c, b);
        for (int l = 0; l < MODEL_LINEARS; l++) {
            const enum model_linear linear = (enum model_linear) l;
            if (!model_has_linear(&c, linear))
                continue;
            model_linear_shape(ne, &c, linear);
            add(m, model_linear_name(name, &c, b, linear), ne[0], ne[1], 0,
                0.6);
            if (a->biases >> l & 1)
                add(m, model_bias_name(name, &c, b, linear), 0, ne[0], 0, 0.5);
        }
    }
}

static void put_u32(struct maker *m, const char *key, uint32_t x)
{
    char name[96];
    (void) snprintf(name, sizeof(name), "%s.%s", m->a->arch, key);
    gguf_writer_u32(m->w, name, x);
}

static void put_f32(struct maker *m, const char *key, float x)
{
    char name[96];
    (void) snprintf(name, sizeof(name), "%s.%s", m->a->arch, key);
    gguf_writer_f32(m->w, name, x);
}

static void put_rope(struct maker *m)
{
    const struct archfile *a = m->a;
    char name[96];

    put_f32(m, "rope.freq_base", strcmp(a->arch, "gemma3") ? 500 : 40000);
    put_u32(m, "rope.dimension_count", a->rope_dims);
    (void) snprintf(name, sizeof(name), "%s.rope.scaling.type", a->arch);
    if (a->rope_linear > 0) {
        gguf_writer_str(m->w, name, "linear");
        put_f32(m, "rope.scaling.factor", a->rope_linear);
    }
    if (a->rope_context) {
        const double more = (double) ARCHFILE_CONTEXT / a->rope_context;
        put_u32(m, "rope.scaling.original_context_length", a->rope_context);
        put_f32(m, "rope.scaling.attn_factor",
                more > 1 ? (float) sqrt(1 + log(more) / log(a->rope_context))
                         : 1);
    }
}

// Three blocks of four have the window: a list of bool.
static void put_pattern(struct maker *m)
{
    static const char key[] = "olmo2.attention.sliding_window_pattern";
    unsigned char pair[128] = {sizeof(key) - 1};
    size_t n = 8;

    memcpy(pair + n, key, sizeof(key) - 1);
    n += sizeof(key) - 1;
    pair[n] = 9;     // a list
    pair[n + 4] = 7; // of bool
    pair[n + 8] = (unsigned char) m->a->n_blocks;
    n += 16;
    for (uint32_t i = 0; i < m->a->n_blocks; i++)
        pair[n++] = i % 4 != 3;
    gguf_writer_pair(m->w, pair, n);
}

static void put_metadata(struct maker *m)
{
    const struct archfile *a = m->a;

    gguf_writer_str(m->w, "general.architecture", a->arch);
    gguf_writer_str(m->w, "general.name", "tiny");
    put_u32(m, "block_count", a->n_blocks);
    put_u32(m, "context_length", ARCHFILE_CONTEXT);
    put_u32(m, "embedding_length", a->width);
    put_u32(m, "feed_forward_length", a->ffn_width);
    put_u32(m, "attention.head_count", a->n_heads);
    put_u32(m, "attention.head_count_kv", a->n_kv_heads);
    put_u32(m, "attention.key_length", a->head_dim);
    put_u32(m, "attention.value_length", a->head_dim);
    put_f32(m, "attention.layer_norm_rms_epsilon", 1e-5F);
    put_rope(m);
    // Converters write 0 for a phi3 without a window.
    if (a->window || strcmp(a->arch, "phi3") == 0)
        put_u32(m, "attention.sliding_window", a->window);
    if (a->window && strcmp(a->arch, "olmo2") == 0)
        put_pattern(m);
    if (strcmp(a->arch, "gemma2") == 0) {
        // Low, so that they matter.
        put_f32(m, "attn_logit_softcapping", 3);
        put_f32(m, "final_logit_softcapping", 5);
    }
}

int archfile_create(const struct archfile *a)
{
    struct maker m = {.a = a};
    struct error err = {0};
    int rc = gguf_writer_create(&m.w);

    assert(rc == 0);
    put_metadata(&m);
    bytetok_add(m.w, ARCHFILE_VOCAB);
    add_tensors(&m);
    const int fd = memfd_create("arch.gguf", MFD_CLOEXEC);
    assert(fd >= 0);
    rc = gguf_writer_save_fd(m.w, fd, &err);
    assert(rc == 0);
    gguf_writer_destroy(m.w);
    while (m.n > 0)
        free(m.tensors[--m.n]);
    (void) lseek(fd, 0, SEEK_SET);
    (void) rc;
    return fd;
}
