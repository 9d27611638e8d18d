// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/base/str.h"
#include "engine/formats/gguf.h"
#include "engine/tokenizer/pretokenize.h"
#include "engine/tokenizer/textmap.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/vocab_inside.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KEY(name) "tokenizer.ggml." name

static int read_pre(struct vocab *v, const struct gguf *file, struct error *err)
{
    const char *name = "default";
    int rc;

    if (gguf_has(file, KEY("pre")) &&
        (rc = gguf_get_str(&name, file, KEY("pre"), err)) < 0)
        return rc;
    v->pre = strncmp(name, "hf:", 3) == 0 ? NULL : pretokenizer_find(name);
    v->pre_name = name;
    if (!v->pre) {
        struct str known = {0};
        pretokenizer_names(&known);
        rc = error_set(err, -ENOTSUP,
                       "the pre-tokenizer is \"%.40s\", which is not one of "
                       "those that are known: %s",
                       name, str_finish(&known) == 0 ? known.data : "");
        str_free(&known);
        return rc;
    }
    v->ignore_merges = v->pre->ignore_merges;
    return 0;
}

static int read_kind(struct vocab *v, const struct gguf *file,
                     struct error *err)
{
    const char *model;
    int rc = gguf_get_str(&model, file, KEY("model"), err);
    if (rc < 0)
        return rc;
    if (strcmp(model, "gpt2") == 0) {
        v->kind = VOCAB_BPE;
        return read_pre(v, file, err);
    }
    if (strcmp(model, "llama") == 0) {
        v->kind = VOCAB_SPM;
        return 0;
    }
    return error_set(err, -ENOTSUP,
                     "the tokenizer is of kind \"%.40s\", but only \"gpt2\" "
                     "(byte-level BPE) and \"llama\" (SentencePiece BPE) are "
                     "supported",
                     model);
}

static int read_scores(struct gguf_array *out, const struct vocab *v,
                       const struct gguf *file, struct error *err)
{
    int rc = gguf_get_array(out, file, KEY("scores"), GGUF_F32, err);
    if (rc < 0)
        return rc;
    if (out->count != v->n_tokens)
        return error_set(err, -EINVAL,
                         "the vocabulary has %u tokens and %llu scores: they "
                         "must be as many",
                         (unsigned) v->n_tokens,
                         (unsigned long long) out->count);
    return 0;
}

static int read_tokens(struct vocab *v, const struct gguf *file,
                       struct error *err)
{
    struct gguf_array names, kinds, scores = {0};
    size_t cursor = 0, bytes;
    int rc;

    if ((rc = gguf_get_array(&names, file, KEY("tokens"), GGUF_STR, err)) < 0 ||
        (rc = gguf_get_array(&kinds, file, KEY("token_type"), GGUF_I32, err)) <
            0)
        return rc;
    if (names.count == 0 || names.count > VOCAB_TOKENS_MAX ||
        names.count != kinds.count)
        return error_set(err, -EINVAL,
                         "the vocabulary has %llu tokens and %llu token types: "
                         "they must be as many, and at most %d",
                         (unsigned long long) names.count,
                         (unsigned long long) kinds.count, VOCAB_TOKENS_MAX);
    v->n_tokens = (uint32_t) names.count;
    v->tokens = arena_calloc(v->arena, v->n_tokens, sizeof(*v->tokens));
    if (!v->tokens)
        return vocab_no_memory(err);
    if (v->kind == VOCAB_SPM && (rc = read_scores(&scores, v, file, err)) < 0)
        return rc;
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        const char *p = gguf_array_next(&names, &cursor, &bytes);
        int32_t type = gguf_array_i32(&kinds, i);
        if (bytes > VOCAB_NAME_MAX)
            return error_set(err, -EINVAL,
                             "token %u has %zu bytes, but may have %d",
                             (unsigned) i, bytes, VOCAB_NAME_MAX);
        if (type < TOKEN_TYPE_NORMAL || type > TOKEN_TYPE_BYTE)
            return error_set(err, -EINVAL, "token %u is of unknown type %d",
                             (unsigned) i, (int) type);
        v->tokens[i] = (struct vocab_token){.name = p,
                                            .bytes = (uint16_t) bytes,
                                            .type = (uint8_t) type};
        if (scores.count > 0)
            v->tokens[i].score = gguf_array_f32(&scores, i);
    }
    return 0;
}

// "left right"; a blank may be the first character of the left one.
static int read_merge(struct vocab *v, const struct textmap *names,
                      const char *p, size_t bytes, struct error *err)
{
    const char *space = bytes > 1 ? memchr(p + 1, ' ', bytes - 1) : NULL;

    if (!space || space + 1 == p + bytes)
        return error_set(err, -EINVAL,
                         "tokenizer.ggml.merges: number %u is not two tokens "
                         "with a space between",
                         (unsigned) v->n_merges);
    size_t left = (size_t) (space - p);
    int rc =
        vocab_add_merge(v, names, p, left, space + 1, bytes - left - 1, err);
    return rc < 0 ? error_prefix(err, rc, "tokenizer.ggml.merges") : 0;
}

static int read_merges(struct vocab *v, const struct textmap *names,
                       const struct gguf *file, struct error *err)
{
    struct gguf_array merges;
    size_t cursor = 0, bytes;
    int rc = gguf_get_array(&merges, file, KEY("merges"), GGUF_STR, err);
    if (rc < 0)
        return rc;
    if (merges.count > VOCAB_MERGES_MAX)
        return error_set(err, -EINVAL,
                         "the vocabulary has %llu merges, at most %d are read",
                         (unsigned long long) merges.count, VOCAB_MERGES_MAX);
    v->merges = arena_calloc(v->arena, merges.count, sizeof(*v->merges));
    if (!v->merges)
        return vocab_no_memory(err);
    for (uint64_t i = 0; i < merges.count && rc == 0; i++) {
        const char *p = gguf_array_next(&merges, &cursor, &bytes);
        rc = read_merge(v, names, p, bytes, err);
    }
    return rc;
}

// An id of the vocabulary; where the key is absent, `*out` if it is one.
static int read_id(int32_t *out, const struct vocab *v, const struct gguf *file,
                   const char *key, struct error *err)
{
    uint32_t id;

    if (!gguf_has(file, key)) {
        if (*out >= (int32_t) v->n_tokens)
            *out = TOKEN_NONE;
        return 0;
    }
    int rc = gguf_get_u32(&id, file, key, err);
    if (rc < 0)
        return rc;
    if (id >= v->n_tokens)
        return error_set(err, -EINVAL,
                         "%s is %u, but the vocabulary has %u tokens", key,
                         (unsigned) id, (unsigned) v->n_tokens);
    *out = (int32_t) id;
    return 0;
}

static int read_flag(bool *out, const struct gguf *file, const char *key,
                     struct error *err)
{
    return gguf_has(file, key) ? gguf_get_bool(out, file, key, err) : 0;
}

static int read_ids(struct vocab *v, const struct gguf *file, struct error *err)
{
    int rc;

    if (v->kind == VOCAB_SPM) {
        v->unk = 0;
        v->bos = 1;
        v->eos = 2;
        v->adds_space = true;
    }
    if ((rc = read_id(&v->bos, v, file, KEY("bos_token_id"), err)) < 0 ||
        (rc = read_id(&v->eos, v, file, KEY("eos_token_id"), err)) < 0 ||
        (rc = read_id(&v->eot, v, file, KEY("eot_token_id"), err)) < 0)
        return rc;
    // Nothing hangs on these, and some files have -1 there.
    if (read_id(&v->unk, v, file, KEY("unknown_token_id"), NULL) < 0)
        v->unk = TOKEN_NONE;
    if (read_id(&v->pad, v, file, KEY("padding_token_id"), NULL) < 0)
        v->pad = TOKEN_NONE;
    v->adds_bos =
        v->bos != TOKEN_NONE && (v->kind == VOCAB_SPM || v->pre->adds_bos);
    if ((rc = read_flag(&v->adds_bos, file, KEY("add_bos_token"), err)) < 0 ||
        (rc = read_flag(&v->adds_eos, file, KEY("add_eos_token"), err)) < 0 ||
        (rc = read_flag(&v->adds_space, file, KEY("add_space_prefix"), err)) <
            0)
        return rc;
    if (v->adds_bos && v->bos == TOKEN_NONE)
        return error_set(err, -EINVAL,
                         "tokenizer.ggml.add_bos_token is set, but there is no "
                         "tokenizer.ggml.bos_token_id");
    if (v->adds_eos && v->eos == TOKEN_NONE)
        return error_set(err, -EINVAL,
                         "tokenizer.ggml.add_eos_token is set, but there is no "
                         "tokenizer.ggml.eos_token_id");
    return 0;
}

static bool has_word(const char *text, const char *word)
{
    size_t n = strlen(word);
    for (; *text; text++)
        if (strncasecmp(text, word, n) == 0)
            return true;
    return false;
}

// GGUF does not say which tokens take the blanks that follow them; llama.cpp
// knows it from the name of the model, and so do we.
static void mark_strips(struct vocab *v, const struct textmap *names,
                        const struct gguf *file)
{
    static const char *const kept[] = {"<unk>", "<s>", "<|endoftext|>"};
    const char *name;

    if (!gguf_has(file, "general.name") ||
        gguf_get_str(&name, file, "general.name", NULL) < 0 ||
        (!has_word(name, "phi-3") && !has_word(name, "phi3")))
        return;
    for (uint32_t i = 0; i < v->n_tokens; i++)
        v->tokens[i].strip = VOCAB_STRIP_RIGHT;
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        int32_t id = textmap_find(names, kept[i], strlen(kept[i]));
        if (id >= 0)
            v->tokens[id].strip = 0;
    }
}

int vocab_read_gguf(struct vocab **out, const struct gguf *file,
                    struct error *err)
{
    struct textmap names = {0};
    struct vocab *v;
    int rc = vocab_create(&v);
    if (rc < 0)
        return vocab_no_memory(err);
    if ((rc = read_kind(v, file, err)) < 0 ||
        (rc = read_tokens(v, file, err)) < 0)
        goto out;
    if ((rc = vocab_map_names(&names, v)) < 0) {
        vocab_no_memory(err);
        goto out;
    }
    if (v->kind == VOCAB_BPE && (rc = read_merges(v, &names, file, err)) < 0)
        goto out;
    if ((rc = read_ids(v, file, err)) < 0)
        goto out;
    if (gguf_has(file, "tokenizer.chat_template"))
        (void) gguf_get_str(&v->chat_template, file, "tokenizer.chat_template",
                            NULL);
    vocab_settle(v, &names);
    mark_strips(v, &names, file);

out:
    textmap_finish(&names);
    if (rc < 0)
        vocab_destroy(v);
    else
        *out = v;
    return rc;
}
