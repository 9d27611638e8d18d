// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * tokenizer.json, tokenizer_config.json and chat_template.jinja, as keys of
 * GGUF: byte-level BPE, and the BPE with byte tokens that SentencePiece makes.
 */

#include "engine/convert/source_inside.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    TYPE_NORMAL = 1,
    TYPE_UNKNOWN = 2,
    TYPE_CONTROL = 3,
    TYPE_USER = 4,
    TYPE_UNUSED = 5,
    TYPE_BYTE = 6,
    TOKENS_MAX = 1 << 22,
    TEXT_BYTES_MAX = 1 << 20, // of a token, or a template
};

struct token {
    const char *text; // NULL: the vocabulary has no such id
    size_t bytes;
    int32_t type;
    float score;
};

struct hf_tokens {
    const struct json *root;   // tokenizer.json
    const struct json *model;  // its model
    const struct json *config; // tokenizer_config.json, or NULL
    struct token *all;
    const struct token **by_text; // of those with a text
    uint32_t n, n_texts;
    bool is_spm;
};

static int bad(struct error *err, const char *what)
{
    return error_set(err, -EINVAL, "tokenizer.json: %s", what);
}

static bool is_true(const struct json *object, const char *key)
{
    const struct json *v = json_get(object, key);
    return v && v->type == JSON_BOOL && v->boolean;
}

/*
 * Tokens
 */

static int set_token(struct hf_tokens *t, int64_t id, const char *text,
                     size_t bytes, int32_t type, struct error *err)
{
    if (id < 0 || id >= (int64_t) t->n)
        return error_set(err, -EINVAL,
                         "tokenizer.json: a token has id %lld, but the model "
                         "knows %u",
                         (long long) id, t->n);
    struct token *k = &t->all[id];
    if (k->text && (k->bytes != bytes || memcmp(k->text, text, bytes) != 0))
        return error_set(err, -EINVAL,
                         "tokenizer.json: two tokens have id %lld",
                         (long long) id);
    if (bytes == 0 || bytes > TEXT_BYTES_MAX || memchr(text, '\0', bytes))
        return error_set(err, -EINVAL,
                         "tokenizer.json: token %lld is empty, too long or "
                         "holds a NUL",
                         (long long) id);
    *k = (struct token){.text = text, .bytes = bytes, .type = type};
    return 0;
}

static bool is_byte(const struct json *v)
{
    return v->key_bytes == 6 && strncmp(v->key, "<0x", 3) == 0 &&
           v->key[5] == '>';
}

static int read_vocab(struct hf_tokens *t, struct error *err)
{
    const struct json *vocab = json_get(t->model, "vocab");
    const char *unknown = json_get_text(t->model, "unk_token");

    if (!vocab || vocab->type != JSON_OBJECT)
        return bad(err, "the model has no vocab");
    for (const struct json *v = vocab->first; v; v = v->next) {
        int32_t type = TYPE_NORMAL;
        if (v->type != JSON_NUMBER || !v->is_integer)
            return bad(err, "an id in vocab is no whole number");
        if (t->is_spm && is_byte(v))
            type = TYPE_BYTE;
        else if (unknown && strcmp(unknown, v->key) == 0)
            type = TYPE_UNKNOWN;
        int rc = set_token(t, v->integer, v->key, v->key_bytes, type, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int read_added(struct hf_tokens *t, struct error *err)
{
    const struct json *added = json_get(t->root, "added_tokens");

    if (!added || added->type != JSON_ARRAY)
        return 0;
    for (const struct json *v = added->first; v; v = v->next) {
        const struct json *id = json_get(v, "id");
        const struct json *text = json_get(v, "content");
        if (!id || !id->is_integer || !text || text->type != JSON_STRING)
            return bad(err, "an added token has no id or content");
        int32_t type = is_true(v, "special") ? TYPE_CONTROL : TYPE_USER;
        if (id->integer >= 0 && id->integer < (int64_t) t->n &&
            t->all[id->integer].type == TYPE_UNKNOWN)
            type = TYPE_UNKNOWN;
        int rc = set_token(t, id->integer, text->text, text->bytes, type, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int text_compare(const void *a, const void *b)
{
    const struct token *x = *(const struct token *const *) a;
    const struct token *y = *(const struct token *const *) b;
    const size_t n = x->bytes < y->bytes ? x->bytes : y->bytes;
    const int c = memcmp(x->text, y->text, n);

    return c ? c : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

// The id of a text, or -1.
static int64_t find_token(const struct hf_tokens *t, const char *text,
                          size_t bytes)
{
    const struct token key = {.text = text, .bytes = bytes}, *k = &key;
    const struct token **at = t->n_texts ? bsearch(&k, t->by_text, t->n_texts,
                                                   sizeof(k), text_compare)
                                         : NULL;
    return at ? *at - t->all : -1;
}

static int fill_unused(struct hf_tokens *t, struct source *s, struct error *err)
{
    for (uint32_t i = 0; i < t->n; i++) {
        if (t->all[i].text) {
            t->by_text[t->n_texts++] = &t->all[i];
            continue;
        }
        const char *text = arena_printf(s->arena, "[PAD%u]", i);
        if (!text)
            return error_set(err, -ENOMEM, "not enough memory for the tokens");
        t->all[i].text = text;
        t->all[i].bytes = strlen(text);
        t->all[i].type = TYPE_UNUSED;
    }
    qsort(t->by_text, t->n_texts, sizeof(*t->by_text), text_compare);
    for (uint32_t i = 1; i < t->n_texts; i++)
        if (text_compare(&t->by_text[i - 1], &t->by_text[i]) == 0)
            return error_set(err, -EINVAL,
                             "tokenizer.json: tokens %u and %u are the same",
                             (unsigned) (t->by_text[i - 1] - t->all),
                             (unsigned) (t->by_text[i] - t->all));
    return 0;
}

static int check_model(struct hf_tokens *t, struct error *err)
{
    t->model = json_get(t->root, "model");
    const char *type = json_get_text(t->model, "type");

    if (!t->model || t->model->type != JSON_OBJECT)
        return bad(err, "it has no model");
    // Old files do not say what is BPE by its merges.
    if (!type)
        type = json_get(t->model, "merges") ? "BPE" : "none";
    if (strcmp(type, "BPE") != 0)
        return error_set(err, -ENOTSUP,
                         "tokenizer.json: tokenizers of type \"%.40s\" are not "
                         "supported: BPE is",
                         type);
    t->is_spm = is_true(t->model, "byte_fallback");
    return 0;
}

static int read_tokens(struct hf_tokens *t, struct source *s,
                       const struct hf_config *c, struct error *err)
{
    int rc;

    if (c->n_vocab > TOKENS_MAX)
        return error_set(err, -EINVAL,
                         "config.json: vocab_size is %u, but at most %d are "
                         "supported",
                         c->n_vocab, TOKENS_MAX);
    t->n = c->n_vocab;
    t->all = arena_calloc(s->arena, t->n, sizeof(*t->all));
    t->by_text = arena_calloc(s->arena, t->n, sizeof(struct token *));
    if (!t->all || !t->by_text)
        return error_set(err, -ENOMEM, "not enough memory for the tokens");
    if ((rc = read_vocab(t, err)) < 0 || (rc = read_added(t, err)) < 0)
        return rc;
    return fill_unused(t, s, err);
}

static int put_tokens(const struct hf_tokens *t, struct gguf_writer *w,
                      struct source *s, struct error *err)
{
    int32_t *types = arena_calloc(s->arena, t->n, sizeof(*types));

    if (!types)
        return error_set(err, -ENOMEM, "not enough memory for the tokens");
    gguf_writer_texts(w, "tokenizer.ggml.tokens", t->n);
    for (uint32_t i = 0; i < t->n; i++) {
        gguf_writer_text(w, t->all[i].text, t->all[i].bytes);
        types[i] = t->all[i].type;
    }
    gguf_writer_i32s(w, "tokenizer.ggml.token_type", types, t->n);
    return 0;
}

/*
 * Merges: "left right", or a list of the two.
 */

struct merge {
    const char *left, *right;
    size_t left_bytes, right_bytes;
};

static bool read_merge(struct merge *m, const struct json *v)
{
    if (v->type == JSON_ARRAY) {
        const struct json *a = v->first, *b = a ? a->next : NULL;
        if (v->count != 2 || a->type != JSON_STRING || b->type != JSON_STRING)
            return false;
        *m = (struct merge){a->text, b->text, a->bytes, b->bytes};
    } else if (v->type == JSON_STRING) {
        const char *space =
            v->bytes > 2 ? memchr(v->text + 1, ' ', v->bytes - 1) : NULL;
        if (!space)
            return false;
        const size_t n = (size_t) (space - v->text);
        *m = (struct merge){v->text, space + 1, n, v->bytes - n - 1};
    } else {
        return false;
    }
    return m->left_bytes > 0 && m->right_bytes > 0 &&
           m->left_bytes + m->right_bytes <= TEXT_BYTES_MAX;
}

static const struct json *merges_of(const struct hf_tokens *t)
{
    const struct json *merges = json_get(t->model, "merges");

    return merges && merges->type == JSON_ARRAY ? merges : NULL;
}

static int bad_merge(struct error *err, uint32_t i)
{
    return error_set(err, -EINVAL,
                     "tokenizer.json: merge %u is not a pair of texts", i);
}

static int put_merges(const struct hf_tokens *t, struct gguf_writer *w,
                      struct source *s, struct error *err)
{
    const struct json *merges = merges_of(t);
    uint32_t i = 0;
    struct merge m;

    if (!merges)
        return bad(err, "the model has no merges");
    gguf_writer_texts(w, "tokenizer.ggml.merges", merges->count);
    for (const struct json *v = merges->first; v; v = v->next, i++) {
        if (!read_merge(&m, v) || memchr(m.left, ' ', m.left_bytes) ||
            memchr(m.right, ' ', m.right_bytes))
            return bad_merge(err, i);
        const size_t n = m.left_bytes + 1 + m.right_bytes;
        char *text = arena_alloc(s->arena, n);
        if (!text)
            return error_set(err, -ENOMEM, "not enough memory for the merges");
        memcpy(text, m.left, m.left_bytes);
        text[m.left_bytes] = ' ';
        memcpy(text + m.left_bytes + 1, m.right, m.right_bytes);
        gguf_writer_text(w, text, n);
    }
    return 0;
}

// SentencePiece merges the pair whose piece has the highest score: what an
// earlier merge makes has a higher one. What no merge makes comes last.
static int put_scores(struct hf_tokens *t, struct gguf_writer *w,
                      struct source *s, struct error *err)
{
    const struct json *merges = merges_of(t);
    float *scores = arena_calloc(s->arena, t->n, sizeof(*scores));
    uint32_t i = 0;
    struct merge m;
    char text[512];

    if (!merges)
        return bad(err, "the model has no merges");
    if (!scores)
        return error_set(err, -ENOMEM, "not enough memory for the tokens");
    for (uint32_t k = 0; k < t->n; k++)
        scores[k] = t->all[k].type == TYPE_NORMAL ? -1e6f : 0;
    for (const struct json *v = merges->first; v; v = v->next, i++) {
        if (!read_merge(&m, v))
            return bad_merge(err, i);
        const size_t n = m.left_bytes + m.right_bytes;
        if (n > sizeof(text))
            continue;
        memcpy(text, m.left, m.left_bytes);
        memcpy(text + m.left_bytes, m.right, m.right_bytes);
        const int64_t id = find_token(t, text, n);
        if (id >= 0 && scores[id] == -1e6f)
            scores[id] = -(float) (i + 1);
    }
    gguf_writer_f32s(w, "tokenizer.ggml.scores", scores, t->n);
    return 0;
}

/*
 * Pre-tokenizers, by how they cut text
 */

#define CONTRACTIONS_3 \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define REST_3 "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define GPT_2                                                            \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|" \
    "\\s+(?!\\S)|\\s+"

static const struct {
    const char *pattern;
    bool looks_up_words; // ignore_merges
    const char *name;
} patterns[] = {
    {CONTRACTIONS_3 "\\p{N}{1,3}" REST_3, true, "llama-bpe"},
    {CONTRACTIONS_3 "\\p{N}{1,3}" REST_3, false, "dbrx"},
    {CONTRACTIONS_3 "\\p{N}" REST_3, false, "qwen2"},
    {GPT_2, false, "gpt-2"},
};

static const char *pattern_of(const struct json *step)
{
    const struct json *p = json_get(step, "pattern");
    const char *text = json_get_text(p, "Regex");

    return text ? text : json_get_text(p, "String");
}

struct cuts {
    const char *pattern;
    bool has_digits; // each by itself
    bool has_gpt2;   // ByteLevel's own pattern
    bool is_unknown;
};

static void read_step(struct cuts *c, const struct json *step)
{
    const char *type = json_get_text(step, "type");

    if (type && strcmp(type, "ByteLevel") == 0) {
        const struct json *own = json_get(step, "use_regex");
        c->has_gpt2 = !own || own->type != JSON_BOOL || own->boolean;
        c->is_unknown = c->is_unknown || is_true(step, "add_prefix_space");
    } else if (type && strcmp(type, "Digits") == 0) {
        c->has_digits = is_true(step, "individual_digits");
        c->is_unknown = c->is_unknown || !c->has_digits;
    } else if (type && strcmp(type, "Split") == 0 && !c->pattern) {
        c->pattern = pattern_of(step);
        c->is_unknown = c->is_unknown || !c->pattern;
    } else {
        c->is_unknown = true;
    }
}

static const char *pre_of(const struct cuts *c, bool looks_up_words)
{
    if (c->is_unknown || (c->pattern && (c->has_digits || c->has_gpt2)))
        return NULL;
    if (c->has_digits)
        return c->has_gpt2 ? "smollm" : NULL;
    if (c->has_gpt2)
        return "gpt-2";
    for (size_t i = 0; c->pattern && i < sizeof(patterns) / sizeof(*patterns);
         i++)
        if (strcmp(patterns[i].pattern, c->pattern) == 0 &&
            (looks_up_words || !patterns[i].looks_up_words))
            return patterns[i].name;
    return NULL;
}

static int put_pre(const struct hf_tokens *t, struct gguf_writer *w,
                   struct error *err)
{
    const struct json *pre = json_get(t->root, "pre_tokenizer");
    const struct json *steps = json_get(pre, "pretokenizers");
    struct cuts c = {0};

    if (steps && steps->type == JSON_ARRAY)
        for (const struct json *s = steps->first; s; s = s->next)
            read_step(&c, s);
    else
        read_step(&c, pre);
    const char *name = pre_of(&c, is_true(t->model, "ignore_merges"));
    if (!name)
        return error_set(err, -ENOTSUP,
                         "tokenizer.json: its pre_tokenizer cuts text in a way "
                         "that is not known%s%.200s: take a GGUF file of this "
                         "model instead",
                         c.pattern ? ": " : "", c.pattern ? c.pattern : "");
    gguf_writer_str(w, "tokenizer.ggml.pre", name);
    return 0;
}

// Does SentencePiece put a space before the text?
static bool has_prefix_space(const struct hf_tokens *t)
{
    const struct json *n = json_get(t->root, "normalizer");
    const struct json *steps = json_get(n, "normalizers");
    const struct json *pre = json_get(t->root, "pre_tokenizer");
    const char *type = json_get_text(pre, "type");

    if (type && strcmp(type, "Metaspace") == 0) {
        const char *scheme = json_get_text(pre, "prepend_scheme");
        return scheme ? strcmp(scheme, "never") != 0
                      : is_true(pre, "add_prefix_space");
    }
    for (const struct json *s =
             steps && steps->type == JSON_ARRAY ? steps->first : NULL;
         s; s = s->next) {
        const char *step = json_get_text(s, "type");
        if (step && strcmp(step, "Prepend") == 0)
            return true;
    }
    return false;
}

/*
 * Special tokens
 */

// "bos_token" of tokenizer_config.json: a text, or an object with one.
static int64_t named_token(const struct hf_tokens *t, const char *key)
{
    const struct json *v = json_get(t->config, key);

    if (v && v->type == JSON_OBJECT)
        v = json_get(v, "content");
    if (!v || v->type != JSON_STRING)
        return -1;
    return find_token(t, v->text, v->bytes);
}

// "bos_token_id" of config.json: a number, or the first of a list.
static int64_t numbered_token(const struct hf_tokens *t,
                              const struct hf_config *c, const char *key)
{
    const struct json *v = json_get(c->text, key);

    if (!v || v->type == JSON_NULL)
        v = json_get(c->root, key);
    if (v && v->type == JSON_ARRAY)
        v = v->first;
    if (!v || !v->is_integer || v->integer < 0 || v->integer >= (int64_t) t->n)
        return -1;
    return v->integer;
}

// The end of a turn, where a model of chats has one besides its end of text.
static int64_t end_of_turn(const struct hf_tokens *t)
{
    static const char *const names[] = {
        "<|eot_id|>",
        "<|im_end|>",
        "<end_of_turn>",
        "<|end|>",
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const int64_t id = find_token(t, names[i], strlen(names[i]));
        if (id >= 0 && t->all[id].type != TYPE_NORMAL)
            return id;
    }
    return -1;
}

// Does the post-processor put this token before (or after) a text?
static bool is_put(const struct hf_tokens *t, int64_t id, bool is_first)
{
    const struct json *p = json_get(t->root, "post_processor");
    const struct json *steps = json_get(p, "processors");
    const struct json *single = json_get(p, "single");

    for (const struct json *s =
             steps && steps->type == JSON_ARRAY ? steps->first : NULL;
         s && !single; s = s->next)
        single = json_get(s, "single");
    if (id < 0 || !single || single->type != JSON_ARRAY || !single->first)
        return false;
    const struct json *v = single->first;
    while (!is_first && v->next)
        v = v->next;
    const char *text = json_get_text(json_get(v, "SpecialToken"), "id");
    return text && strcmp(text, t->all[id].text) == 0;
}

static bool adds(const struct hf_tokens *t, const char *key, int64_t id,
                 bool is_first)
{
    const struct json *v = json_get(t->config, key);

    if (id < 0)
        return false;
    return v && v->type == JSON_BOOL ? v->boolean : is_put(t, id, is_first);
}

static void put_specials(const struct hf_tokens *t, const struct hf_config *c,
                         struct gguf_writer *w)
{
    static const struct {
        const char *name, *number, *key;
    } list[] = {
        {"bos_token", "bos_token_id", "tokenizer.ggml.bos_token_id"},
        {"eos_token", "eos_token_id", "tokenizer.ggml.eos_token_id"},
        {"unk_token", "unk_token_id", "tokenizer.ggml.unknown_token_id"},
        {"pad_token", "pad_token_id", "tokenizer.ggml.padding_token_id"},
    };
    int64_t ids[4];

    for (size_t i = 0; i < 4; i++) {
        ids[i] = named_token(t, list[i].name);
        if (ids[i] < 0)
            ids[i] = numbered_token(t, c, list[i].number);
        if (ids[i] >= 0)
            gguf_writer_u32(w, list[i].key, (uint32_t) ids[i]);
    }
    const int64_t eot = end_of_turn(t);
    if (eot >= 0)
        gguf_writer_u32(w, "tokenizer.ggml.eot_token_id", (uint32_t) eot);
    gguf_writer_bool(w, "tokenizer.ggml.add_bos_token",
                     adds(t, "add_bos_token", ids[0], true));
    gguf_writer_bool(w, "tokenizer.ggml.add_eos_token",
                     adds(t, "add_eos_token", ids[1], false));
}

/*
 * The template of chats
 */

static const struct json *default_template(const struct json *v)
{
    if (!v || v->type != JSON_ARRAY)
        return v;
    const struct json *found = NULL;
    for (const struct json *e = v->first; e; e = e->next) {
        const char *name = json_get_text(e, "name");
        if (!found || (name && strcmp(name, "default") == 0))
            found = json_get(e, "template");
    }
    return found;
}

static int put_template(const struct hf_tokens *t, struct source *s,
                        struct gguf_writer *w, struct error *err)
{
    const struct source_file *f = source_find_file(s, "chat_template.jinja");
    const struct json *v =
        default_template(json_get(t->config, "chat_template"));
    const char *text = NULL;
    size_t bytes = 0;

    if (f) {
        text = f->data;
        bytes = f->bytes;
    } else if (v && v->type == JSON_STRING) {
        text = v->text;
        bytes = v->bytes;
    }
    if (bytes == 0)
        return 0;
    if (bytes > TEXT_BYTES_MAX || memchr(text, '\0', bytes))
        return error_set(err, -EINVAL,
                         "the chat template is larger than %d bytes, or no "
                         "text",
                         TEXT_BYTES_MAX);
    char *copy = arena_alloc(s->arena, bytes + 1);
    if (!copy)
        return error_set(err, -ENOMEM, "not enough memory for the template");
    memcpy(copy, text, bytes);
    copy[bytes] = '\0';
    gguf_writer_str(w, "tokenizer.chat_template", copy);
    return 0;
}

int hf_tokenizer_read(struct source *s, const struct hf_config *c,
                      struct gguf_writer *w, struct error *err)
{
    struct hf_tokens t = {0};
    int rc;

    if ((rc = source_json(&t.root, s, "tokenizer.json", err)) < 0)
        return rc;
    rc = source_json(&t.config, s, "tokenizer_config.json", err);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    if ((rc = check_model(&t, err)) < 0 ||
        (rc = read_tokens(&t, s, c, err)) < 0)
        return rc;
    gguf_writer_str(w, "tokenizer.ggml.model", t.is_spm ? "llama" : "gpt2");
    if (!t.is_spm && (rc = put_pre(&t, w, err)) < 0)
        return rc;
    if ((rc = put_tokens(&t, w, s, err)) < 0)
        return rc;
    if (t.is_spm)
        gguf_writer_bool(w, "tokenizer.ggml.add_space_prefix",
                         has_prefix_space(&t));
    rc = t.is_spm ? put_scores(&t, w, s, err) : put_merges(&t, w, s, err);
    if (rc < 0)
        return rc;
    put_specials(&t, c, w);
    return put_template(&t, s, w, err);
}
