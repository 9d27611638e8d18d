// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/support/hfdir.h"

#include "engine/base/bits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

float hfdir_value(const char *name, int64_t i)
{
    uint32_t h = 2166136261u;

    for (; *name; name++)
        h = (h ^ (unsigned char) *name) * 16777619u;
    h = (h ^ (uint32_t) i) * 16777619u;
    return (float) ((int) (h >> 8 & 255) - 128) / 256.0F;
}

void hfdir_tensor(struct hfdir *d, const char *name, int n_dims, const int *ne)
{
    // Blocks after the first lie in the second shard.
    const int to = d->is_sharded && strncmp(name, "model.layers.1", 14) == 0;
    struct str *h = &d->headers[to];
    struct str *data = &d->data[to];
    const size_t from = data->bytes;
    int64_t n = 1;

    for (int k = 0; k < n_dims; k++)
        n *= ne[k];
    for (int64_t i = 0; i < n; i++) {
        unsigned char b[4];
        bits_store32(b, bits_of_f32(hfdir_value(name, i)));
        str_append(data, b, 4);
    }
    str_printf(h, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[",
               h->bytes ? "," : "{", name);
    for (int k = 0; k < n_dims; k++)
        str_printf(h, "%s%d", k ? "," : "", ne[k]);
    str_printf(h, "],\"data_offsets\":[%zu,%zu]}", from, data->bytes);
    str_printf(&d->index, "%s\"%s\":\"model-%05d-of-00002.safetensors\"",
               d->index.bytes ? "," : "{\"weight_map\":{", name, to + 1);
}

static void add(struct hfdir *d, const char *name, int rows, int columns)
{
    hfdir_tensor(d, name, columns ? 2 : 1, (int[]){rows, columns});
}

static bool is_one_of(const char *type, const char *list)
{
    const char *at = strstr(list, type);
    const size_t n = strlen(type);

    return at && (at[n] == ' ' || at[n] == '\0');
}

static void add_block(struct hfdir *d, const char *type, int block)
{
    enum {
        Q = HFDIR_HEADS * HFDIR_HEAD_DIM,
        K = HFDIR_KV_HEADS * HFDIR_HEAD_DIM,
        C = HFDIR_WIDTH,
        F = HFDIR_FFN,
    };
    static const struct {
        const char *name;
        int rows, columns;
        const char *types;
    } list[] = {
        {"input_layernorm", C, 0,
         "llama mistral qwen2 qwen3 gemma2 gemma3_text phi3"},
        {"post_attention_layernorm", C, 0,
         "llama mistral qwen2 qwen3 gemma2 gemma3_text phi3 olmo2"},
        {"pre_feedforward_layernorm", C, 0, "gemma2 gemma3_text"},
        {"post_feedforward_layernorm", C, 0, "gemma2 gemma3_text olmo2"},
        {"self_attn.q_norm", 4, 0, "qwen3 gemma3_text"},
        {"self_attn.k_norm", 4, 0, "qwen3 gemma3_text"},
        {"self_attn.q_norm", Q, 0, "olmo2"},
        {"self_attn.k_norm", K, 0, "olmo2"},
        {"self_attn.q_proj", Q, C,
         "llama mistral qwen2 qwen3 gemma2 gemma3_text olmo2"},
        {"self_attn.k_proj", K, C,
         "llama mistral qwen2 qwen3 gemma2 gemma3_text olmo2"},
        {"self_attn.v_proj", K, C,
         "llama mistral qwen2 qwen3 gemma2 gemma3_text olmo2"},
        {"self_attn.qkv_proj", Q + 2 * K, C, "phi3"},
        {"self_attn.o_proj", C, Q,
         "llama mistral qwen2 qwen3 gemma2 gemma3_text phi3 olmo2"},
        {"mlp.gate_proj", F, C,
         "llama mistral qwen2 qwen3 gemma2 gemma3_text olmo2"},
        {"mlp.up_proj", F, C,
         "llama mistral qwen2 qwen3 gemma2 gemma3_text olmo2"},
        {"mlp.gate_up_proj", 2 * F, C, "phi3"},
        {"mlp.down_proj", C, F,
         "llama mistral qwen2 qwen3 gemma2 gemma3_text phi3 olmo2"},
    };
    char name[128];

    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        if (!is_one_of(type, list[i].types))
            continue;
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", block,
                 list[i].name);
        add(d, name, list[i].rows, list[i].columns);
    }
    for (int i = 0; i < 3 && strcmp(type, "qwen2") == 0; i++) {
        snprintf(name, sizeof name, "model.layers.%d.self_attn.%c_proj.bias",
                 block, "qkv"[i]);
        add(d, name, i ? K : Q, 0);
    }
}

static void put_tokenizer(struct hfdir *d)
{
    str_puts(&d->tokenizer,
             "{\"added_tokens\":[{\"id\":20,\"content\":\"<|end|>\","
             "\"special\":true},{\"id\":21,\"content\":\"<|x|>\","
             "\"special\":false}],\"pre_tokenizer\":{\"type\":\"ByteLevel\","
             "\"add_prefix_space\":false,\"use_regex\":true},\"model\":{"
             "\"type\":\"BPE\",\"vocab\":{");
    for (int i = 0; i < 16; i++)
        str_printf(&d->tokenizer, "%s\"%c\":%d", i ? "," : "", 'a' + i, i);
    str_puts(&d->tokenizer,
             ",\"ab\":16,\"abc\":17},\"merges\":[\"a b\",[\"ab\",\"c\"]]}}");
    str_puts(&d->tokenizer_config,
             "{\"bos_token\":{\"content\":\"<|end|>\"},\"eos_token\":"
             "\"<|end|>\",\"add_bos_token\":true,\"chat_template\":[{\"name\":"
             "\"other\",\"template\":\"x\"},{\"name\":\"default\",\"template\":"
             "\"<|im_start|>\"}]}");
}

void hfdir_init(struct hfdir *d, const char *model_type, const char *more,
                bool is_sharded)
{
    *d = (struct hfdir){.is_sharded = is_sharded};
    str_printf(&d->config,
               "{\"model_type\":\"%s\",\"hidden_size\":%d,"
               "\"num_hidden_layers\":%d,\"num_attention_heads\":%d,"
               "\"num_key_value_heads\":%d,\"head_dim\":%d,"
               "\"intermediate_size\":%d,\"vocab_size\":%d,"
               "\"max_position_embeddings\":64,\"rms_norm_eps\":1e-5,"
               "\"tie_word_embeddings\":true,\"sliding_window\":32%s}",
               model_type, HFDIR_WIDTH, HFDIR_BLOCKS, HFDIR_HEADS,
               HFDIR_KV_HEADS, HFDIR_HEAD_DIM, HFDIR_FFN, HFDIR_VOCAB, more);
    put_tokenizer(d);
    add(d, "model.embed_tokens.weight", HFDIR_VOCAB, HFDIR_WIDTH);
    add(d, "model.norm.weight", HFDIR_WIDTH, 0);
    for (int b = 0; b < HFDIR_BLOCKS; b++)
        add_block(d, model_type, b);
}

static void put_file(struct hfdir *d, uint32_t *n, const char *name,
                     const struct str *s)
{
    void *copy = NULL;

    if (s->bytes == 0)
        return;
    // Of the exact size, so that the sanitizer sees a read past the end.
    if (str_finish(s) < 0 || posix_memalign(&copy, 8, s->bytes) != 0)
        abort();
    memcpy(copy, s->data, s->bytes);
    d->files[(*n)++] = (struct source_file){name, copy, s->bytes};
}

uint32_t hfdir_files(struct hfdir *d)
{
    static const char *const names[] = {"model-00001-of-00002.safetensors",
                                        "model-00002-of-00002.safetensors"};
    unsigned char length[8];
    uint32_t n = 0;

    for (int i = 0; i <= d->is_sharded; i++) {
        if (d->shards[i].bytes > 0)
            continue;
        str_puts(&d->headers[i], "}");
        while (d->headers[i].bytes % 8 != 0)
            str_putc(&d->headers[i], ' ');
        bits_store64(length, d->headers[i].bytes);
        str_append(&d->shards[i], length, 8);
        str_append(&d->shards[i], d->headers[i].data, d->headers[i].bytes);
        str_append(&d->shards[i], d->data[i].data, d->data[i].bytes);
    }
    put_file(d, &n, "config.json", &d->config);
    put_file(d, &n, "tokenizer.json", &d->tokenizer);
    put_file(d, &n, "tokenizer_config.json", &d->tokenizer_config);
    if (d->is_sharded) {
        str_puts(&d->index, "}}");
        put_file(d, &n, "model.safetensors.index.json", &d->index);
        put_file(d, &n, names[0], &d->shards[0]);
        put_file(d, &n, names[1], &d->shards[1]);
    } else {
        put_file(d, &n, "model.safetensors", &d->shards[0]);
    }
    return n;
}

void hfdir_finish(struct hfdir *d)
{
    for (int i = 0; i < HFDIR_FILES_MAX; i++)
        free((void *) (uintptr_t) d->files[i].data);
    str_free(&d->config);
    str_free(&d->tokenizer);
    str_free(&d->tokenizer_config);
    str_free(&d->index);
    for (int i = 0; i < 2; i++) {
        str_free(&d->headers[i]);
        str_free(&d->data[i]);
        str_free(&d->shards[i]);
    }
}
