// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * tokenizer.json, tokenizer_config.json and chat_template.jinja, as keys of
 * GGUF: the vocabulary's reader reads them, with what config.json adds.
 */

#include "engine/convert/source_inside.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/vocab.h"

#include <errno.h>
#include <string.h>

enum { TEMPLATE_BYTES_MAX = 1 << 20 };

// "bos_token_id" of config.json: a number, or the first of a list. -1: none.
static int64_t numbered_token(const struct hf_config *c, const char *key)
{
    const struct json *v = json_get(c->text, key);

    if (!v || v->type == JSON_NULL)
        v = json_get(c->root, key);
    if (v && v->type == JSON_ARRAY)
        v = v->first;
    return v && v->is_integer ? v->integer : -1;
}

static int read_vocab(struct vocab **out, struct source *s,
                      const struct hf_config *c, struct error *err)
{
    const struct source_file *f = NULL, *config = NULL;
    int rc = source_text(&f, s, "tokenizer.json", err);

    if (rc < 0)
        return rc;
    rc = source_text(&config, s, "tokenizer_config.json", err);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    const struct vocab_json_params params = {
        .tokenizer = f->data ? f->data : "",
        .tokenizer_bytes = f->bytes,
        .config = config ? config->data : NULL,
        .config_bytes = config ? config->bytes : 0,
        .bos = numbered_token(c, "bos_token_id"),
        .eos = numbered_token(c, "eos_token_id"),
    };
    return vocab_read_json(out, &params, err);
}

// A special token that has no part in a text, as Gemma 3's for images.
static bool is_spare(const struct vocab *v, uint32_t i)
{
    const struct vocab_token *t = &v->tokens[i];
    const int32_t id = (int32_t) i;

    return (t->bytes == 0 || t->type == TOKEN_TYPE_CONTROL) && id != v->bos &&
           id != v->eos && id != v->eot && id != v->unk && id != v->pad;
}

// Each token has a row in the embeddings; what has none is left out where
// nothing asks for it.
static int check_rows(struct vocab *v, const struct hf_config *c,
                      struct error *err)
{
    if (c->n_vocab > VOCAB_TOKENS_MAX)
        return error_set(err, -EINVAL,
                         "config.json: vocab_size is %u, but at most %d are "
                         "supported",
                         c->n_vocab, VOCAB_TOKENS_MAX);
    for (uint32_t i = c->n_vocab; i < v->n_tokens; i++)
        if (!is_spare(v, i))
            return error_set(err, -EINVAL,
                             "tokenizer.json: a token has id %u, but the model "
                             "knows %u",
                             i, c->n_vocab);
    if (v->n_tokens > c->n_vocab)
        v->n_tokens = c->n_vocab;
    return 0;
}

static void take_number(int32_t *id, const struct vocab *v,
                        const struct hf_config *c, const char *key)
{
    const int64_t n = numbered_token(c, key);

    if (*id == TOKEN_NONE && n >= 0 && n < (int64_t) v->n_tokens)
        *id = (int32_t) n;
}

// A file of its own goes before what tokenizer_config.json says.
static int take_template(struct vocab *v, struct source *s, struct error *err)
{
    const struct source_file *f = source_find_file(s, "chat_template.jinja");
    const char *text = f ? f->data : v->chat_template;
    const size_t bytes = f ? f->bytes : text ? strlen(text) : 0;

    v->chat_template = NULL;
    if (bytes == 0)
        return 0;
    if (bytes > TEMPLATE_BYTES_MAX || memchr(text, '\0', bytes))
        return error_set(err, -EINVAL,
                         "the chat template is larger than %d bytes, or no "
                         "text",
                         TEMPLATE_BYTES_MAX);
    char *copy = arena_alloc(s->arena, bytes + 1);
    if (!copy)
        return error_set(err, -ENOMEM, "not enough memory for the template");
    memcpy(copy, text, bytes);
    copy[bytes] = '\0';
    v->chat_template = copy;
    return 0;
}

int hf_tokenizer_read(struct source *s, const struct hf_config *c,
                      struct gguf_writer *w, struct error *err)
{
    struct vocab *v;
    int rc = read_vocab(&v, s, c, err);

    if (rc < 0)
        return rc;
    take_number(&v->unk, v, c, "unk_token_id");
    take_number(&v->pad, v, c, "pad_token_id");
    if ((rc = check_rows(v, c, err)) < 0 || (rc = take_template(v, s, err)) < 0)
        goto out;
    if ((rc = vocab_write_gguf(v, w, c->n_vocab)) < 0)
        (void) error_set(err, rc, "not enough memory for the tokens");

out:
    vocab_destroy(v);
    return rc;
}
