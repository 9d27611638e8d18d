// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/formats/gguf.h"
#include "engine/tokenizer/pretokenize.h"
#include "engine/tokenizer/textmap.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/vocab_inside.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    ARENA_MAX = 512 << 20,
    MERGE_BYTES_MAX = 4096,
    NAME_BYTES = 24,
};

int vocab_no_memory(struct error *err)
{
    return error_set(err, -ENOMEM, "not enough memory for the tokenizer");
}

int vocab_create(struct vocab **out)
{
    struct vocab *v = fault_calloc(1, sizeof(*v));
    if (!v)
        return -ENOMEM;
    if (arena_create(&v->arena, ARENA_MAX) < 0) {
        free(v);
        return -ENOMEM;
    }
    v->bos = v->eos = v->eot = v->unk = v->pad = TOKEN_NONE;
    *out = v;
    return 0;
}

void vocab_destroy(struct vocab *v)
{
    if (!v)
        return;
    arena_destroy(v->arena);
    free(v);
}

static const char *name_of(const void *owner, int32_t id, size_t *bytes)
{
    const struct vocab *v = owner;
    *bytes = v->tokens[id].bytes;
    return v->tokens[id].name;
}

int vocab_map_names(struct textmap *m, const struct vocab *v)
{
    int rc = textmap_init(m, v->n_tokens, name_of, v);
    for (uint32_t i = 0; i < v->n_tokens && rc == 0; i++)
        if (v->tokens[i].bytes > 0)
            textmap_add(m, (int32_t) i);
    return rc;
}

static int bad_merge(const struct vocab *v, const char *why, struct error *err)
{
    return error_set(err, -EINVAL, "number %u %s", (unsigned) v->n_merges, why);
}

int vocab_add_merge(struct vocab *v, const struct textmap *names,
                    const char *left, size_t left_bytes, const char *right,
                    size_t right_bytes, struct error *err)
{
    char joined[MERGE_BYTES_MAX];

    if (left_bytes + right_bytes > sizeof(joined))
        return bad_merge(v, "is too long", err);
    memcpy(joined, left, left_bytes);
    memcpy(joined + left_bytes, right, right_bytes);
    struct vocab_merge m = {
        .left = textmap_find(names, left, left_bytes),
        .right = textmap_find(names, right, right_bytes),
        .id = textmap_find(names, joined, left_bytes + right_bytes),
    };
    if (m.left < 0 || m.right < 0 || m.id < 0)
        return bad_merge(v, "names a token that the vocabulary lacks", err);
    v->merges[v->n_merges++] = m;
    return 0;
}

// Tokens that end what is said, whatever kind the file gives them: text must
// not become them. The first half may end a turn, in this order.
static const char *const ends[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|end_of_text|>",
    "<EOT>",
    // DeepSeek; the octal escape ends where an e would go on with a hex one
    "<\xef\xbd\234end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<eos>",
};

enum { ENDS = sizeof(ends) / sizeof(ends[0]), ENDS_OF_TURN = 8 };

void vocab_settle(struct vocab *v, const struct textmap *names)
{
    for (int i = 0; i < ENDS; i++) {
        int32_t id = textmap_find(names, ends[i], strlen(ends[i]));
        if (id < 0)
            continue;
        v->tokens[id].type = TOKEN_TYPE_CONTROL;
        if (v->eot == TOKEN_NONE && i < ENDS_OF_TURN)
            v->eot = id;
    }
}

/*
 * To GGUF
 */

// "left right", for each merge.
static int write_merges(const struct vocab *v, struct gguf_writer *w,
                        struct arena *a)
{
    const char **texts = arena_calloc(a, v->n_merges, sizeof(*texts));

    if (!texts)
        return -ENOMEM;
    for (uint32_t i = 0; i < v->n_merges; i++) {
        const struct vocab_token *x = &v->tokens[v->merges[i].left];
        const struct vocab_token *y = &v->tokens[v->merges[i].right];
        char *p = arena_alloc(a, (size_t) x->bytes + y->bytes + 2u);
        if (!p)
            return -ENOMEM;
        texts[i] = p;
        memcpy(p, x->name, x->bytes);
        p[x->bytes] = ' ';
        memcpy(p + x->bytes + 1, y->name, y->bytes);
    }
    gguf_writer_strs(w, "tokenizer.ggml.merges", texts, v->n_merges);
    return 0;
}

static int write_tokens(const struct vocab *v, struct gguf_writer *w,
                        uint32_t n, struct arena *a)
{
    const char **names = arena_calloc(a, n, sizeof(*names));
    int32_t *types = arena_calloc(a, n, sizeof(*types));
    float *scores = arena_calloc(a, n, sizeof(*scores));

    if (!names || !types || !scores)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        const struct vocab_token *t = i < v->n_tokens ? &v->tokens[i] : NULL;
        char *p = t && t->bytes > 0 ? arena_alloc(a, t->bytes + 1u)
                                    : arena_printf(a, "[PAD%u]", (unsigned) i);
        if (!p)
            return -ENOMEM;
        if (t && t->bytes > 0)
            memcpy(p, t->name, t->bytes);
        names[i] = p;
        types[i] = t && t->bytes > 0 ? t->type : TOKEN_TYPE_UNUSED;
        scores[i] = t ? t->score : 0;
    }
    gguf_writer_strs(w, "tokenizer.ggml.tokens", names, n);
    gguf_writer_i32s(w, "tokenizer.ggml.token_type", types, n);
    if (v->kind == VOCAB_SPM)
        gguf_writer_f32s(w, "tokenizer.ggml.scores", scores, n);
    return 0;
}

static void write_id(struct gguf_writer *w, const char *key, int32_t id)
{
    if (id >= 0)
        gguf_writer_u32(w, key, (uint32_t) id);
}

int vocab_write_gguf(const struct vocab *v, struct gguf_writer *w,
                     uint32_t n_vocab)
{
    struct arena *a;
    int rc = arena_create(&a, ARENA_MAX);
    if (rc < 0)
        return rc;
    gguf_writer_str(w, "tokenizer.ggml.model",
                    v->kind == VOCAB_BPE ? "gpt2" : "llama");
    gguf_writer_str(w, "tokenizer.ggml.pre",
                    v->kind == VOCAB_BPE ? v->pre_name : "default");
    rc = write_tokens(v, w, n_vocab > v->n_tokens ? n_vocab : v->n_tokens, a);
    if (rc == 0 && v->kind == VOCAB_BPE)
        rc = write_merges(v, w, a);
    arena_destroy(a);
    write_id(w, "tokenizer.ggml.bos_token_id", v->bos);
    write_id(w, "tokenizer.ggml.eos_token_id", v->eos);
    write_id(w, "tokenizer.ggml.eot_token_id", v->eot);
    write_id(w, "tokenizer.ggml.unknown_token_id", v->unk);
    write_id(w, "tokenizer.ggml.padding_token_id", v->pad);
    gguf_writer_bool(w, "tokenizer.ggml.add_bos_token", v->adds_bos);
    gguf_writer_bool(w, "tokenizer.ggml.add_eos_token", v->adds_eos);
    if (v->kind == VOCAB_SPM)
        gguf_writer_bool(w, "tokenizer.ggml.add_space_prefix", v->adds_space);
    if (v->chat_template)
        gguf_writer_str(w, "tokenizer.chat_template", v->chat_template);
    return rc;
}
