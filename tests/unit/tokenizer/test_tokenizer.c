// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/tokenizer/tokenizer.h"

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/json.h"
#include "engine/base/mapfile.h"
#include "engine/base/str.h"
#include "engine/formats/gguf.h"

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

#define BASE_MODEL "clients/demo/pock-16m-q8_0.gguf"
#define VECTORS    "tests/unit/tokenizer/vectors.jsonl"
#define VOCABS     "../shared/reference/vocab/ggml-vocab-"

static struct tokenizer *tok; // of the base model

static struct tokenizer *open_tokenizer(const char *path)
{
    struct gguf *g;
    struct tokenizer *t = NULL;
    struct error err = {0};
    if (gguf_load(&g, path, &err) < 0 || tokenizer_create(&t, g, &err) < 0)
        fail_msg("%s", err.text);
    gguf_destroy(g);
    return t;
}

static int open_base(void **state)
{
    tok = open_tokenizer(BASE_MODEL);
    return 0;
}

static int close_base(void **state)
{
    tokenizer_destroy(tok);
    return 0;
}

static void assert_round_trip(struct tokenizer *t, const struct token_list *l,
                              const char *text, size_t bytes)
{
    struct str s = {0};
    assert_int_equal(tokenizer_decode(t, &s, l->ids, l->count, true), 0);
    assert_int_equal(s.bytes, bytes);
    if (bytes > 0)
        assert_memory_equal(s.data, text, bytes);
    str_free(&s);
}

// One line of the vectors: [text, control, id, ...].
static void check_vector(const struct json *v)
{
    const struct json *text = v->first, *item = text->next->next;
    struct token_list l = {0};
    unsigned flags = text->next->integer ? TOKENIZER_PARSE_CONTROL : 0;
    assert_int_equal(tokenizer_encode(tok, &l, text->text, text->bytes, flags),
                     0);
    for (size_t i = 0; i < l.count; i++, item = item->next)
        if (!item || l.ids[i] != item->integer)
            fail_msg("token %zu is %d, not %lld, in: %.300s", i, l.ids[i],
                     item ? (long long) item->integer : -1LL, text->text);
    assert_null(item);
    assert_round_trip(tok, &l, text->text, text->bytes);
    token_list_free(&l);
}

static void gives_the_ids_of_the_tokenizers_library(void **state)
{
    const char *path = getenv("POCK_VECTORS");
    struct mapfile m;
    struct error err = {0};
    size_t n = 0;
    if (mapfile_load(&m, path ? path : VECTORS, &err) < 0)
        fail_msg("%s", err.text);
    const char *p = m.data, *end = p + m.bytes;
    while (p < end) {
        const char *line_end = memchr(p, '\n', (size_t) (end - p));
        struct arena *a;
        const struct json *v;
        assert_non_null(line_end);
        assert_int_equal(arena_create(&a, 256 << 20), 0);
        if (json_parse(&v, a, p, (size_t) (line_end - p), &err) < 0)
            fail_msg("%s", err.text);
        check_vector(v);
        arena_destroy(a);
        p = line_end + 1;
        n++;
    }
    mapfile_finish(&m);
    assert_true(n > 400);
}

static void returns_any_bytes_unchanged(void **state)
{
    unsigned char text[300] = {0};
    uint32_t seed = 5;
    for (int round = 0; round < 300; round++) {
        struct token_list l = {0};
        for (int i = 0; i < round; i++) {
            seed = seed * 1664525u + 1013904223u;
            text[i] = (unsigned char) (seed >> 24);
        }
        assert_int_equal(tokenizer_encode(tok, &l, (char *) text,
                                          (size_t) round, 0),
                         0);
        assert_round_trip(tok, &l, (char *) text, (size_t) round);
        token_list_free(&l);
    }
}

static void keeps_control_tokens_out_of_text(void **state)
{
    static const char text[] = "<|endoftext|><|user|><|assistant|><|end|>";
    struct token_list l = {0};
    assert_int_equal(tokenizer_encode(tok, &l, text, sizeof(text) - 1, 0), 0);
    assert_true(l.count > 4);
    for (size_t i = 0; i < l.count; i++)
        assert_false(tokenizer_is_control(tok, l.ids[i]));
    assert_round_trip(tok, &l, text, sizeof(text) - 1);
    token_list_clear(&l);
    assert_int_equal(tokenizer_encode(tok, &l, text, sizeof(text) - 1,
                                      TOKENIZER_PARSE_CONTROL),
                     0);
    assert_int_equal(l.count, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(l.ids[i], i);

    struct str s = {0};
    assert_int_equal(tokenizer_decode(tok, &s, l.ids, l.count, false), 0);
    assert_int_equal(s.bytes, 0);
    assert_int_equal(tokenizer_decode(tok, &s, (int32_t[]){8192}, 1, true),
                     -EINVAL);
    str_free(&s);
    token_list_free(&l);
}

static void knows_the_model_s_tokens(void **state)
{
    size_t n;
    assert_int_equal(tokenizer_n_vocab(tok), 8192);
    assert_int_equal(tokenizer_bos(tok), 0);
    assert_int_equal(tokenizer_eos(tok), 3);
    assert_int_equal(tokenizer_eot(tok), 3);
    assert_int_equal(tokenizer_document_end(tok), 0);
    assert_true(tokenizer_adds_bos(tok));
    assert_int_equal(tokenizer_find_special(tok, "<|assistant|>"), 2);
    assert_int_equal(tokenizer_find_special(tok, "<|system|>"), TOKEN_NONE);
    assert_true(tokenizer_is_end(tok, 0) && tokenizer_is_end(tok, 3));
    assert_false(tokenizer_is_end(tok, 1) || tokenizer_is_end(tok, -1));
    assert_string_equal(strncmp(tokenizer_piece(tok, 3, &n), "<|end|>", 7)
                            ? ""
                            : "same",
                        "same");
    assert_null(tokenizer_piece(tok, -1, &n));
    assert_null(tokenizer_piece(tok, 8192, &n));
}

static void leaves_the_list_as_it_was_on_failure(void **state)
{
    struct token_list l = {.limit = 5, .mark = 1};
    assert_int_equal(tokenizer_encode(tok, &l, "a b", 3, 0), 0);
    assert_int_equal(l.count, 2);
    assert_int_equal(l.marks[1], 1);
    assert_int_equal(tokenizer_encode(tok, &l, "a b c d", 7, 0), -E2BIG);
    assert_int_equal(l.count, 2);
    token_list_free(&l);
}

// A vocabulary of the 256 bytes and a few more, to be spoiled.
enum { EXTRA = 7, N_SMALL = 256 + EXTRA };

struct small {
    char names[N_SMALL][16];
    const char *tokens[N_SMALL];
    int32_t types[N_SMALL];
    const char *merges[8];
    uint32_t n_tokens, n_merges;
    const char *model, *pre;
    uint32_t bos;
};

static void put_byte_char(char *out, unsigned b)
{
    unsigned c = b, next = 0x100;
    for (unsigned i = 0; i <= b; i++) {
        bool shown =
            (i >= 0x21 && i <= 0x7e) || (i >= 0xa1 && i <= 0xac) || i >= 0xae;
        c = shown ? i : next++;
    }
    if (c < 0x80)
        (void) snprintf(out, 16, "%c", (char) c);
    else
        (void) snprintf(out, 16, "%c%c", (char) (0xc0 | c >> 6),
                        (char) (0x80 | (c & 0x3f)));
}

static void small_init(struct small *s)
{
    static const char *const extra[EXTRA] = {"ab",
                                             "abab",
                                             "<s>",
                                             "<|x|>",
                                             "<|x|>y",
                                             "c<s>",
                                             ("\xc4\xa0"
                                              "a")};
    static const int32_t types[EXTRA] = {1, 1, 3, 4, 4, 3, 4};
    *s = (struct small){.n_tokens = N_SMALL,
                        .n_merges = 4,
                        .merges = {"a b", "ab ab", "c <s>", "\xc4\xa0 a"},
                        .model = "gpt2",
                        .pre = "gpt-2",
                        .bos = 258};
    for (unsigned i = 0; i < N_SMALL; i++) {
        s->types[i] = i < 256 ? 1 : types[i - 256];
        s->tokens[i] = s->names[i];
        if (i < 256)
            put_byte_char(s->names[i], i);
        else
            strcpy(s->names[i], extra[i - 256]);
    }
}

static int small_create(struct tokenizer **out, const struct small *s,
                        struct error *err)
{
    struct gguf_writer *w;
    struct gguf *g = NULL;
    int fd = memfd_create("vocab", MFD_CLOEXEC);
    int rc = gguf_writer_create(&w);
    if (rc < 0)
        goto out;
    gguf_writer_str(w, "tokenizer.ggml.model", s->model);
    gguf_writer_str(w, "tokenizer.ggml.pre", s->pre);
    gguf_writer_strs(w, "tokenizer.ggml.tokens", s->tokens, s->n_tokens);
    gguf_writer_i32s(w, "tokenizer.ggml.token_type", s->types, N_SMALL);
    gguf_writer_strs(w, "tokenizer.ggml.merges", s->merges, s->n_merges);
    gguf_writer_u32(w, "tokenizer.ggml.bos_token_id", s->bos);
    rc = gguf_writer_save_fd(w, fd, err);
    gguf_writer_destroy(w);
    if (rc == 0)
        rc = gguf_load_fd(&g, fd, err);
    if (rc == 0)
        rc = tokenizer_create(out, g, err);
    gguf_destroy(g);
out:
    close(fd);
    return rc;
}

static void assert_ids(struct tokenizer *t, const char *text, unsigned flags,
                       const int32_t *want, size_t n)
{
    struct token_list l = {0};
    assert_int_equal(tokenizer_encode(t, &l, text, strlen(text), flags), 0);
    assert_int_equal(l.count, n);
    assert_memory_equal(l.ids, want, n * sizeof(*want));
    assert_round_trip(t, &l, text, strlen(text));
    token_list_free(&l);
}

static void takes_user_defined_tokens_always(void **state)
{
    struct small s;
    struct tokenizer *t;
    struct error err = {0};
    small_init(&s);
    if (small_create(&t, &s, &err) < 0)
        fail_msg("%s", err.text);
    assert_ids(t, "ababab", 0, (int32_t[]){257, 256}, 2);
    assert_ids(t, "<|x|>ab<|x|>y", 0, (int32_t[]){259, 256, 260}, 3);
    // "c<s>" is a control token that a merge could make, but must not.
    assert_ids(t, "c<s>", 0, (int32_t[]){'c', '<', 's', '>'}, 4);
    assert_ids(t, "c<s>", TOKENIZER_PARSE_CONTROL, (int32_t[]){261}, 1);
    // This one is spelled in byte characters, but taken as it stands.
    assert_ids(t, " a", 0, (int32_t[]){' ', 'a'}, 2);
    assert_ids(t,
               "\xc4\xa0"
               "a",
               0, (int32_t[]){262}, 1);
    assert_ids(t, "a<s>", TOKENIZER_PARSE_CONTROL, (int32_t[]){'a', 258}, 2);
    assert_int_equal(tokenizer_eos(t), TOKEN_NONE);
    assert_int_equal(tokenizer_document_end(t), TOKEN_NONE);
    assert_false(tokenizer_is_end(t, TOKEN_NONE));
    assert_false(tokenizer_adds_bos(t));
    tokenizer_destroy(t);
}

static void assert_refused(const struct small *s, int want, const char *words)
{
    struct tokenizer *t = NULL;
    struct error err = {0};
    int rc = small_create(&t, s, &err);
    assert_null(t);
    if (rc != want || !strstr(err.text, words))
        fail_msg("wanted %d and \"%s\": got %d, \"%s\"", want, words, rc,
                 err.text);
}

static void refuses_vocabularies_it_cannot_serve(void **state)
{
    struct small s;
    small_init(&s);
    s.model = "bert";
    assert_refused(&s, -ENOTSUP, "of kind \"bert\"");
    small_init(&s);
    s.pre = "qwen";
    assert_refused(&s, -ENOTSUP, "pre-tokenizer is \"qwen\", which is not one");
    assert_refused(&s, -ENOTSUP, " qwen2 ");
    small_init(&s);
    strcpy(s.names['Q'], "QQ");
    assert_refused(&s, -EINVAL, "no token for the byte 0x51");
    small_init(&s);
    s.types['Q'] = 3;
    assert_refused(&s, -EINVAL, "no token for the byte 0x51");
    small_init(&s);
    s.n_tokens = 100;
    assert_refused(&s, -EINVAL, "100 tokens and 263 token types");
    small_init(&s);
    s.types[7] = 9;
    assert_refused(&s, -EINVAL, "token 7 is of unknown type 9");
    small_init(&s);
    s.names[256][0] = '\0'; // and so nothing is called "ab"
    assert_refused(&s, -EINVAL, "number 0 names a token");
    small_init(&s);
    s.merges[1] = "abab";
    assert_refused(&s, -EINVAL, "merges: number 1 is not two tokens");
    s.merges[1] = "ab ";
    assert_refused(&s, -EINVAL, "merges: number 1 is not two tokens");
    s.merges[1] = " b";
    assert_refused(&s, -EINVAL, "merges: number 1 is not two tokens");
    s.merges[1] = "ab q";
    assert_refused(&s, -EINVAL, "number 1 names a token");
    small_init(&s);
    s.bos = 263;
    assert_refused(&s, -EINVAL, "bos_token_id is 263");
}

static void survives_every_failed_allocation(void **state)
{
    struct small s;
    small_init(&s);
    for (unsigned long n = 1;; n++) {
        struct tokenizer *t = NULL;
        struct error err = {0};
        fault_arm(FAULT_ALLOC, n);
        int rc = small_create(&t, &s, &err);
        bool fired = fault_fired(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        tokenizer_destroy(t);
        assert_int_equal(rc, fired ? -ENOMEM : 0);
        if (!fired)
            break;
    }
}

// The texts of llama.cpp's own test of a vocabulary.
static void check_reference(const char *name)
{
    static const char cut[] = "\n__ggml_vocab_test__\n";
    char path[3][200];
    struct mapfile in, out;
    for (int i = 0; i < 3; i++)
        (void) snprintf(path[i], sizeof(path[i]), VOCABS "%s.gguf%s", name,
                        i == 0   ? ""
                        : i == 1 ? ".inp"
                                 : ".out");
    if (access(path[0], R_OK) < 0) {
        print_message("# no %s: skipped\n", path[0]);
        return; // skip() of cmocka 1.1 prints "not ok"
    }
    assert_int_equal(mapfile_load(&in, path[1], NULL), 0);
    assert_int_equal(mapfile_load(&out, path[2], NULL), 0);
    struct tokenizer *t = open_tokenizer(path[0]);
    const char *p = in.data, *end = p + in.bytes;
    char *all = strndup(out.data, out.bytes), *ids = all, *save = NULL;
    size_t n = 0;
    for (char *line = ids; (line = strsep(&ids, "\n")) && p < end; n++) {
        const char *stop = memmem(p, (size_t) (end - p), cut, sizeof(cut) - 1);
        struct token_list l = {0};
        if (!stop)
            stop = end;
        assert_int_equal(tokenizer_encode(t, &l, p, (size_t) (stop - p), 0), 0);
        size_t i = 0;
        for (char *s = strtok_r(line, " ", &save); s;
             s = strtok_r(NULL, " ", &save), i++)
            if (i >= l.count || l.ids[i] != atoi(s))
                fail_msg("%s, text %zu: token %zu is not %s", name, n, i, s);
        assert_int_equal(i, l.count);
        if (tokenizer_is_exact(t, p, (size_t) (stop - p)))
            assert_round_trip(t, &l, p, (size_t) (stop - p));
        token_list_free(&l);
        p = stop + (stop < end ? sizeof(cut) - 1 : 0);
    }
    assert_int_equal(n, 46);
    free(all);
    tokenizer_destroy(t);
    mapfile_finish(&in);
    mapfile_finish(&out);
}

static void agrees_on_reference_vocabularies(void **state)
{
    check_reference("gpt-2");
    check_reference("llama-spm");
    check_reference("qwen2");
    check_reference("starcoder");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_the_ids_of_the_tokenizers_library),
        cmocka_unit_test(returns_any_bytes_unchanged),
        cmocka_unit_test(keeps_control_tokens_out_of_text),
        cmocka_unit_test(knows_the_model_s_tokens),
        cmocka_unit_test(leaves_the_list_as_it_was_on_failure),
        cmocka_unit_test(takes_user_defined_tokens_always),
        cmocka_unit_test(refuses_vocabularies_it_cannot_serve),
        cmocka_unit_test(survives_every_failed_allocation),
        cmocka_unit_test(agrees_on_reference_vocabularies),
    };
    return cmocka_run_group_tests(tests, open_base, close_base);
}
