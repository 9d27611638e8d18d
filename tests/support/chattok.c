// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/support/chattok.h"

#include "engine/formats/gguf.h"
#include "tests/support/bytetok.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { NAME_BYTES = 32, TOKENS_MAX = 256 + 1 + 40 };
enum { NORMAL = 1, CONTROL = 3, BYTE = 6 };

struct vocabulary {
    char names[TOKENS_MAX][NAME_BYTES];
    const char *tokens[TOKENS_MAX];
    int32_t kinds[TOKENS_MAX];
    uint32_t n;
};

static void add(struct vocabulary *v, const char *name, size_t bytes,
                int32_t kind)
{
    (void) snprintf(v->names[v->n], NAME_BYTES, "%.*s", (int) bytes, name);
    v->tokens[v->n] = v->names[v->n];
    v->kinds[v->n++] = kind;
}

static void fill_specials(struct vocabulary *v, const char *specials)
{
    while (*specials && v->n < TOKENS_MAX) {
        const size_t n = strcspn(specials, " ");
        add(v, specials, n, CONTROL);
        specials += n + (specials[n] == ' ');
    }
}

static void fill(struct vocabulary *v, const char *specials)
{
    char letter[3];

    for (int b = 0; b < 256; b++) {
        bytetok_letter(letter, b);
        add(v, letter, 2, NORMAL);
    }
    add(v, "\xc4\x8a\xc4\x8a", 4, NORMAL);
    fill_specials(v, specials);
}

static void fill_spm(struct vocabulary *v, const char *specials)
{
    char name[8];

    for (int b = 0; b < 256; b++) {
        (void) snprintf(name, sizeof(name), "<0x%02X>", (unsigned) b);
        add(v, name, 6, BYTE);
    }
    add(v, "\xe2\x96\x81", 3, NORMAL);
    fill_specials(v, specials);
}

static void write_vocabulary(struct gguf_writer *w, const struct vocabulary *v,
                             bool is_spm, const char *jinja)
{
    static const char *const merges[] = {"\xc4\x8a \xc4\x8a"};
    static const float scores[TOKENS_MAX];

    gguf_writer_str(w, "tokenizer.ggml.model", is_spm ? "llama" : "gpt2");
    gguf_writer_strs(w, "tokenizer.ggml.tokens", v->tokens, v->n);
    gguf_writer_i32s(w, "tokenizer.ggml.token_type", v->kinds, v->n);
    if (is_spm) {
        gguf_writer_f32s(w, "tokenizer.ggml.scores", scores, v->n);
    } else {
        gguf_writer_str(w, "tokenizer.ggml.pre", "gpt-2");
        gguf_writer_strs(w, "tokenizer.ggml.merges", merges, 1);
    }
    for (uint32_t i = 0; i < v->n; i++) {
        if (strcmp(v->names[i], "<s>") == 0)
            gguf_writer_u32(w, "tokenizer.ggml.bos_token_id", i);
        if (strcmp(v->names[i], "</s>") == 0)
            gguf_writer_u32(w, "tokenizer.ggml.eos_token_id", i);
    }
    gguf_writer_bool(w, "tokenizer.ggml.add_bos_token", false);
    if (jinja)
        gguf_writer_str(w, "tokenizer.chat_template", jinja);
}

static int create(struct chattok *out, const char *specials, bool is_spm,
                  const char *jinja)
{
    struct vocabulary v = {.n = 0};
    struct gguf_writer *w = NULL;
    struct gguf *g = NULL;
    int fd = memfd_create("vocabulary", MFD_CLOEXEC);
    int rc = fd < 0 ? -errno : gguf_writer_create(&w);

    if (rc == 0) {
        (is_spm ? fill_spm : fill)(&v, specials);
        write_vocabulary(w, &v, is_spm, jinja);
        rc = gguf_writer_save_fd(w, fd, NULL);
        gguf_writer_destroy(w);
    }
    if (rc == 0)
        rc = gguf_load_fd(&g, fd, NULL);
    if (rc == 0)
        rc = tokenizer_create(&out->t, g, NULL);
    if (rc == 0)
        chat_init(&out->chat, out->t, g);
    gguf_destroy(g);
    if (fd >= 0)
        (void) close(fd);
    return rc;
}

int chattok_create(struct chattok *out, const char *specials, const char *jinja)
{
    return create(out, specials, false, jinja);
}

int chattok_create_spm(struct chattok *out, const char *specials,
                       const char *jinja)
{
    return create(out, specials, true, jinja);
}

void chattok_finish(struct chattok *c)
{
    tokenizer_destroy(c->t);
    c->t = NULL;
}
