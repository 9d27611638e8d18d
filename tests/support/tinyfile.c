// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/support/tinyfile.h"

#include "engine/base/error.h"
#include "engine/base/rng.h"
#include "engine/formats/gguf.h"
#include "tests/support/bytetok.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

// C width, H/G query and key-value heads of D, F feed-forward width
enum { N_BLOCKS = 2, C = 32, H = 2, G = 1, D = 16, F = 64 };

struct maker {
    struct gguf_writer *writer;
    struct rng rng;
    float *tensors[32];
    int n_tensors;
};

static void add_matrix(struct maker *m, const char *name, int64_t in,
                       int64_t out)
{
    const int64_t ne[2] = {in, out};
    const int64_t n = in * out;
    float *values = malloc((size_t) n * sizeof *values);

    assert(values && m->n_tensors < 32);
    m->tensors[m->n_tensors++] = values;
    for (int64_t i = 0; i < n; i++)
        values[i] = 0.15F * (float) rng_normal(&m->rng);
    gguf_writer_tensor(m->writer, name, DTYPE_f32, 2, ne, values);
}

static void add_norm(struct maker *m, const char *name)
{
    static const int64_t ne[1] = {C};
    float *values = malloc(C * sizeof *values);

    assert(values && m->n_tensors < 32);
    m->tensors[m->n_tensors++] = values;
    for (int i = 0; i < C; i++)
        values[i] = 1;
    gguf_writer_tensor(m->writer, name, DTYPE_f32, 1, ne, values);
}

static void add_tensors(struct maker *m)
{
    static const struct {
        const char *stem;
        int64_t in, out;
    } linears[] = {
        {"attn_q", C, H * D},      {"attn_k", C, G * D}, {"attn_v", C, G * D},
        {"attn_output", H * D, C}, {"ffn_gate", C, F},   {"ffn_up", C, F},
        {"ffn_down", F, C},
    };
    char name[GGUF_NAME_BYTES];

    add_matrix(m, "token_embd.weight", C, TINYFILE_VOCAB);
    add_norm(m, "output_norm.weight");
    for (int b = 0; b < N_BLOCKS; b++) {
        (void) snprintf(name, sizeof name, "blk.%d.attn_norm.weight", b);
        add_norm(m, name);
        (void) snprintf(name, sizeof name, "blk.%d.ffn_norm.weight", b);
        add_norm(m, name);
        for (size_t i = 0; i < sizeof linears / sizeof *linears; i++) {
            (void) snprintf(name, sizeof name, "blk.%d.%s.weight", b,
                            linears[i].stem);
            add_matrix(m, name, linears[i].in, linears[i].out);
        }
    }
}

int tinyfile_create(uint64_t seed)
{
    struct maker m = {0};
    struct error err;
    int rc = gguf_writer_create(&m.writer);

    assert(rc == 0);
    rng_init(&m.rng, seed, 0);
    gguf_writer_str(m.writer, "general.architecture", "llama");
    gguf_writer_str(m.writer, "general.name", "tiny");
    gguf_writer_u32(m.writer, "llama.block_count", N_BLOCKS);
    gguf_writer_u32(m.writer, "llama.context_length", TINYFILE_CONTEXT);
    gguf_writer_u32(m.writer, "llama.embedding_length", C);
    gguf_writer_u32(m.writer, "llama.feed_forward_length", F);
    gguf_writer_u32(m.writer, "llama.attention.head_count", H);
    gguf_writer_u32(m.writer, "llama.attention.head_count_kv", G);
    gguf_writer_f32(m.writer, "llama.attention.layer_norm_rms_epsilon", 1e-5F);
    gguf_writer_f32(m.writer, "llama.rope.freq_base", 10000);
    gguf_writer_u32(m.writer, "llama.rope.dimension_count", D);
    bytetok_add(m.writer, TINYFILE_VOCAB);
    add_tensors(&m);

    const int fd = memfd_create("tiny.gguf", MFD_CLOEXEC);
    assert(fd >= 0);
    rc = gguf_writer_save_fd(m.writer, fd, &err);
    assert(rc == 0);
    gguf_writer_destroy(m.writer);
    while (m.n_tensors > 0)
        free(m.tensors[--m.n_tensors]);
    (void) rc;
    return fd;
}
