// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/memfile.h"
#include "engine/convert/convert.h"
#include "tests/support/hfdir.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

// The directory as a GGUF file, or a failure.
static int convert(struct gguf **out, struct hfdir *d, struct error *err)
{
    const struct convert_params params = {.name = "tiny"};
    struct convert_result r;
    const uint32_t n = hfdir_files(d);
    int fd;

    assert_int_equal(memfile_create(&fd, "model"), 0);
    int rc = convert_files(&r, fd, d->files, n, &params, err);
    if (rc == 0)
        assert_int_equal(gguf_load_fd(out, fd, err), 0);
    (void) close(fd);
    return rc;
}

static struct gguf *converted(const char *type, const char *more, bool sharded)
{
    struct error err = {0};
    struct gguf *g = NULL;
    struct hfdir d;

    hfdir_init(&d, type, more, sharded);
    if (convert(&g, &d, &err) < 0)
        fail_msg("%s: %s", type, err.text);
    hfdir_finish(&d);
    return g;
}

static const float *values_of(const struct gguf *g, const char *name)
{
    const struct gguf_tensor *t = gguf_find(g, name);

    if (!t)
        fail_msg("there is no %s", name);
    assert_int_equal(t->dtype, DTYPE_f32);
    return t->data;
}

static uint32_t count_of(const struct gguf *g, const char *key)
{
    struct error err = {0};
    uint32_t n = 0;

    if (gguf_get_u32(&n, g, key, &err) < 0)
        fail_msg("%s", err.text);
    return n;
}

static void names_what_each_architecture_has(void **state)
{
    static const struct {
        const char *type, *arch;
        uint32_t per_block;
        const char *has[4];
    } list[] = {
        {"llama", "llama", 9, {"attn_norm", "ffn_norm", "attn_q", "ffn_gate"}},
        {"mistral", "llama", 9, {"attn_norm", "ffn_norm", "attn_k", "ffn_up"}},
        {"qwen2", "qwen2", 12, {"attn_norm", "ffn_norm", "attn_v", "ffn_down"}},
        {"qwen3",
         "qwen3",
         11,
         {"attn_q_norm", "attn_k_norm", "ffn_norm", "attn_output"}},
        {"gemma2",
         "gemma2",
         11,
         {"post_attention_norm", "post_ffw_norm", "ffn_norm", "attn_norm"}},
        {"gemma3_text",
         "gemma3",
         13,
         {"attn_q_norm", "post_ffw_norm", "ffn_norm", "post_attention_norm"}},
        {"phi3", "phi3", 6, {"attn_qkv", "ffn_up", "ffn_down", "attn_norm"}},
        {"olmo2",
         "olmo2",
         11,
         {"attn_q_norm", "post_attention_norm", "post_ffw_norm",
          "attn_k_norm"}},
    };
    char name[GGUF_NAME_BYTES], key[64];

    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        struct gguf *g = converted(list[i].type, "", false);
        const char *arch;
        assert_int_equal(gguf_get_str(&arch, g, "general.architecture", NULL),
                         0);
        assert_string_equal(arch, list[i].arch);
        // llama.cpp wants a head of olmo2, also where it is the embeddings.
        const bool has_head = strcmp(arch, "olmo2") == 0;
        assert_int_equal(gguf_find(g, "output.weight") != NULL, has_head);
        assert_int_equal(gguf_n_tensors(g),
                         2U + has_head + HFDIR_BLOCKS * list[i].per_block);
        for (int k = 0; k < 4; k++) {
            snprintf(name, sizeof name, "blk.1.%s.weight", list[i].has[k]);
            assert_non_null(gguf_find(g, name));
        }
        snprintf(key, sizeof key, "%s.block_count", arch);
        assert_int_equal(count_of(g, key), HFDIR_BLOCKS);
        snprintf(key, sizeof key, "%s.attention.head_count_kv", arch);
        assert_int_equal(count_of(g, key), HFDIR_KV_HEADS);
        gguf_destroy(g);
    }
}

static void rows_of_llama_take_turns(void **state)
{
    struct gguf *g = converted("llama", "", false);
    struct gguf *same = converted("qwen3", "", false);
    const float *q = values_of(g, "blk.0.attn_q.weight");
    const float *v = values_of(g, "blk.0.attn_v.weight");
    const float *plain = values_of(same, "blk.0.attn_q.weight");
    const int D = HFDIR_HEAD_DIM, C = HFDIR_WIDTH;

    for (int h = 0; h < HFDIR_HEADS; h++)
        for (int pair = 0; pair < D / 2; pair++)
            for (int half = 0; half < 2; half++)
                for (int i = 0; i < C; i++) {
                    const int to = h * D + 2 * pair + half;
                    const int from = h * D + half * D / 2 + pair;
                    const float want =
                        hfdir_value("model.layers.0.self_attn.q_proj.weight",
                                    from * C + i);
                    assert_true(q[to * C + i] == want);
                    assert_true(plain[from * C + i] == want);
                }
    assert_true(v[5] ==
                hfdir_value("model.layers.0.self_attn.v_proj.weight", 5));
    gguf_destroy(same);
    gguf_destroy(g);
}

static void gains_of_gemma_are_stored_from_one(void **state)
{
    struct gguf *g = converted("gemma3_text", "", false);
    const float *norm = values_of(g, "blk.1.attn_q_norm.weight");
    const float *out = values_of(g, "output_norm.weight");
    const float *w = values_of(g, "blk.1.attn_q.weight");

    for (int i = 0; i < HFDIR_HEAD_DIM; i++)
        assert_true(
            norm[i] ==
            1 + hfdir_value("model.layers.1.self_attn.q_norm.weight", i));
    assert_true(out[3] == 1 + hfdir_value("model.norm.weight", 3));
    assert_true(w[7] ==
                hfdir_value("model.layers.1.self_attn.q_proj.weight", 7));
    gguf_destroy(g);
}

static void shards_are_one_model(void **state)
{
    struct gguf *one = converted("llama", "", false);
    struct gguf *two = converted("llama", "", true);
    size_t a, b;
    const void *x = gguf_mapping(one, &a), *y = gguf_mapping(two, &b);

    assert_int_equal(a, b);
    assert_memory_equal(x, y, a);
    gguf_destroy(two);
    gguf_destroy(one);
}

static void frequencies_become_tensors(void **state)
{
    struct gguf *g = converted(
        "llama",
        ",\"rope_theta\":500000,\"rope_scaling\":{\"rope_type\":\"llama3\","
        "\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4,"
        "\"original_max_position_embeddings\":32}",
        false);
    const float *f = values_of(g, "rope_freqs.weight");
    // One turn takes 6.3 tokens, of 32 5.1: fast. The other 4,443: slow.
    assert_true(f[0] == 1);
    assert_true(f[1] == 8);
    gguf_destroy(g);
    g = converted("phi3",
                  ",\"original_max_position_embeddings\":16,\"rope_scaling\":{"
                  "\"type\":\"longrope\",\"short_factor\":[1,2],"
                  "\"long_factor\":[3,4]}",
                  false);
    float factor;
    assert_true(values_of(g, "rope_factors_long.weight")[1] == 4);
    assert_true(values_of(g, "rope_factors_short.weight")[0] == 1);
    assert_int_equal(gguf_get_f32(&factor, g, "phi3.rope.scaling.attn_factor",
                                  NULL),
                     0);
    assert_true(fabsf(factor - sqrtf(1 + logf(4) / logf(16))) < 1e-6f);
    gguf_destroy(g);
}

static void tokenizers_become_keys(void **state)
{
    struct gguf *g = converted("llama", "", false);
    struct gguf_array tokens, types, merges;
    const char *text;
    size_t at = 0, n = 0;
    bool adds;

    assert_int_equal(gguf_get_array(&tokens, g, "tokenizer.ggml.tokens",
                                    GGUF_STR, NULL),
                     0);
    assert_int_equal(tokens.count, HFDIR_VOCAB);
    assert_int_equal(gguf_get_array(&types, g, "tokenizer.ggml.token_type",
                                    GGUF_I32, NULL),
                     0);
    assert_int_equal(gguf_array_i32(&types, 3), 1);
    assert_int_equal(gguf_array_i32(&types, 20), 3);
    assert_int_equal(gguf_array_i32(&types, 21), 4);
    assert_int_equal(gguf_array_i32(&types, 19), 5);
    assert_int_equal(gguf_get_array(&merges, g, "tokenizer.ggml.merges",
                                    GGUF_STR, NULL),
                     0);
    (void) gguf_array_next(&merges, &at, &n);
    assert_memory_equal(gguf_array_next(&merges, &at, &n), "ab c", 4);
    assert_int_equal(count_of(g, "tokenizer.ggml.bos_token_id"), 20);
    assert_int_equal(count_of(g, "tokenizer.ggml.eot_token_id"), 20);
    assert_int_equal(gguf_get_bool(&adds, g, "tokenizer.ggml.add_bos_token",
                                   NULL),
                     0);
    assert_true(adds);
    assert_int_equal(gguf_get_str(&text, g, "tokenizer.ggml.pre", NULL), 0);
    assert_string_equal(text, "gpt-2");
    assert_int_equal(gguf_get_str(&text, g, "tokenizer.chat_template", NULL),
                     0);
    assert_string_equal(text, "<|im_start|>");
    gguf_destroy(g);
}

static void pieces_get_the_order_of_their_merges(void **state)
{
    struct error err = {0};
    struct gguf_array scores;
    struct gguf *g = NULL;
    const char *text;
    struct hfdir d;
    bool has_space;

    hfdir_init(&d, "llama", "", false);
    str_clear(&d.tokenizer);
    str_puts(
        &d.tokenizer,
        "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{"
        "\"type\":\"Prepend\",\"prepend\":\"\\u2581\"}]},\"model\":{\"type\":\"BPE\","
        "\"byte_fallback\":true,\"unk_token\":\"<unk>\",\"vocab\":{"
        "\"<unk>\":0,\"<0x00>\":1,\"a\":2,\"b\":3,\"ab\":4,\"ba\":5},"
        "\"merges\":[\"b a\",\"a b\"]}}");
    if (convert(&g, &d, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(gguf_get_str(&text, g, "tokenizer.ggml.model", NULL), 0);
    assert_string_equal(text, "llama");
    assert_int_equal(gguf_get_array(&scores, g, "tokenizer.ggml.scores",
                                    GGUF_F32, NULL),
                     0);
    assert_true(gguf_array_f32(&scores, 5) > gguf_array_f32(&scores, 4));
    assert_true(gguf_array_f32(&scores, 4) > gguf_array_f32(&scores, 3));
    assert_int_equal(gguf_get_bool(&has_space, g,
                                   "tokenizer.ggml.add_space_prefix", NULL),
                     0);
    assert_true(has_space);
    gguf_destroy(g);
    hfdir_finish(&d);
}

/*
 * What is refused
 */

static void refused(struct hfdir *d, const char *words)
{
    struct error err = {0};
    struct gguf *g = NULL;
    int rc = convert(&g, d, &err);

    if (rc >= 0 || !strstr(err.text, words))
        fail_msg("wanted \"%s\": got %d, \"%s\"", words, rc, err.text);
    hfdir_finish(d);
}

// Replaces the first `from` in a file.
static void edit(struct str *s, const char *from, const char *to)
{
    struct str out = {0};

    assert_int_equal(str_finish(s), 0);
    char *at = strstr(s->data, from);
    if (!at)
        fail_msg("there is no %s in %s", from, s->data);
    str_append(&out, s->data, (size_t) (at - s->data));
    str_puts(&out, to);
    str_puts(&out, at + strlen(from));
    str_free(s);
    *s = out;
}

static void refuses_a_config_that_is_wrong(void **state)
{
    static const struct {
        const char *type, *from, *to, *words;
    } list[] = {
        {"llama", "{", "[", "config.json"},
        {"llama", "\"model_type\":\"llama\",", "", "has no model_type"},
        {"llama", "\"llama\"", "\"gpt_bigcode\"", "cannot be converted; suppo"},
        {"llama", "\"hidden_size\":16", "\"hidden_size\":-1", "hidden_size mu"},
        {"llama", "\"hidden_size\":16", "\"hidden_size\":1e99", "hidden_size"},
        {"llama", "\"hidden_size\":16", "\"hidden_size\":8",
         "config.json says 24 x 8"},
        {"llama", "\"num_hidden_layers\":2", "\"num_hidden_layers\":1",
         "has no place in a model of type llama with 1 blocks"},
        {"llama", "\"num_hidden_layers\":2", "\"num_hidden_layers\":3",
         "tensor model.layers.2.input_layernorm.weight is missing"},
        {"llama", "\"num_hidden_layers\":2", "\"num_hidden_layers\":4294967297",
         "num_hidden_layers must be"},
        {"llama", "\"head_dim\":4", "\"head_dim\":3", "do not fit together"},
        {"llama", "\"head_dim\":4", "\"head_dim\":8",
         "attn_q.weight has 16 rows, but config.json says 4 heads of 8"},
        {"llama", "\"num_key_value_heads\":2", "\"num_key_value_heads\":3",
         "do not fit together"},
        {"llama", "\"vocab_size\":24", "\"vocab_size\":25", "embeddings are"},
        {"llama", "\"vocab_size\":24", "\"vocab_size\":20", "has id 20"},
        {"llama", "embeddings\":true", "embeddings\":false", "lm_head.weight"},
        {"llama", "\"rms_norm_eps\":1e-5", "\"rms_norm_eps\":\"x\"", "eps mus"},
        {"llama", "\"rms_norm_eps\":1e-5",
         "\"rope_scaling\":{\"rope_type\":\"dynamic\"}", "\"dynamic\" is not"},
        {"llama", "\"rms_norm_eps\":1e-5",
         "\"rope_scaling\":{\"rope_type\":\"llama3\",\"low_freq_factor\":4,"
         "\"high_freq_factor\":4}",
         "must be larger"},
        {"llama", "\"rms_norm_eps\":1e-5", "\"partial_rotary_factor\":2",
         "partial_rotary_factor"},
        {"phi3", "\"rms_norm_eps\":1e-5",
         "\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1],"
         "\"long_factor\":[\"x\"]},\"original_max_position_embeddings\":4",
         "no positive number"},
        {"gemma2", "\"rms_norm_eps\":1e-5", "\"query_pre_attn_scalar\":7",
         "query_pre_attn_scalar is 7, but only 4"},
        {"gemma3_text", "\"rms_norm_eps\":1e-5",
         "\"layer_types\":[\"full_attention\",\"full_attention\"]",
         "each 6th layer"},
        {"qwen3", "\"model_type\":\"qwen3\"", "\"model_type\":\"llama\"",
         "q_norm.weight has no place"},
    };
    struct hfdir d;

    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        hfdir_init(&d, list[i].type, "", false);
        edit(&d.config, list[i].from, list[i].to);
        refused(&d, list[i].words);
    }
}

static void refuses_tensors_that_do_not_fit(void **state)
{
    struct hfdir d;

    hfdir_init(&d, "llama", "", false);
    hfdir_tensor(&d, "model.layers.0.mystery.weight", 1, (int[]){4});
    refused(&d, "tensor model.layers.0.mystery.weight has no place");
    hfdir_init(&d, "llama", "", true);
    hfdir_tensor(&d, "model.layers.0.self_attn.q_proj.bias", 3,
                 (int[]){4, 2, 2});
    refused(&d, "has 3 dimensions");
    hfdir_init(&d, "llama", "", false);
    hfdir_tensor(&d, "model.layers.0.self_attn.q_proj.bias", 1, (int[]){0});
    refused(&d, "q_proj.bias is empty");
    hfdir_init(&d, "llama", "", false);
    hfdir_tensor(&d, "model.layers.0.self_attn.q_proj.bias", 1, (int[]){4});
    refused(&d, "has 4 rows");
    hfdir_init(&d, "llama", "", false);
    edit(&d.headers[0], "\"F32\"", "\"I32\"");
    refused(&d, "must be F32, F16 or BF16");
    hfdir_init(&d, "llama", "", false);
    edit(&d.headers[0], "\"data_offsets\":[0,", "\"data_offsets\":[4,");
    refused(&d, "model.safetensors: tensor model.embed_tokens.weight");
}

static void refuses_an_index_that_leads_outside(void **state)
{
    static const struct {
        const char *to, *words;
    } list[] = {
        {"\"../../etc/passwd\"", "is outside the model's directory"},
        {"\"/etc/passwd\"", "is outside the model's directory"},
        {"\"..\"", "is outside the model's directory"},
        {"\"model-00003-of-00002.safetensors\"", "is not among those"},
        {"\"model-00002-of-00002.safetensors\"", "is not in"},
        {"\"a\\u0000b\"", "is no name"},
        {"7", "is no name"},
    };
    struct hfdir d;

    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        hfdir_init(&d, "llama", "", true);
        edit(&d.index, "\"model-00001-of-00002.safetensors\"", list[i].to);
        refused(&d, list[i].words);
    }
    hfdir_init(&d, "llama", "", true);
    edit(&d.index, "weight_map", "weights");
    refused(&d, "has no weight_map");
    // The same tensor in both files, and one that the index does not name.
    hfdir_init(&d, "llama", "", true);
    edit(&d.headers[1], "model.layers.1.input_layernorm.weight",
         "model.layers.0.input_layernorm.weight");
    refused(&d, "is not in model-00002");
}

static void refuses_tokenizers_that_are_wrong(void **state)
{
    static const struct {
        const char *from, *to, *words;
    } list[] = {
        {"{", "", "tokenizer.json: JSON is wrong"},
        {"\"model\"", "\"modem\"", "it has no \"model\""},
        {"\"BPE\"", "\"Unigram\"", "type \"Unigram\", but only BPE"},
        {"\"vocab\"", "\"words\"", "no vocabulary"},
        {"\"a\":0", "\"a\":24", "has id 24, but the model knows 24"},
        {"\"a\":0", "\"a\":-1", "expected a number"},
        {"\"a\":0", "\"a\":1", "two tokens have the id 1"},
        {"\"a\":0", "\"a\":0.5", "expected a comma"},
        {"\"a\":0", "\"b\":0", "tokens 0 and 1 are the same"},
        {"\"<|x|>\"", "\"abc\"", "tokens 17 and 21 are the same"},
        {"\"a b\"", "\"ab\"", "merge is not two tokens"},
        {"\"a b\"", "[\"a\",\"b\",\"c\"]", "merge has more than two"},
        {"\"a b\"", "\"a b c\"", "merges: number 0 names a token"},
        {"\"merges\"", "\"mergers\"", "vocabulary with merges"},
        {"\"ByteLevel\"", "\"Whitespace\"", "a step Whitespace"},
    };
    struct hfdir d;

    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        hfdir_init(&d, "llama", "", false);
        edit(&d.tokenizer, list[i].from, list[i].to);
        refused(&d, list[i].words);
    }
    hfdir_init(&d, "llama", "", false);
    str_clear(&d.tokenizer);
    for (int i = 0; i < 1000; i++)
        str_puts(&d.tokenizer, "{\"a\":");
    refused(&d, "tokenizer.json");
    hfdir_init(&d, "llama", "", false);
    str_clear(&d.tokenizer);
    refused(&d, "there is no tokenizer.json");
}

// Gemma 3 has a token for images, of which its smallest model has no row.
static void leaves_out_special_tokens_without_a_row(void **state)
{
    struct gguf_array tokens;
    struct error err = {0};
    struct gguf *g = NULL;
    struct hfdir d;

    hfdir_init(&d, "llama", "", false);
    edit(&d.config, "\"vocab_size\":24", "\"vocab_size\":21");
    refused(&d, "has id 21, but the model knows 21"); // it is not special
    hfdir_init(&d, "llama", "", false);
    edit(&d.config, "\"vocab_size\":24", "\"vocab_size\":21");
    edit(&d.tokenizer, "\"special\":false", "\"special\":true");
    if (convert(&g, &d, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(gguf_get_array(&tokens, g, "tokenizer.ggml.tokens",
                                    GGUF_STR, NULL),
                     0);
    assert_int_equal(tokens.count, 21);
    gguf_destroy(g);
    hfdir_finish(&d);
}

// config.json's numbers and a template of its own, beside the tokenizer.
static void takes_what_lies_beside_the_tokenizer(void **state)
{
    static const char jinja[] = "{{ messages }}";
    const struct convert_params params = {.name = "tiny"};
    struct source_file files[HFDIR_FILES_MAX + 1];
    struct convert_result r;
    struct error err = {0};
    const char *text;
    struct gguf *g = NULL;
    struct hfdir d;
    int fd;

    hfdir_init(&d, "llama", ",\"pad_token_id\":21,\"unk_token_id\":[3,4]",
               false);
    edit(&d.tokenizer_config, "\"eos_token\":\"<|end|>\",", "");
    edit(&d.config, "\"hidden_size\"", "\"eos_token_id\":17,\"hidden_size\"");
    const uint32_t n = hfdir_files(&d);
    memcpy(files, d.files, n * sizeof(*files));
    files[n] = (struct source_file){"chat_template.jinja", jinja, 11};
    assert_int_equal(memfile_create(&fd, "model"), 0);
    if (convert_files(&r, fd, files, n + 1, &params, &err) < 0 ||
        gguf_load_fd(&g, fd, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(count_of(g, "tokenizer.ggml.eos_token_id"), 17);
    assert_int_equal(count_of(g, "tokenizer.ggml.padding_token_id"), 21);
    assert_int_equal(count_of(g, "tokenizer.ggml.unknown_token_id"), 3);
    assert_int_equal(gguf_get_str(&text, g, "tokenizer.chat_template", NULL),
                     0);
    assert_string_equal(text, "{{ messages");
    gguf_destroy(g);
    files[n].bytes = sizeof(jinja); // with its NUL
    assert_int_equal(convert_files(&r, fd, files, n + 1, &params, &err),
                     -EINVAL);
    assert_non_null(strstr(err.text, "the chat template is larger than"));
    (void) close(fd);
    hfdir_finish(&d);
}

static void survives_every_failed_allocation(void **state)
{
    struct hfdir d;
    uint32_t n = 0;
    bool is_done = false;

    for (; !is_done && n < 4000; n++) {
        struct error err = {0};
        struct gguf *g = NULL;
        hfdir_init(&d, "llama", "", true);
        const uint32_t files = hfdir_files(&d);
        const struct convert_params params = {.type = CONVERT_Q8_0};
        struct convert_result r;
        int fd;
        assert_int_equal(memfile_create(&fd, "model"), 0);
        fault_arm(FAULT_ALLOC, n + 1);
        int rc = convert_files(&r, fd, d.files, files, &params, &err);
        is_done = !fault_fired(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        if (rc == 0)
            assert_int_equal(gguf_load_fd(&g, fd, &err), 0);
        else
            assert_true(err.text[0] != '\0');
        assert_true(rc == 0 || !is_done);
        gguf_destroy(g);
        (void) close(fd);
        hfdir_finish(&d);
    }
    assert_true(is_done && n > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_what_each_architecture_has),
        cmocka_unit_test(rows_of_llama_take_turns),
        cmocka_unit_test(gains_of_gemma_are_stored_from_one),
        cmocka_unit_test(shards_are_one_model),
        cmocka_unit_test(frequencies_become_tensors),
        cmocka_unit_test(tokenizers_become_keys),
        cmocka_unit_test(pieces_get_the_order_of_their_merges),
        cmocka_unit_test(takes_what_lies_beside_the_tokenizer),
        cmocka_unit_test(leaves_out_special_tokens_without_a_row),
        cmocka_unit_test(refuses_a_config_that_is_wrong),
        cmocka_unit_test(refuses_tensors_that_do_not_fit),
        cmocka_unit_test(refuses_an_index_that_leads_outside),
        cmocka_unit_test(refuses_tokenizers_that_are_wrong),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
