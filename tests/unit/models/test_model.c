// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/models/model.h"
#include "engine/models/scheme.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/formats/gguf.h"
#include "engine/ir/graph.h"
#include "engine/ir/verify.h"

/*
 * A small valid file, in which a test may leave out or change one thing.
 */

struct change {
    const char *key; // metadata or tensor
    enum { KEEP, DROP, SET_U32, SET_F32, SET_STR, SET_DTYPE, SET_DIM } how;
    double number;
    const char *text;
};

static const struct change *change;
static uint8_t zeros[1 << 16];

static bool is_changed(const char *key)
{
    return change && change->how != KEEP && strcmp(change->key, key) == 0;
}

static void put_u32(struct gguf_writer *w, const char *key, uint32_t x)
{
    if (!is_changed(key))
        gguf_writer_u32(w, key, x);
}

static void put_tensor(struct gguf_writer *w, const char *name, enum dtype type,
                       uint32_t n_dims, int64_t d0, int64_t d1)
{
    const int64_t ne[] = {is_changed(name) && change->how == SET_DIM
                              ? (int64_t) change->number
                              : d0,
                          d1};
    if (is_changed(name) && change->how == DROP)
        return;
    if (is_changed(name) && change->how == SET_DTYPE)
        type = (enum dtype) change->number;
    gguf_writer_tensor(w, name, type, n_dims, ne, zeros);
}

static void put_metadata(struct gguf_writer *w)
{
    if (!is_changed("general.architecture"))
        gguf_writer_str(w, "general.architecture", "llama");
    put_u32(w, "llama.block_count", 2);
    put_u32(w, "llama.embedding_length", 32);
    put_u32(w, "llama.feed_forward_length", 64);
    put_u32(w, "llama.context_length", 128);
    put_u32(w, "llama.attention.head_count", 4);
    put_u32(w, "llama.attention.head_count_kv", 2);
    put_u32(w, "llama.rope.dimension_count", 8);
    if (!is_changed("llama.attention.layer_norm_rms_epsilon"))
        gguf_writer_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    if (!change)
        return;
    if (change->how == SET_U32)
        gguf_writer_u32(w, change->key, (uint32_t) change->number);
    if (change->how == SET_F32)
        gguf_writer_f32(w, change->key, (float) change->number);
    if (change->how == SET_STR)
        gguf_writer_str(w, change->key, change->text);
}

static void put_tensors(struct gguf_writer *w)
{
    char name[64];

    put_tensor(w, "token_embd.weight", DTYPE_q8_0, 2, 32, 50);
    put_tensor(w, "output_norm.weight", DTYPE_f32, 1, 32, 1);
    for (int i = 0; i < 2; i++) {
        static const struct {
            const char *stem;
            int64_t in, out;
        } linears[] = {
            {"attn_q", 32, 32},      {"attn_k", 32, 16},   {"attn_v", 32, 16},
            {"attn_output", 32, 32}, {"ffn_gate", 32, 64}, {"ffn_up", 32, 64},
            {"ffn_down", 64, 32},
        };
        (void) snprintf(name, sizeof(name), "blk.%d.attn_norm.weight", i);
        put_tensor(w, name, DTYPE_f32, 1, 32, 1);
        (void) snprintf(name, sizeof(name), "blk.%d.ffn_norm.weight", i);
        put_tensor(w, name, DTYPE_f32, 1, 32, 1);
        for (int k = 0; k < 7; k++) {
            (void) snprintf(name, sizeof(name), "blk.%d.%s.weight", i,
                            linears[k].stem);
            put_tensor(w, name, k == 6 ? DTYPE_f16 : DTYPE_q8_0, 2,
                       linears[k].in, linears[k].out);
        }
    }
    if (change && change->how == SET_DIM && strstr(change->key, "added."))
        gguf_writer_tensor(w, change->key + strlen("added."), DTYPE_f32, 1,
                           &(const int64_t){32}, zeros);
}

static int read_config(struct model_config *m, const struct change *c,
                       struct error *err)
{
    struct gguf_writer *w;
    struct gguf *file;

    change = c;
    assert_int_equal(gguf_writer_create(&w), 0);
    put_metadata(w);
    put_tensors(w);
    int fd = memfd_create("model", 0);
    assert_true(fd >= 0);
    assert_int_equal(gguf_writer_save_fd(w, fd, err), 0);
    gguf_writer_destroy(w);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    if (gguf_load_fd(&file, fd, err) < 0)
        fail_msg("%s", err->text);
    int rc = model_config_read(m, file, err);
    gguf_destroy(file);
    close(fd);
    return rc;
}

static void reads_what_the_file_says(void **state)
{
    struct error err = {0};
    struct model_config m;

    if (read_config(&m, NULL, &err) < 0)
        fail_msg("%s", err.text);
    assert_string_equal(m.arch, "llama");
    assert_int_equal(m.n_blocks, 2);
    assert_int_equal(m.width, 32);
    assert_int_equal(m.n_heads, 4);
    assert_int_equal(m.n_kv_heads, 2);
    assert_int_equal(m.head_dim, 8);
    assert_int_equal(m.ffn_width, 64);
    assert_int_equal(m.n_vocab, 50);
    assert_int_equal(m.context, 128);
    assert_int_equal(m.rope_dims, 8);
    assert_true(m.rope_base == 10000);
    assert_true(m.is_tied);
    assert_int_equal(m.embed_dtype, DTYPE_q8_0);
    assert_int_equal(m.linear_dtypes[1][MODEL_LINEAR_down], DTYPE_f16);
    assert_int_equal(m.linear_dtypes[1][MODEL_LINEAR_up], DTYPE_q8_0);
}

static const struct refusal {
    struct change c;
    int rc;
    const char *want; // the sentence's start
} refusals[] = {
    {{"general.architecture", SET_STR, 0, "mamba"},
     -ENOTSUP,
     "architecture \"mamba\" is not supported; supported: llama qwen2 "
     "qwen3 gemma2 gemma3 phi3 olmo2"},
    {{"llama.block_count", SET_U32, 0, NULL},
     -EINVAL,
     "llama.block_count is 0, but must be 1 to 256"},
    {{"llama.block_count", SET_U32, 4e9, NULL},
     -EINVAL,
     "llama.block_count is 4000000000, but must be 1 to 256"},
    {{"llama.block_count", SET_U32, 3, NULL}, -ENOENT, ""},
    {{"llama.embedding_length", SET_U32, 4e9, NULL},
     -EINVAL,
     "llama.embedding_length is 4000000000, but must be 1 to 131072"},
    {{"llama.embedding_length", SET_U32, 30, NULL},
     -EINVAL,
     "llama.embedding_length 30 is not a multiple of "
     "llama.attention.head_count 4"},
    {{"llama.attention.head_count_kv", SET_U32, 3, NULL},
     -EINVAL,
     "llama.attention.head_count is 4, which is not a multiple of "
     "head_count_kv 3"},
    {{"llama.attention.head_count", SET_U32, 0, NULL},
     -EINVAL,
     "llama.attention.head_count is 0"},
    {{"llama.attention.value_length", SET_U32, 16, NULL},
     -EINVAL,
     "llama.attention.value_length is 16, but must equal the key length 8"},
    {{"llama.attention.key_length", SET_U32, 16, NULL},
     -EINVAL,
     "tensor blk.0.attn_q.weight is 32 x 32 with 2 dimensions, but the "
     "metadata ask for 32 x 64"},
    {{"llama.rope.dimension_count", SET_U32, 7, NULL},
     -EINVAL,
     "llama.rope.dimension_count is 7, but must be even"},
    {{"llama.rope.dimension_count", SET_U32, 10, NULL},
     -EINVAL,
     "llama.rope.dimension_count is 10, but must be even"},
    {{"llama.rope.freq_base", SET_F32, -1, NULL},
     -EINVAL,
     "llama.rope.freq_base is -1, but must be positive"},
    {{"llama.rope.scaling.type", SET_STR, 0, "yarn"},
     -ENOTSUP,
     "llama.rope.scaling.type is \"yarn\", which is not supported; \"none\", "
     "\"linear\" and \"longrope\" are"},
    {{"llama.attention.layer_norm_rms_epsilon", SET_F32, 0, NULL},
     -EINVAL,
     "llama.attention.layer_norm_rms_epsilon is 0, but must be positive"},
    {{"llama.context_length", SET_STR, 0, "long"}, -EINVAL, ""},
    {{"llama.expert_count", SET_U32, 8, NULL},
     -ENOTSUP,
     "llama.expert_count is 8: mixtures of experts are not supported"},
    {{"token_embd.weight", DROP, 0, NULL}, -ENOENT, ""},
    {{"token_embd.weight", SET_DIM, 64, NULL},
     -EINVAL,
     "tensor token_embd.weight is 64 x 50"},
    {{"blk.1.ffn_up.weight", DROP, 0, NULL}, -ENOENT, ""},
    {{"blk.1.ffn_up.weight", SET_DTYPE, DTYPE_i32, NULL},
     -ENOTSUP,
     "tensor blk.1.ffn_up.weight is i32, but must be floating point or "
     "quantised"},
    {{"blk.0.ffn_norm.weight", SET_DTYPE, DTYPE_f16, NULL},
     -ENOTSUP,
     "tensor blk.0.ffn_norm.weight is f16, but must be f32"},
    {{"llama.rope.scaling.type", SET_STR, 0, "linear"}, -ENOENT, ""},
    {{"llama.rope.scaling.type", SET_STR, 0, "longrope"},
     -EINVAL,
     "llama.rope.scaling.type is \"longrope\", but there is no tensor "
     "rope_factors_long.weight"},
    {{"added.blk.0.attn_k.bias", SET_DIM, 0, NULL},
     -EINVAL,
     "tensor blk.0.attn_k.bias is 32 x 1 with 1 dimensions, but the metadata "
     "ask for 16 x 1"},
    {{"added.blk.1.post_attention_norm.weight", SET_DIM, 0, NULL},
     -ENOTSUP,
     "tensor blk.1.post_attention_norm.weight is nothing that pockd knows of "
     "llama models"},
    {{"added.blk.2.attn_norm.bias", SET_DIM, 0, NULL}, -ENOTSUP, "tensor"},
    {{"added.output.bias", SET_DIM, 0, NULL},
     -ENOTSUP,
     "tensor output.bias is nothing that pockd knows"},
    {{"added.rope_freqs.weight", SET_DIM, 0, NULL},
     -EINVAL,
     "tensor rope_freqs.weight is 32 x 1 with 1 dimensions, but the metadata "
     "ask for 4 x 1"},
    {{"added.rope_factors_long.weight", SET_DIM, 0, NULL}, -ENOENT, ""},
};

static void refuses_what_lies_or_lacks(void **state)
{
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct model_config m = {.n_vocab = 4711};
        struct error err = {0};
        const int rc = read_config(&m, &refusals[i].c, &err);
        if (rc != refusals[i].rc ||
            strncmp(err.text, refusals[i].want, strlen(refusals[i].want)) != 0)
            fail_msg("%s: %d, %s", refusals[i].c.key, rc, err.text);
        // Missing things are named by the reader of the file.
        if (!refusals[i].want[0])
            assert_true(err.text[0] != '\0');
        assert_int_equal(m.n_vocab, 4711);
    }
}

static void params_are_listed_in_order(void **state)
{
    const struct scheme_lora lora = {4, 8, LORA_Q | LORA_DOWN, 1};
    struct model_config m;
    struct scheme s;
    struct param p[4];

    assert_int_equal(read_config(&m, NULL, NULL), 0);
    assert_int_equal(scheme_from_lora(&s, &lora, &m, NULL), 0);
    assert_int_equal(scheme_params(p, 4, &m, &s), 4);
    assert_string_equal(p[0].name, "blk.1.attn_q.weight.lora_a");
    assert_string_equal(p[1].name, "blk.1.attn_q.weight.lora_b");
    assert_string_equal(p[2].name, "blk.1.ffn_down.weight.lora_a");
    assert_string_equal(p[3].name, "blk.1.ffn_down.weight.lora_b");
    assert_int_equal(p[2].ne[0], 4);
    assert_int_equal(p[2].ne[1], 64);
    assert_int_equal(p[3].ne[0], 32);
    assert_int_equal(p[3].ne[1], 4);
    assert_int_equal(scheme_params(NULL, 0, &m, &s), 4);
    assert_int_equal(scheme_params(NULL, 0, &m, NULL), 0);
}

static void builds_valid_graphs_of_both_phases(void **state)
{
    const struct scheme_lora lora = {4, 8, LORA_ALL, 0};
    struct scheme s;
    const struct model_graph_params params[] = {
        {.phase = MODEL_PHASE_LOSS, .batch = 3, .length = 16, .scheme = &s},
        {.phase = MODEL_PHASE_LOSS, .batch = 1, .length = 128},
        {.phase = MODEL_PHASE_CACHED,
         .length = 4,
         .cache_length = 64,
         .n_rows = 1,
         .scheme = &s},
    };
    struct model_config m;

    assert_int_equal(read_config(&m, NULL, NULL), 0);
    assert_int_equal(scheme_from_lora(&s, &lora, &m, NULL), 0);
    for (int i = 0; i < 3; i++) {
        struct error err = {0};
        struct arena *a;
        struct graph *g;
        assert_int_equal(arena_create(&a, 16u << 20), 0);
        if (model_build(&g, &m, &params[i], a, &err) < 0 ||
            verify_graph(g, NULL, &err) < 0)
            fail_msg("%s", err.text);
        const value_id tokens = graph_find(g, "tokens");
        assert_int_equal(g->values[tokens].shape.ne[0],
                         i == 0 ? 48 : params[i].length);
        arena_destroy(a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_the_file_says),
        cmocka_unit_test(refuses_what_lies_or_lacks),
        cmocka_unit_test(params_are_listed_in_order),
        cmocka_unit_test(builds_valid_graphs_of_both_phases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
