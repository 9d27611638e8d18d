// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Tokenizes for tokenizers.sh.
 *
 * usage: print_ids ids MODEL.gguf|tokenizer.json < vectors.jsonl
 *        print_ids convert tokenizer.json OUT.gguf [PRE]
 *
 * "ids" reads lines of [text, control, ...] and prints the ids of each as a
 * line of JSON; a text that does not come back exactly where it should ends it.
 * "convert" writes the vocabulary alone, with another pre-tokenizer's name.
 */

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/base/json.h"
#include "engine/base/mapfile.h"
#include "engine/base/str.h"
#include "engine/formats/gguf.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/vocab.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int read_json(struct vocab **out, struct mapfile *m, const char *path,
                     struct error *err)
{
    int rc = mapfile_load(m, path, err);
    if (rc < 0)
        return rc;
    const struct vocab_json_params p = {
        .tokenizer = m->data,
        .tokenizer_bytes = m->bytes,
        .bos = -1,
        .eos = -1,
    };
    return vocab_read_json(out, &p, err);
}

static int open_tokenizer(struct tokenizer **out, const char *path,
                          struct error *err)
{
    const char *dot = strrchr(path, '.');
    int rc;

    if (dot && strcmp(dot, ".json") == 0) {
        struct mapfile m;
        struct vocab *v;
        if ((rc = read_json(&v, &m, path, err)) < 0)
            return rc;
        rc = tokenizer_create_vocab(out, v, err);
        vocab_destroy(v);
        mapfile_finish(&m);
        return rc;
    }
    struct gguf *g;
    if ((rc = gguf_load(&g, path, err)) < 0)
        return rc;
    rc = tokenizer_create(out, g, err);
    gguf_destroy(g);
    return rc;
}

static void print_ids(struct tokenizer *t, const struct json *v)
{
    const struct json *text = v->first;
    struct token_list l = {0};
    struct str s = {0};
    bool control = text->next->integer != 0;

    if (tokenizer_encode(t, &l, text->text, text->bytes,
                         control ? TOKENIZER_PARSE_CONTROL : 0) < 0 ||
        tokenizer_decode(t, &s, l.ids, l.count, true) < 0) {
        (void) fputs("a text cannot be encoded\n", stderr);
        exit(1);
    }
    if (tokenizer_is_exact(t, text->text, text->bytes) &&
        (s.bytes != text->bytes ||
         (s.bytes > 0 && memcmp(s.data, text->text, s.bytes) != 0))) {
        (void) fprintf(stderr, "does not come back: %s\n", text->text);
        exit(1);
    }
    (void) putchar('[');
    for (size_t i = 0; i < l.count; i++)
        (void) printf(i ? ",%d" : "%d", (int) l.ids[i]);
    (void) puts("]");
    token_list_free(&l);
    str_free(&s);
}

static int print_all(const char *path, struct error *err)
{
    struct tokenizer *t;
    char *line = NULL;
    size_t size = 0;
    ssize_t n;
    int rc = open_tokenizer(&t, path, err);

    while (rc == 0 && (n = getline(&line, &size, stdin)) > 0) {
        struct arena *a;
        const struct json *v;
        if ((rc = arena_create(&a, 1 << 30)) < 0)
            break;
        if ((rc = json_parse(&v, a, line, (size_t) n, err)) == 0)
            print_ids(t, v);
        arena_destroy(a);
    }
    free(line);
    return rc;
}

static int convert(const char *from, const char *to, const char *pre,
                   struct error *err)
{
    struct gguf_writer *w;
    struct mapfile m;
    struct vocab *v;
    int rc = read_json(&v, &m, from, err);

    if (rc < 0 || (rc = gguf_writer_create(&w)) < 0)
        return rc;
    if (pre)
        v->pre_name = pre;
    gguf_writer_str(w, "general.architecture", "llama");
    gguf_writer_u32(w, "llama.block_count", 1);
    gguf_writer_u32(w, "llama.context_length", 128);
    gguf_writer_u32(w, "llama.embedding_length", 8);
    gguf_writer_u32(w, "llama.feed_forward_length", 8);
    gguf_writer_u32(w, "llama.attention.head_count", 1);
    gguf_writer_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5F);
    rc = vocab_write_gguf(v, w, 0);
    if (rc == 0)
        rc = gguf_writer_save(w, AT_FDCWD, to, err);
    gguf_writer_destroy(w);
    vocab_destroy(v);
    mapfile_finish(&m);
    return rc;
}

int main(int argc, char **argv)
{
    struct error err = {0};
    int rc = -EINVAL;

    if (argc == 3 && strcmp(argv[1], "ids") == 0)
        rc = print_all(argv[2], &err);
    else if (argc >= 4 && strcmp(argv[1], "convert") == 0)
        rc = convert(argv[2], argv[3], argc > 4 ? argv[4] : NULL, &err);
    if (rc < 0)
        (void) fprintf(stderr, "print_ids: %s\n",
                       err.text[0] ? err.text : strerror(-rc));
    return rc < 0;
}
