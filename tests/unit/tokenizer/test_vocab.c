// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/tokenizer/vocab.h"

#include "engine/base/bits.h"
#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/mapfile.h"
#include "engine/base/str.h"
#include "engine/formats/gguf.h"
#include "engine/tokenizer/tokenizer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

// The fuzz target's inputs: a text, a configuration and a tokenizer.
#define CORPUS "tests/fuzz/corpus/tokenizer_json/"

struct input {
    struct mapfile file;
    struct vocab_json_params params;
};

static void input_open(struct input *in, const char *name)
{
    char path[100];
    struct error err = {0};
    (void) snprintf(path, sizeof(path), CORPUS "%s", name);
    if (mapfile_load(&in->file, path, &err) < 0)
        fail_msg("%s", err.text);
    const char *p = in->file.data;
    size_t text = bits_load16(p), config = bits_load16(p + 2 + text);
    size_t head = 4 + text + config;
    in->params = (struct vocab_json_params){
        .tokenizer = p + head,
        .tokenizer_bytes = in->file.bytes - head,
        .config = config > 0 ? p + 4 + text : NULL,
        .config_bytes = config,
        .bos = -1,
        .eos = -1,
    };
}

static struct vocab *read_input(struct input *in, const char *name)
{
    struct vocab *v;
    struct error err = {0};
    input_open(in, name);
    if (vocab_read_json(&v, &in->params, &err) < 0)
        fail_msg("%s: %s", name, err.text);
    return v;
}

static struct tokenizer *make(const struct vocab *v)
{
    struct tokenizer *t;
    struct error err = {0};
    if (tokenizer_create_vocab(&t, v, &err) < 0)
        fail_msg("%s", err.text);
    return t;
}

static void assert_ids(struct tokenizer *t, const char *text, unsigned flags,
                       const int32_t *want, size_t n)
{
    struct token_list l = {0};
    assert_int_equal(tokenizer_encode(t, &l, text, strlen(text), flags), 0);
    for (size_t i = 0; i < l.count && i < n; i++)
        if (l.ids[i] != want[i])
            fail_msg("%s: token %zu is %d, not %d", text, i, l.ids[i], want[i]);
    assert_int_equal(l.count, n);
    token_list_free(&l);
}

#define ASSERT_IDS(t, text, flags, ...)                        \
    assert_ids(t, text, flags, (const int32_t[]){__VA_ARGS__}, \
               sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

enum { CONTROL = TOKENIZER_PARSE_CONTROL };

static void reads_byte_level_bpe(void **state)
{
    struct input in;
    struct vocab *v = read_input(&in, "gpt2");
    assert_int_equal(v->kind, VOCAB_BPE);
    assert_string_equal(v->pre_name, "gpt-2");
    assert_int_equal(v->n_tokens, 261);
    assert_int_equal(v->n_merges, 3);
    assert_string_equal(v->chat_template, "{{x}}");
    struct tokenizer *t = make(v);
    assert_int_equal(tokenizer_eos(t), 259);
    assert_int_equal(tokenizer_eot(t), 259); // by its name
    assert_int_equal(tokenizer_bos(t), 259); // by the template
    assert_true(tokenizer_adds_bos(t) && tokenizer_adds_eos(t));
    ASSERT_IDS(t, "abab a", 0, 258, 257);
    ASSERT_IDS(t, "x<|im_end|>  a", CONTROL, 'x', 259, 'a'); // takes the blanks
    ASSERT_IDS(t, "x  a", 0, 'x', 260, 'a');
    assert_false(tokenizer_is_exact(t, "x", 1));
    tokenizer_destroy(t);
    vocab_destroy(v);
    mapfile_finish(&in.file);
}

static void takes_whole_words_before_merges(void **state)
{
    struct input in;
    struct vocab *v = read_input(&in, "llama3");
    assert_string_equal(v->pre_name, "llama-bpe");
    assert_true(v->ignore_merges);
    struct tokenizer *t = make(v);
    // No merge makes "abab", which is a word here, and none in "ababx".
    ASSERT_IDS(t, "abab", 0, 258);
    ASSERT_IDS(t, "ababx", 0, 256, 256, 'x');
    ASSERT_IDS(t, "abab", 0, 258);
    tokenizer_destroy(t);
    vocab_destroy(v);
    mapfile_finish(&in.file);
}

static void reads_sentencepiece_bpe(void **state)
{
    enum { BYTES = 3, MARK = 259, A, B, MARK_A, AB, MARK_AB };
    struct input in;
    struct vocab *v = read_input(&in, "spm");
    assert_int_equal(v->kind, VOCAB_SPM);
    assert_true(v->adds_space);
    struct tokenizer *t = make(v);
    ASSERT_IDS(t, "ab", 0, MARK_AB);
    ASSERT_IDS(t, "ab", TOKENIZER_CONTINUES, AB);
    // The merge of highest score is that of a with the blank before it.
    ASSERT_IDS(t, "bab  ab", 0, MARK, B, AB, MARK, MARK_AB);
    ASSERT_IDS(t, "\xc3\xa9", 0, MARK, BYTES + 0xc3, BYTES + 0xa9);
    ASSERT_IDS(t, "a<s>b", CONTROL, MARK_A, 1, MARK, B);
    ASSERT_IDS(t,
               "a\xe2\x96\x81"
               "b",
               0, MARK_A, MARK, B);
    struct token_list l = {0};
    struct str s = {0};
    assert_int_equal(tokenizer_encode(t, &l, " a<s>b", 6, CONTROL), 0);
    assert_int_equal(tokenizer_decode(t, &s, l.ids, l.count, true), 0);
    assert_string_equal(s.data, " a<s>b");
    str_free(&s);
    token_list_free(&l);
    assert_int_equal(tokenizer_encode(t, &l, "", 0, 0), 0);
    assert_int_equal(l.count, 0);
    tokenizer_destroy(t);
    vocab_destroy(v);
    mapfile_finish(&in.file);
}

static void puts_out_what_it_read(void **state)
{
    static const char *const names[] = {"gpt2", "llama3", "spm", "metaspace"};
    for (size_t i = 0; i < 4; i++) {
        struct input in;
        struct gguf_writer *w;
        struct gguf *g;
        struct vocab *again = NULL, *v = read_input(&in, names[i]);
        struct error err = {0};
        int fd = memfd_create("vocab", MFD_CLOEXEC);
        assert_int_equal(gguf_writer_create(&w), 0);
        assert_int_equal(vocab_write_gguf(v, w, 300), 0);
        assert_int_equal(gguf_writer_save_fd(w, fd, &err), 0);
        gguf_writer_destroy(w);
        if (gguf_load_fd(&g, fd, &err) < 0 ||
            vocab_read_gguf(&again, g, &err) < 0)
            fail_msg("%s: %s", names[i], err.text);
        assert_int_equal(again->n_tokens, 300);
        assert_int_equal(again->n_merges, v->n_merges);
        for (uint32_t k = 0; k < v->n_tokens; k++) {
            assert_int_equal(again->tokens[k].bytes, v->tokens[k].bytes);
            assert_memory_equal(again->tokens[k].name, v->tokens[k].name,
                                v->tokens[k].bytes);
            assert_int_equal(again->tokens[k].type, v->tokens[k].type);
        }
        if (v->bos != TOKEN_NONE) // else it is what "llama" implies
            assert_int_equal(again->bos, v->bos);
        if (v->eos != TOKEN_NONE)
            assert_int_equal(again->eos, v->eos);
        assert_int_equal(again->adds_bos, v->adds_bos);
        assert_int_equal(again->adds_space, v->adds_space);
        vocab_destroy(again);
        gguf_destroy(g);
        close(fd);
        vocab_destroy(v);
        mapfile_finish(&in.file);
    }
}

static void assert_refused(const char *text, const char *words)
{
    const struct vocab_json_params p = {.tokenizer = text,
                                        .tokenizer_bytes = strlen(text),
                                        .bos = -1,
                                        .eos = -1};
    struct vocab *v = NULL;
    struct error err = {0};
    assert_true(vocab_read_json(&v, &p, &err) < 0);
    assert_null(v);
    if (!strstr(err.text, words))
        fail_msg("%s: got \"%s\"", text, err.text);
}

static void refuses_tokenizers_it_cannot_serve(void **state)
{
#define BYTE_LEVEL "\"pre_tokenizer\":{\"type\":\"ByteLevel\"},"
    assert_refused("", "expected an object");
    assert_refused("[]", "expected an object");
    assert_refused("{\"x\":1", "expected a comma or the end");
    assert_refused("{\"x\":[1", "ends too early");
    assert_refused("{}", "no \"model\"");
    assert_refused("{\"model\":{\"type\":\"WordPiece\",\"vocab\":{}}}",
                   "only BPE is supported");
    assert_refused("{\"model\":{\"vocab\":{},\"merges\":[]}}",
                   "without a type");
    assert_refused("{\"pre_tokenizer\":{\"type\":\"Whitespace\"},"
                   "\"model\":{\"vocab\":{},\"merges\":[]}}",
                   "a step Whitespace");
    assert_refused("{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":"
                   "{\"Regex\":\"x+\"}},"
                   "\"model\":{\"vocab\":{},\"merges\":[]}}",
                   "none of those that are known: S(x+)");
    assert_refused("{" BYTE_LEVEL "\"normalizer\":{\"type\":\"Lowercase\"},"
                   "\"model\":{\"vocab\":{},\"merges\":[]}}",
                   "normalizer is not supported");
    assert_refused("{" BYTE_LEVEL "\"model\":{\"vocab\":{},\"merges\":[]}}",
                   "has 0 tokens");
    assert_refused("{" BYTE_LEVEL
                   "\"model\":{\"vocab\":{\"a\":9000},\"merges\":[]}}",
                   "1 tokens with ids up to 9001");
    assert_refused("{" BYTE_LEVEL
                   "\"model\":{\"vocab\":{\"a\":1,\"b\":1},\"merges\":[]}}",
                   "two tokens have the id 1");
    assert_refused("{" BYTE_LEVEL
                   "\"model\":{\"vocab\":{\"a\":-1},\"merges\":[]}}",
                   "expected a number");
    assert_refused("{" BYTE_LEVEL "\"model\":{\"vocab\":{\"a\":0},"
                   "\"merges\":[\"a b\"]}}",
                   "number 0 names a token");
    assert_refused("{" BYTE_LEVEL "\"model\":{\"vocab\":{\"a\":0},"
                   "\"merges\":[[\"a\",\"a\",\"a\"]]}}",
                   "more than two tokens");
    assert_refused("{" BYTE_LEVEL "\"added_tokens\":[{\"id\":2}],"
                   "\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}",
                   "no id or no content");
    assert_refused("{" BYTE_LEVEL "\"model\":{\"type\":\"Unigram\","
                   "\"vocab\":{\"a\":0},\"merges\":[]}}",
                   "of type \"Unigram\", but only BPE is supported");
    assert_refused("{" BYTE_LEVEL "\"added_tokens\":[{\"id\":0,\"content\":"
                   "\"b\"}],\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}",
                   "two tokens have the id 0");
    assert_refused("{" BYTE_LEVEL "\"added_tokens\":[{\"id\":1,\"content\":"
                   "\"a\"}],\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}",
                   "tokens 0 and 1 are the same");
    assert_refused("{" BYTE_LEVEL "\"model\":{\"vocab\":{\"a b\":0,\"c\":1,"
                   "\"a bc\":2},\"merges\":[[\"a b\",\"c\"]]}}",
                   "merges: number 0 has a token with a blank in it");
#undef BYTE_LEVEL
}

static struct vocab *read_texts(const char *text, const char *config)
{
    const struct vocab_json_params p = {.tokenizer = text,
                                        .tokenizer_bytes = strlen(text),
                                        .config = config,
                                        .config_bytes = strlen(config),
                                        .bos = -1,
                                        .eos = -1};
    struct vocab *v = NULL;
    struct error err = {0};
    if (vocab_read_json(&v, &p, &err) < 0)
        fail_msg("%s", err.text);
    return v;
}

static void takes_what_the_configuration_lacks(void **state)
{
    static const char text[] =
        "{\"model\":{\"byte_fallback\":true,\"unk_token\":\"<unk>\","
        "\"vocab\":{\"<unk>\":0,\"a\":1,\"b\":2},\"merges\":[]}}";
    struct vocab *v =
        read_texts(text,
                   "{\"chat_template\":[{\"name\":\"x\",\"template\":\"1\"},"
                   "{\"name\":\"y\",\"template\":\"2\"}]}");
    assert_int_equal(v->unk, 0); // as the model says it
    assert_int_equal(v->tokens[0].type, TOKEN_TYPE_UNKNOWN);
    assert_string_equal(v->chat_template, "1"); // none is the default one
    vocab_destroy(v);
    v = read_texts(text, "{\"unk_token\":\"a\",\"chat_template\":["
                         "{\"name\":\"x\",\"template\":\"1\"},"
                         "{\"name\":\"default\",\"template\":\"2\"}]}");
    assert_int_equal(v->unk, 1);
    assert_string_equal(v->chat_template, "2");
    vocab_destroy(v);
    const struct vocab_json_params p = {.tokenizer = text,
                                        .tokenizer_bytes = sizeof(text) - 1,
                                        .config = "[]",
                                        .config_bytes = 2};
    struct error err = {0};
    assert_int_equal(vocab_read_json(&v, &p, &err), -EINVAL);
    assert_string_equal(err.text,
                        "tokenizer_config.json: it is not an object of JSON");
}

static void survives_every_failed_allocation(void **state)
{
    struct input in;
    input_open(&in, "spm");
    for (unsigned long n = 1;; n++) {
        struct vocab *v = NULL;
        struct tokenizer *t = NULL;
        struct error err = {0};
        fault_arm(FAULT_ALLOC, n);
        int rc = vocab_read_json(&v, &in.params, &err);
        if (rc == 0)
            rc = tokenizer_create_vocab(&t, v, &err);
        bool fired = fault_fired(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        tokenizer_destroy(t);
        vocab_destroy(v);
        assert_int_equal(rc, fired ? -ENOMEM : 0);
        if (!fired)
            break;
    }
    mapfile_finish(&in.file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_byte_level_bpe),
        cmocka_unit_test(takes_whole_words_before_merges),
        cmocka_unit_test(reads_sentencepiece_bpe),
        cmocka_unit_test(puts_out_what_it_read),
        cmocka_unit_test(refuses_tokenizers_it_cannot_serve),
        cmocka_unit_test(takes_what_the_configuration_lacks),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
