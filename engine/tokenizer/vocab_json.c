// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/json.h"
#include "engine/base/str.h"
#include "engine/tokenizer/json_scan.h"
#include "engine/tokenizer/pretokenize.h"
#include "engine/tokenizer/textmap.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/vocab_inside.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLANK "\xe2\x96\x81" // U+2581

// Of a token that no merge makes.
static const float score_none = -1e9f;

// Of all, then of "model".
enum part {
    ADDED,
    NORMALIZER,
    PRE,
    POST,
    FALLBACK,
    IGNORE,
    TYPE,
    UNKNOWN,
    N_PARTS,
};

static const char *const part_keys[] = {
    [ADDED] = "added_tokens",
    [NORMALIZER] = "normalizer",
    [PRE] = "pre_tokenizer",
    [POST] = "post_processor",
    [FALLBACK] = "byte_fallback",
    [IGNORE] = "ignore_merges",
    [TYPE] = "type",
    [UNKNOWN] = "unk_token",
};

// What tokenizer.json consists of. The two large parts are not made trees of.
struct reader {
    struct vocab *v;
    struct error *err;
    struct json_part vocab;
    struct json_part merges;
    struct json_part parts[N_PARTS];
    const struct json *trees[N_PARTS];
    const struct json *config;
    unsigned n_entries;
};

static bool is_key(struct json_part key, const char *name)
{
    return key.bytes == strlen(name) && memcmp(key.text, name, key.bytes) == 0;
}

static int take_member(struct reader *r, struct json_scan *s,
                       struct json_part key, int first, int last)
{
    struct json_part ignored;

    for (int i = first; i <= last; i++)
        if (is_key(key, part_keys[i]))
            return json_scan_skip(s, &r->parts[i]);
    if (first == FALLBACK && is_key(key, "vocab"))
        return json_scan_skip(s, &r->vocab);
    if (first == FALLBACK && is_key(key, "merges"))
        return json_scan_skip(s, &r->merges);
    return json_scan_skip(s, &ignored);
}

// The members of one object: of all, then of "model".
static int find_parts(struct reader *r, struct json_part whole, int first,
                      int last, struct json_part *model)
{
    struct json_scan s;
    struct json_part key;
    int rc;

    json_scan_init(&s, whole, r->v->arena, r->err);
    if ((rc = json_scan_enter(&s, '{')) < 0)
        return rc;
    for (bool is_first = true;; is_first = false) {
        if ((rc = json_scan_next(&s, '{', is_first, &key)) <= 0)
            return rc;
        rc = model && is_key(key, "model")
                 ? json_scan_skip(&s, model)
                 : take_member(r, &s, key, first, last);
        if (rc < 0)
            return rc;
    }
}

static bool is_true(const struct json *j)
{
    return j && j->type == JSON_BOOL && j->boolean;
}

static bool is_type(const struct json *j, const char *type)
{
    const char *text = json_get_text(j, "type");
    return text && strcmp(text, type) == 0;
}

// Old files do not say of what type a model is.
static int check_model(const struct reader *r)
{
    const struct json *type = r->trees[TYPE];

    if (type && type->type == JSON_STRING && strcmp(type->text, "BPE") != 0)
        return error_set(r->err, -ENOTSUP,
                         "its model is of type \"%.40s\", but only BPE is "
                         "supported",
                         type->text);
    if (!r->vocab.text || !r->merges.text)
        return error_set(r->err, -ENOTSUP,
                         "its model has no vocabulary with merges: only BPE is "
                         "supported");
    return 0;
}

static int find_all(struct reader *r, const struct vocab_json_params *p)
{
    const struct json_part whole = {p->tokenizer, p->tokenizer_bytes};
    struct json_part model = {0};
    int rc;

    if ((rc = find_parts(r, whole, ADDED, POST, &model)) < 0)
        return rc;
    if (!model.text)
        return error_set(r->err, -EINVAL, "it has no \"model\"");
    if ((rc = find_parts(r, model, FALLBACK, UNKNOWN, NULL)) < 0)
        return rc;
    for (size_t i = 0; i < N_PARTS; i++)
        if (r->parts[i].text &&
            (rc = json_parse(&r->trees[i], r->v->arena, r->parts[i].text,
                             r->parts[i].bytes, r->err)) < 0)
            return rc;
    return check_model(r);
}

static int read_config(struct reader *r, const struct vocab_json_params *p)
{
    int rc =
        json_parse(&r->config, r->v->arena, p->config, p->config_bytes, r->err);

    if (rc == 0 && r->config->type != JSON_OBJECT)
        rc = error_set(r->err, -EINVAL, "it is not an object of JSON");
    return rc < 0 ? error_prefix(r->err, rc, "tokenizer_config.json") : 0;
}

/*
 * How text is cut
 */

static int add_step(struct str *out, const struct json *step, struct error *err)
{
    const char *type = json_get_text(step, "type");
    const struct json *pattern = json_get(step, "pattern");
    const char *regex = json_get_text(pattern, "Regex");

    if (out->bytes > 0)
        str_putc(out, ' ');
    if (is_type(step, "ByteLevel") &&
        !is_true(json_get(step, "add_prefix_space"))) {
        const struct json *cuts = json_get(step, "use_regex");
        str_puts(out, !cuts || is_true(cuts) ? "B+" : "B");
        return 0;
    }
    if (is_type(step, "Digits") &&
        is_true(json_get(step, "individual_digits"))) {
        str_puts(out, "D");
        return 0;
    }
    if (is_type(step, "Split") && regex) {
        str_puts(out, "S(");
        str_puts(out, regex);
        str_puts(out, ")");
        return 0;
    }
    return error_set(err, -ENOTSUP,
                     "its pre-tokenizer has a step %.40s that is not "
                     "supported in this form",
                     type ? type : "without a type");
}

static int describe_pre(struct str *out, const struct json *pre,
                        struct error *err)
{
    const struct json *list = json_get(pre, "pretokenizers");
    int rc = 0;

    if (!is_type(pre, "Sequence"))
        return add_step(out, pre, err);
    for (const struct json *i = list ? list->first : NULL; i && rc == 0;
         i = i->next)
        rc = add_step(out, i, err);
    return rc;
}

static int find_pre(struct vocab *v, const char *steps, struct error *err)
{
    static const struct {
        const char *steps;
        int ignore_merges;
        const char *name;
    } table[] = {
#define HF(steps, ignore_merges, name) {steps, ignore_merges, name},
#include "engine/tokenizer/vocab_hf.def"
#undef HF
    };
    size_t n = sizeof(table) / sizeof(table[0]);

    // A row that says the same of merges is better than one that does not.
    for (int exact = 1; exact >= 0; exact--)
        for (size_t i = 0; i < n && !v->pre; i++)
            if (strcmp(table[i].steps, steps) == 0 &&
                (!exact || table[i].ignore_merges < 0 ||
                 table[i].ignore_merges == v->ignore_merges)) {
                v->pre = pretokenizer_find(table[i].name);
                v->pre_name = table[i].name;
                if (strncmp(v->pre_name, "hf:", 3) == 0)
                    v->pre_name += 3;
            }
    if (!v->pre)
        return error_set(err, -ENOTSUP,
                         "its pre-tokenizer is none of those that are known: "
                         "%.200s",
                         steps);
    return 0;
}

// NFC is accepted, and left out.
static bool is_plain(const struct json *normalizer)
{
    const struct json *list = json_get(normalizer, "normalizers");

    if (!normalizer || normalizer->type == JSON_NULL ||
        is_type(normalizer, "NFC"))
        return true;
    if (!is_type(normalizer, "Sequence") || !list)
        return false;
    for (const struct json *i = list->first; i; i = i->next)
        if (!is_type(i, "NFC"))
            return false;
    return true;
}

static int read_byte_level(struct reader *r)
{
    struct str steps = {0};
    int rc;

    r->v->kind = VOCAB_BPE;
    r->v->ignore_merges = is_true(r->trees[IGNORE]);
    if (!is_plain(r->trees[NORMALIZER]))
        return error_set(r->err, -ENOTSUP,
                         "its normalizer is not supported: with byte-level "
                         "BPE only none or NFC is");
    rc = describe_pre(&steps, r->trees[PRE], r->err);
    if (rc == 0 && str_finish(&steps) < 0)
        rc = vocab_no_memory(r->err);
    if (rc == 0)
        rc = find_pre(r->v, steps.data ? steps.data : "", r->err);
    str_free(&steps);
    return rc;
}

// One step of the normalizer of SentencePiece BPE.
static bool take_normalizer(struct vocab *v, const struct json *step)
{
    if (is_type(step, "Prepend")) {
        const char *what = json_get_text(step, "prepend");
        v->adds_space = true;
        return what && strcmp(what, BLANK) == 0;
    }
    if (is_type(step, "Replace")) {
        const char *from = json_get_text(json_get(step, "pattern"), "String");
        const char *to = json_get_text(step, "content");
        return from && to && strcmp(from, " ") == 0 && strcmp(to, BLANK) == 0;
    }
    return is_plain(step);
}

static bool take_normalizers(struct vocab *v, const struct json *normalizer)
{
    const struct json *list = json_get(normalizer, "normalizers");

    if (!is_type(normalizer, "Sequence") || !list)
        return !normalizer || take_normalizer(v, normalizer);
    for (const struct json *i = list->first; i; i = i->next)
        if (!take_normalizer(v, i))
            return false;
    return true;
}

static int read_sentencepiece(struct reader *r)
{
    const struct json *pre = r->trees[PRE];
    struct vocab *v = r->v;

    v->kind = VOCAB_SPM;
    if (!take_normalizers(v, r->trees[NORMALIZER]))
        return error_set(r->err, -ENOTSUP,
                         "its normalizer is not supported: with byte fallback "
                         "only Prepend and Replace of U+2581 are");
    if (is_type(pre, "Metaspace")) {
        const char *scheme = json_get_text(pre, "prepend_scheme");
        const char *mark = json_get_text(pre, "replacement");
        const struct json *old = json_get(pre, "add_prefix_space");
        v->adds_space =
            scheme ? strcmp(scheme, "never") != 0 : !old || is_true(old);
        if (mark && strcmp(mark, BLANK) == 0)
            return 0;
    } else if (!pre || pre->type == JSON_NULL) {
        return 0;
    } else if (is_type(pre, "Split")) { // at blanks, of which none are left
        const char *at = json_get_text(json_get(pre, "pattern"), "String");
        if (at && strcmp(at, " ") == 0)
            return 0;
    }
    return error_set(r->err, -ENOTSUP,
                     "its pre-tokenizer is not supported: with byte fallback "
                     "only none, Metaspace or a split at blanks is");
}

/*
 * Tokens
 */

// Calls take() for each member of the vocabulary.
typedef int take_entry_fn(struct reader *r, struct json_part name, unsigned id);

static int each_entry(struct reader *r, take_entry_fn *take)
{
    struct json_scan s;
    struct json_part name;
    unsigned id;
    int rc;

    json_scan_init(&s, r->vocab, r->v->arena, r->err);
    if ((rc = json_scan_enter(&s, '{')) < 0)
        return rc;
    for (bool is_first = true;; is_first = false) {
        if ((rc = json_scan_next(&s, '{', is_first, &name)) <= 0)
            return rc;
        if ((rc = json_scan_count(&s, &id)) < 0 || (rc = take(r, name, id)) < 0)
            return rc;
    }
}

static int count_id(struct reader *r, unsigned id)
{
    if (id >= VOCAB_TOKENS_MAX)
        return error_set(r->err, -EINVAL,
                         "a token has id %u, but at most %d "
                         "are read",
                         id, VOCAB_TOKENS_MAX - 1);
    if (id >= r->v->n_tokens)
        r->v->n_tokens = id + 1;
    r->n_entries++;
    return 0;
}

static int count_entry(struct reader *r, struct json_part name, unsigned id)
{
    if (name.bytes > VOCAB_NAME_MAX || memchr(name.text, 0, name.bytes))
        return error_set(r->err, -EINVAL,
                         "token %u has a name that is too long or holds a NUL",
                         id);
    return count_id(r, id);
}

static int two_tokens(struct reader *r, unsigned id)
{
    return error_set(r->err, -EINVAL, "two tokens have the id %u", id);
}

static int take_entry(struct reader *r, struct json_part name, unsigned id)
{
    struct vocab_token *t = &r->v->tokens[id];

    if (t->bytes > 0)
        return two_tokens(r, id);
    *t = (struct vocab_token){.name = name.text,
                              .bytes = (uint16_t) name.bytes,
                              .score = score_none,
                              .type = TOKEN_TYPE_NORMAL};
    if (r->v->kind == VOCAB_SPM && name.bytes == 6 &&
        memcmp(name.text, "<0x", 3) == 0)
        t->type = TOKEN_TYPE_BYTE;
    return 0;
}

static int count_added(struct reader *r)
{
    const struct json *list = r->trees[ADDED];
    int rc = 0;

    for (const struct json *i = list ? list->first : NULL; i && rc == 0;
         i = i->next) {
        const struct json *id = json_get(i, "id");
        const char *text = json_get_text(i, "content");
        if (!id || !id->is_integer || id->integer < 0 || !text || !*text ||
            strlen(text) > VOCAB_NAME_MAX)
            return error_set(r->err, -EINVAL,
                             "an added token has no id or no content");
        if (is_true(json_get(i, "single_word")))
            return error_set(r->err, -ENOTSUP,
                             "the added token %.40s is a single word, which "
                             "is not supported",
                             text);
        rc = count_id(r, id->integer < UINT32_MAX ? (unsigned) id->integer
                                                  : UINT32_MAX);
    }
    return rc;
}

// SentencePiece makes tokens of blanks from merges: that they were added, too,
// says nothing.
static bool is_of_blanks(const struct reader *r, const char *text)
{
    return r->v->kind == VOCAB_SPM && strstr(text, BLANK);
}

static uint8_t strips_of(const struct json *added)
{
    int left = is_true(json_get(added, "lstrip")) ? VOCAB_STRIP_LEFT : 0;
    int right = is_true(json_get(added, "rstrip")) ? VOCAB_STRIP_RIGHT : 0;
    return (uint8_t) (left | right);
}

static int take_added(struct reader *r)
{
    const struct json *list = r->trees[ADDED];

    for (const struct json *i = list ? list->first : NULL; i; i = i->next) {
        const int64_t id = json_get(i, "id")->integer;
        struct vocab_token *t = &r->v->tokens[id];
        bool special = is_true(json_get(i, "special"));
        const char *text = json_get_text(i, "content");
        if (t->bytes > 0 &&
            (t->bytes != strlen(text) || memcmp(t->name, text, t->bytes) != 0))
            return two_tokens(r, (unsigned) id);
        if (!special && is_of_blanks(r, text) && t->bytes > 0)
            continue;
        *t = (struct vocab_token){.name = text,
                                  .bytes = (uint16_t) strlen(text),
                                  .score = score_none,
                                  .type = special ? TOKEN_TYPE_CONTROL
                                                  : TOKEN_TYPE_USER_DEFINED,
                                  .strip = strips_of(i)};
    }
    return 0;
}

static int read_tokens(struct reader *r)
{
    struct vocab *v = r->v;
    int rc;

    if ((rc = each_entry(r, count_entry)) < 0 || (rc = count_added(r)) < 0)
        return rc;
    if (v->n_tokens == 0 || v->n_tokens > 2 * r->n_entries + 1024)
        return error_set(r->err, -EINVAL,
                         "the vocabulary has %u tokens with ids up to %u",
                         r->n_entries, (unsigned) v->n_tokens);
    v->tokens = arena_calloc(v->arena, v->n_tokens, sizeof(*v->tokens));
    if (!v->tokens)
        return vocab_no_memory(r->err);
    for (uint32_t i = 0; i < v->n_tokens; i++)
        v->tokens[i].type = TOKEN_TYPE_UNUSED;
    if ((rc = each_entry(r, take_entry)) < 0)
        return rc;
    return take_added(r);
}

// A name is that of one token. GGUF has no place for a second one.
static int check_names(const struct reader *r, const struct textmap *names)
{
    const struct vocab *v = r->v;

    for (uint32_t i = 0; i < v->n_tokens; i++) {
        const struct vocab_token *t = &v->tokens[i];
        int32_t first =
            t->bytes > 0 ? textmap_find(names, t->name, t->bytes) : (int32_t) i;
        if (first != (int32_t) i)
            return error_set(r->err, -EINVAL, "tokens %d and %u are the same",
                             (int) first, (unsigned) i);
    }
    return 0;
}

/*
 * Merges
 */

// "left right" or ["left", "right"].
static int scan_merge(struct json_scan *s, struct json_part *left,
                      struct json_part *right)
{
    struct json_part whole;
    int rc;

    if (json_scan_peek(s) == '[') {
        if ((rc = json_scan_enter(s, '[')) < 0 ||
            (rc = json_scan_next(s, '[', true, NULL)) < 0 ||
            (rc = json_scan_string(s, left)) < 0 ||
            (rc = json_scan_next(s, '[', false, NULL)) < 0 ||
            (rc = json_scan_string(s, right)) < 0 ||
            (rc = json_scan_next(s, '[', false, NULL)) < 0)
            return rc;
        return rc == 0 ? 0
                       : error_set(s->err, -EINVAL,
                                   "a merge has more than two tokens");
    }
    if ((rc = json_scan_string(s, &whole)) < 0)
        return rc;
    const char *space =
        whole.bytes > 1 ? memchr(whole.text + 1, ' ', whole.bytes - 1) : NULL;
    if (!space)
        return error_set(s->err, -EINVAL,
                         "a merge is not two tokens with a space between");
    left->text = whole.text;
    left->bytes = (size_t) (space - whole.text);
    right->text = space + 1;
    right->bytes = whole.bytes - left->bytes - 1;
    return 0;
}

// "left right" is how GGUF says it, and the first blank parts the two.
static int check_blanks(const struct reader *r, struct json_part left)
{
    if (r->v->kind == VOCAB_BPE && left.bytes > 1 &&
        memchr(left.text + 1, ' ', left.bytes - 1))
        return error_set(r->err, -EINVAL,
                         "number %u has a token with a blank in it",
                         (unsigned) r->v->n_merges);
    return 0;
}

static int count_merges(struct reader *r, uint32_t *n)
{
    struct json_scan s;
    struct json_part ignored;
    int rc;

    json_scan_init(&s, r->merges, r->v->arena, r->err);
    if ((rc = json_scan_enter(&s, '[')) < 0)
        return rc;
    for (*n = 0;; (*n)++)
        if ((rc = json_scan_next(&s, '[', *n == 0, NULL)) <= 0 ||
            (rc = json_scan_skip(&s, &ignored)) < 0)
            return rc;
}

static int read_merges(struct reader *r, const struct textmap *names)
{
    struct json_part left, right;
    struct vocab *v = r->v;
    struct json_scan s;
    uint32_t n;
    int rc = count_merges(r, &n);
    if (rc < 0)
        return rc;
    if (n > VOCAB_MERGES_MAX)
        return error_set(r->err, -EINVAL,
                         "there are %u merges, at most %d are read",
                         (unsigned) n, VOCAB_MERGES_MAX);
    v->merges = arena_calloc(v->arena, n, sizeof(*v->merges));
    if (!v->merges)
        return vocab_no_memory(r->err);
    json_scan_init(&s, r->merges, v->arena, r->err);
    (void) json_scan_enter(&s, '[');
    while (json_scan_next(&s, '[', v->n_merges == 0, NULL) > 0)
        if ((rc = scan_merge(&s, &left, &right)) < 0 ||
            (rc = check_blanks(r, left)) < 0 ||
            (rc = vocab_add_merge(v, names, left.text, left.bytes, right.text,
                                  right.bytes, r->err)) < 0)
            return rc;
    return 0;
}

// SentencePiece orders by the token that is made: the first merge that makes
// it says when.
static void take_scores(struct vocab *v)
{
    for (uint32_t i = 0; i < v->n_merges; i++) {
        struct vocab_token *t = &v->tokens[v->merges[i].id];
        if (t->score <= score_none)
            t->score = -(float) i;
    }
    v->merges = NULL;
    v->n_merges = 0;
}

/*
 * Tokens with a meaning
 */

static void take_text(int32_t *out, const char *text,
                      const struct textmap *names)
{
    int32_t id = text && *text ? textmap_find(names, text, strlen(text)) : -1;
    if (id >= 0)
        *out = id;
}

// The token that a text names, or that an object's content does.
static void take_named(int32_t *out, const struct json *from, const char *key,
                       const struct textmap *names)
{
    const char *text = json_get_text(from, key);

    take_text(out, text ? text : json_get_text(json_get(from, key), "content"),
              names);
}

static int32_t number_id(const struct vocab *v, int64_t id)
{
    return id >= 0 && id < v->n_tokens ? (int32_t) id : TOKEN_NONE;
}

// <s> $A </s>: what a template puts before and behind a text.
static void take_template(struct vocab *v, const struct json *post,
                          const struct textmap *names)
{
    const struct json *single = json_get(post, "single");
    const struct json *list = json_get(post, "processors");
    const struct json *last = NULL;

    for (const struct json *i = list ? list->first : NULL; i; i = i->next)
        if (is_type(i, "TemplateProcessing"))
            single = json_get(i, "single");
    if (!single || single->type != JSON_ARRAY || !single->first)
        return;
    for (last = single->first; last->next;)
        last = last->next;
    const struct json *before = json_get(single->first, "SpecialToken");
    const struct json *behind = json_get(last, "SpecialToken");
    if (before && last != single->first) {
        take_named(&v->bos, before, "id", names);
        v->adds_bos = v->bos != TOKEN_NONE;
    }
    if (behind && last != single->first) {
        take_named(&v->eos, behind, "id", names);
        v->adds_eos = v->eos != TOKEN_NONE;
    }
}

// Of several the one called "default", else the first.
static void take_chat_template(struct vocab *v, const struct json *config)
{
    const struct json *list = json_get(config, "chat_template");

    v->chat_template = json_get_text(config, "chat_template");
    if (v->chat_template || !list || list->type != JSON_ARRAY)
        return;
    for (const struct json *i = list->first; i; i = i->next) {
        const char *name = json_get_text(i, "name");
        if (!v->chat_template || (name && strcmp(name, "default") == 0))
            v->chat_template = json_get_text(i, "template");
    }
}

static void read_ids(struct reader *r, const struct vocab_json_params *p,
                     const struct textmap *names)
{
    struct vocab *v = r->v;
    const struct json *unknown = r->trees[UNKNOWN];
    const struct json *adds_bos = json_get(r->config, "add_bos_token");
    const struct json *adds_eos = json_get(r->config, "add_eos_token");

    v->bos = number_id(v, p->bos);
    v->eos = number_id(v, p->eos);
    take_template(v, r->trees[POST], names);
    take_named(&v->bos, r->config, "bos_token", names);
    take_named(&v->eos, r->config, "eos_token", names);
    take_named(&v->pad, r->config, "pad_token", names);
    if (unknown && unknown->type == JSON_STRING)
        take_text(&v->unk, unknown->text, names);
    take_named(&v->unk, r->config, "unk_token", names);
    if (adds_bos && adds_bos->type == JSON_BOOL)
        v->adds_bos = adds_bos->boolean && v->bos != TOKEN_NONE;
    if (adds_eos && adds_eos->type == JSON_BOOL)
        v->adds_eos = adds_eos->boolean && v->eos != TOKEN_NONE;
    if (v->kind == VOCAB_SPM && v->unk != TOKEN_NONE)
        v->tokens[v->unk].type = TOKEN_TYPE_UNKNOWN;
    take_chat_template(v, r->config);
}

static int read_all(struct reader *r, const struct vocab_json_params *p,
                    struct textmap *names)
{
    int rc;

    if ((rc = find_all(r, p)) < 0)
        return rc;
    rc = is_true(r->trees[FALLBACK]) ? read_sentencepiece(r)
                                     : read_byte_level(r);
    if (rc < 0 || (rc = read_tokens(r)) < 0)
        return rc;
    if (vocab_map_names(names, r->v) < 0)
        return vocab_no_memory(r->err);
    if ((rc = check_names(r, names)) < 0)
        return rc;
    if ((rc = read_merges(r, names)) < 0)
        return error_prefix(r->err, rc, "merges");
    if (r->v->kind == VOCAB_SPM)
        take_scores(r->v);
    read_ids(r, p, names);
    vocab_settle(r->v, names);
    return 0;
}

int vocab_read_json(struct vocab **out, const struct vocab_json_params *p,
                    struct error *err)
{
    struct textmap names = {0};
    struct reader r = {.err = err};
    int rc = vocab_create(&r.v);
    if (rc < 0)
        return vocab_no_memory(err);
    rc = p->config ? read_config(&r, p) : 0;
    if (rc == 0 && (rc = read_all(&r, p, &names)) < 0)
        rc = error_prefix(err, rc, "tokenizer.json");
    textmap_finish(&names);
    if (rc == 0)
        *out = r.v;
    else
        vocab_destroy(r.v);
    return rc;
}
